package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"throng/broker/natstest"
)

// The disk of NATS fills up: whoever publishes is told, channels without history go on, health says so; when there is room again
// and NATS was restarted, nothing that was acknowledged is missing (F18).
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := natstest.Tmpfs(t, 24<<20)
	server := natstest.Start(t, natstest.Config{StoreDir: dir})
	nodes := []*node{startNode(t, "a", server.URL(), setting{}), startNode(t, "b", server.URL(), setting{})}
	s := begin(t, everywhere(nodes))
	live := startCrowd(t)
	for _, n := range nodes {
		live.add(&subscriber{record: record{channel: "live:x"}, nodes: []*node{n}, plain: true})
	}
	live.joined()
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	since := time.Now()
	await(t, "publications are refused", func() bool { _, refused, _ := s.l.since(since); return refused > 20 })
	volatileGoesOn(t, nodes, live)
	for _, n := range nodes {
		await(t, "health tells", func() bool {
			_, body := n.get("/readyz")
			return strings.Contains(body, "disk") || strings.Contains(body, "full")
		})
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	s.wantRecovered(s.end(since))
	s.answers(since)
}

// fill writes until there is no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
}
