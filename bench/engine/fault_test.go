package engine

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"throng/bench/nullserver"
)

func TestFailuresToOpenAreCountedByKind(t *testing.T) {
	for fault, kind := range map[nullserver.Upgrade]string{
		nullserver.UpgradeSilent:    KindUpgradeTime,
		nullserver.UpgradeReset:     KindReset,
		nullserver.UpgradeEOF:       KindEOF,
		nullserver.UpgradeGarbage:   KindGarbage,
		nullserver.UpgradeRefuse:    "http_503",
		nullserver.UpgradeBadAccept: KindAccept,
		nullserver.UpgradeMute:      KindReadyTime,
	} {
		t.Run(kind, func(t *testing.T) {
			s := startServer(t, nullserver.Config{Faults: nullserver.Faults{Upgrade: fault}})
			r := startEngine(t, Config{
				Targets: []Target{target(t, s.URL())}, Count: 20, HandshakeTimeout: 300 * time.Millisecond,
			})
			r.open(OpenOrder{Attempts: 2, Backoff: time.Millisecond})
			got := r.collect()
			r.want(kind, got.Failures[kind], 40)
			r.want("given up", got.Counters.GivenUp, 20)
			r.want("opened", got.Counters.Opened, 0)
		})
	}
}

func TestADownTargetIsRefusedNotAwaited(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "ws://" + l.Addr().String() + "/"
	l.Close()
	r := startEngine(t, Config{Targets: []Target{target(t, url)}, Count: 20})
	r.open(OpenOrder{})
	r.want("refused", r.collect().Failures[KindRefused], 20)
}

// misrouteStamp rewrites the channel of the stamp in a frame and its check.
func misrouteStamp(frame []byte) []byte {
	var st Stamp
	next, _, ok := FindStamp(frame, &st)
	if !ok {
		return frame
	}
	st.Channel += 7
	return append(frame[:next-StampLen], AppendStamp(nil, &st, StampLen+len(frame)-next)...)
}

func TestInjectedDeliveryFaultsAreFoundExactly(t *testing.T) {
	nullserver.Misroute = misrouteStamp
	const messages = 40
	const owed = messages * 100
	for name, c := range map[string]struct {
		faults nullserver.Faults
		check  func(r *rig, got *Snapshot)
	}{
		"loss": {nullserver.Faults{DropEvery: 10}, func(r *rig, got *Snapshot) {
			r.want("unique", got.Counters.Unique(), owed-owed/10)
		}},
		"duplicates": {nullserver.Faults{DupEvery: 10}, func(r *rig, got *Snapshot) {
			r.want("duplicated", got.Counters.Duplicated, owed/10)
			r.want("unique", got.Counters.Unique(), owed)
		}},
		"reordering": {nullserver.Faults{SwapEvery: 7}, func(r *rig, got *Snapshot) {
			if got.Counters.OutOfOrder == 0 || got.Counters.Duplicated != 0 {
				r.t.Errorf("out of order %d, duplicated %d: want some, and 0", got.Counters.OutOfOrder, got.Counters.Duplicated)
			}
		}},
		"another channel": {nullserver.Faults{MisrouteEvery: 10}, func(r *rig, got *Snapshot) {
			r.want("misrouted", got.Counters.Misrouted, owed/10)
		}},
		"reset": {nullserver.Faults{ResetAfter: 5}, func(r *rig, got *Snapshot) {
			r.want("reset", got.Drops[KindReset], 1)
		}},
		"close frame": {nullserver.Faults{CloseAfter: 5}, func(r *rig, got *Snapshot) {
			r.want("close_1012", got.Drops["close_1012"], 1)
		}},
		"garbage": {nullserver.Faults{GarbageAfter: 5}, func(r *rig, got *Snapshot) {
			r.want("garbage", got.Drops[KindGarbage], 1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, nullserver.Config{Faults: c.faults})
			r := startEngine(t, Config{Targets: []Target{target(t, s.URL())}, Count: 100})
			r.open(OpenOrder{})
			r.do(func(e *Engine, done func()) {
				e.Publish(PublishOrder{Rate: 1000, Count: messages}, done)
			})
			r.do(func(e *Engine, done func()) {
				e.Burst(BurstOrder{Messages: 0, Timeout: 300 * time.Millisecond}, done)
				e.talk.goal = owed * 2 // never met: the timeout lets what is under way arrive
			})
			got := r.collect()
			c.check(r, &got)
		})
	}
}

func TestDuplicateAndLateAreToldApart(t *testing.T) {
	tr := newTrackers(1)
	for i, step := range []struct {
		seq  uint32
		want verdict
	}{
		{0, verdictFresh}, {1, verdictFresh}, {1, verdictDuplicate}, {4, verdictFresh}, {3, verdictReordered},
		{3, verdictDuplicate}, {2, verdictReordered}, {100, verdictFresh}, {99, verdictReordered},
		{5, verdictReordered}, {100, verdictDuplicate}, {1000, verdictFresh}, {999, verdictReordered},
	} {
		if got := tr.see(0, step.seq); got != step.want {
			t.Errorf("step %d: sequence %d is %v, want %v", i, step.seq, got, step.want)
		}
	}
}

func TestStampSurvivesAndDamageIsSeen(t *testing.T) {
	want := Stamp{Run: 1, Publisher: 2, Channel: 1 << 30, Seq: 77, Phase: PhaseMeasured, At: 1 << 60}
	p := AppendStamp([]byte("1111:"), &want, 200)
	if len(p) != 205 {
		t.Fatalf("payload of %d bytes, want 200", len(p)-5)
	}
	var got Stamp
	if next, found, ok := FindStamp(p, &got); !found || !ok || got != want || next != 5+StampLen {
		t.Fatalf("got %+v found %v ok %v next %d", got, found, ok, next)
	}
	for i := 5; i < 5+StampLen; i++ {
		bad := append([]byte(nil), p...)
		bad[i] ^= 1
		if _, found, ok := FindStamp(bad, &got); found && ok {
			t.Errorf("a flipped bit at %d goes unseen", i)
		}
	}
	if _, found, ok := FindStamp(p[:5+StampLen-1], &got); !found || ok {
		t.Error("a cut stamp must be found and bad")
	}
}

func FuzzParseFrameNeverPanics(f *testing.F) {
	f.Add([]byte{0x81, 0})
	f.Add(binary.BigEndian.AppendUint64([]byte{0x82, 127}, 1<<63))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, ok, err := parseFrame(p)
		if ok && err == nil && (h.size < 0 || h.size > maxMessage || h.head > 10) {
			t.Errorf("accepted %+v", h)
		}
	})
}
