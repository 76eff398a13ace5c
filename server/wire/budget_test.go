package wire

import (
	"bytes"
	"testing"
)

// counter is a Sink that only counts.
type counter struct{ messages, controls, bytes int }

func (c *counter) OnMessage(_ Opcode, p []byte) error {
	c.messages++
	c.bytes += len(p)
	return nil
}

func (c *counter) OnControl(_ Opcode, p []byte) error {
	c.controls++
	c.bytes += len(p)
	return nil
}

// wantAllocs pins an allocation budget. pooled paths are not measured under the
// race detector, which makes sync.Pool forget.
func wantAllocs(t *testing.T, name string, pooled bool, run func()) {
	t.Helper()
	if pooled && raceEnabled {
		return
	}
	if got := testing.AllocsPerRun(1000, run); got != 0 {
		t.Errorf("%s: %v allocations, want 0", name, got)
	}
}

func TestAllocationBudgets(t *testing.T) {
	var d Decoder
	var c counter
	key := [4]byte{} // masks nothing, so that the same bytes can be fed again
	complete := stream()
	for _, n := range []int{0, 20, 200, 2000, 20000} {
		complete = AppendMaskedFrame(complete, OpText, true, bytes.Repeat([]byte("a"), n), key)
		complete = AppendMaskedFrame(complete, OpPing, true, []byte("ping"), key)
	}
	wantAllocs(t, "Feed of complete frames", false, func() {
		if err := d.Feed(complete, &testLimits, &c); err != nil {
			t.Fatal(err)
		}
	})
	if c.messages == 0 || c.bytes == 0 {
		t.Fatal("nothing was measured")
	}
	wantAllocs(t, "Feed of frames in pieces", true, func() {
		for at := 0; at < len(complete); at += 1000 {
			if err := d.Feed(complete[at:min(at+1000, len(complete))], &testLimits, &c); err != nil {
				t.Fatal(err)
			}
		}
	})
	bad := []byte{0xc1, 0x80}
	wantAllocs(t, "Feed of a protocol error", false, func() {
		if d.Feed(bad, &testLimits, &c) != ErrReservedBits {
			t.Fatal("accepted")
		}
	})
}

func TestAllocationBudgetsOfAppend(t *testing.T) {
	dst := make([]byte, 0, 4096)
	payload := bytes.Repeat([]byte("a"), 1000)
	wantAllocs(t, "AppendFrame", false, func() { dst = AppendFrame(dst[:0], OpText, payload) })
	wantAllocs(t, "AppendMaskedFrame", false, func() { dst = AppendMaskedFrame(dst[:0], OpText, true, payload, [4]byte{1, 2, 3, 4}) })
	wantAllocs(t, "AppendCloseFrame", false, func() { dst = AppendCloseFrame(dst[:0], CloseSlow, "slow") })
	key := []byte("dGhlIHNhbXBsZSBub25jZQ==")
	wantAllocs(t, "AppendSwitching", false, func() { dst = AppendSwitching(dst[:0], key, "chat", "X: y\r\n") })
	wantAllocs(t, "AppendRefusal", false, func() { dst = AppendRefusal(dst[:0], 503, "too many connections", "") })
	wantAllocs(t, "CloseCode.String", false, func() { _ = CloseSlow.String() })
}

func TestAllocationBudgetsOfHandshake(t *testing.T) {
	var r Request
	p := []byte(upgradeHead)
	known := []string{"superchat", "chat"}
	wantAllocs(t, "Parse, CheckUpgrade, Subprotocol", false, func() {
		if _, err := judge(&r, p); err != nil || r.Subprotocol(known) != "chat" {
			t.Fatal(err)
		}
	})
	wantAllocs(t, "an incomplete head", false, func() {
		if _, err := r.Parse(p[:300], DefaultMaxHead, DefaultMaxLines); err != ErrIncomplete {
			t.Fatal(err)
		}
	})
}
