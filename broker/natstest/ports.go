package natstest

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
)

// host is a loopback address of this process alone (pids end at 2^22): nothing else picks ports there, and no outgoing
// connection is bound to it, so what was free stays free while its server is away.
var host = func() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 64+pid>>16&63, pid>>8&255, pid&255)
}()

var ports struct {
	sync.Mutex
	given map[int]bool
}

// freeAddr is an address, host:port, that is never given twice.
func freeAddr(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = map[int]bool{}
	}
	for {
		probe, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		port := probe.Addr().(*net.TCPAddr).Port
		probe.Close()
		if !ports.given[port] {
			ports.given[port] = true
			return net.JoinHostPort(host, strconv.Itoa(port))
		}
	}
}
