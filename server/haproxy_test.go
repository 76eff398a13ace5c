package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"throng/server/wire"
)

// haproxyConf is a balancer as deploy.md has it, over sockets that the test opens: 3 balances, 4 reuses connections to
// one node.
const haproxyConf = `
defaults
  mode http
  option forwardfor
  timeout connect 10s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  timeout http-keep-alive 60s
frontend balanced
  bind fd@3
  default_backend nodes
frontend single
  bind fd@4
  default_backend one
backend nodes
  balance leastconn
  server a %[1]s
  server b %[2]s
backend one
  http-reuse always
  server a %[1]s
`

// startHAProxy returns the addresses of the two frontends. Without haproxy on this machine it skips t, or fails it where
// CI=true says that the machine ought to have one.
func startHAProxy(t *testing.T, a, b string) (balanced, single string) {
	t.Helper()
	binary, err := exec.LookPath("haproxy")
	if err != nil {
		binary, err = exec.LookPath("/usr/sbin/haproxy")
	}
	if err != nil {
		const missing = "no haproxy found; install the package haproxy to run this test"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	var log buffer
	cmd := exec.Command(binary, "-db", "-f", writeFile(t, "haproxy.cfg", fmt.Sprintf(haproxyConf, a, b)))
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var addrs []string
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, ln.Addr().String())
		ln.Close()
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy:\n%s", log.String())
		}
	})
	return addrs[0], addrs[1]
}

// S11, behind a balancer: clients are told apart by what it says of them, and cannot say it themselves.
func TestClientsBehindHAProxyAreCountedApart(t *testing.T) {
	n := startTestNode(t, "1111", "--address-connections=2", "--trusted-proxies=127.0.0.1", "--retry-after=7s")
	balanced, _ := startHAProxy(t, n.addr, n.addr)
	dialFrom := func(local, header string) *client {
		t.Helper()
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
		nc, err := d.DialContext(t.Context(), "tcp", balanced)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		c := &client{t: t, Conn: nc, r: bufio.NewReader(nc)}
		c.write(upgradeHead(balanced, "/", header))
		return c
	}
	first := dialFrom("127.0.0.2", "")
	first.wantStatus(http.StatusSwitchingProtocols)
	dialFrom("127.0.0.2", "X-Forwarded-For: 8.8.8.8\r\n").wantStatus(http.StatusSwitchingProtocols)
	for _, forged := range []string{"", "X-Forwarded-For: 8.8.8.8\r\n", "X-Forwarded-For: rubbish\r\n"} {
		if answer := dialFrom("127.0.0.2", forged).wantStatus(http.StatusTooManyRequests); answer.Header.Get("Retry-After") != "7" {
			t.Errorf("%v", answer.Header)
		}
	}
	dialFrom("127.0.0.3", "").wantStatus(http.StatusSwitchingProtocols)
	if got := n.metric(`throng_ws_handshakes_total{result="address"}`); got != 3 || n.metric("throng_ws_client_addresses") != 2 {
		t.Errorf("%v refused, want 3", got)
	}
	first.Close()
	await(t, "the share comes back", func() bool { return n.metric(`throng_ws_connections{state="open"}`) == 2 })
	dialFrom("127.0.0.2", "").wantStatus(http.StatusSwitchingProtocols)
}

func TestChatThroughHAProxy(t *testing.T) { // S16
	a, b := twoNodes(t)
	balanced, single := startHAProxy(t, a.addr, b.addr)
	t.Run("clients are spread and hear each other", func(t *testing.T) { spread(t, balanced, a, b) })
	t.Run("a page and an upgrade share a server connection", func(t *testing.T) { reused(t, single, a) })
	t.Run("a bad upgrade ends, and what follows it is not answered by anybody else", func(t *testing.T) { badThroughProxy(t, single, a) })
}

func spread(t *testing.T, addr string, a, b *testNode) {
	ids := map[string]int{}
	var members []*client
	var names []string
	for range 6 {
		c := dialRaw(t, addr)
		c.write(upgradeHead(addr, "/livechat?room=proxy", "Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://"+addr+"\r\n"))
		if got := c.wantStatus(http.StatusSwitchingProtocols).Header.Get("Sec-WebSocket-Protocol"); got != "chat" {
			t.Errorf("subprotocol %q", got)
		}
		_, greeting, err := c.frame()
		id, is := strings.CutPrefix(string(greeting), "Connected to server ")
		if err != nil || !is {
			t.Fatalf("greeted with %q, %v", greeting, err)
		}
		c.knock(id)
		ids[id]++
		members, names = append(members, c), append(names, id)
	}
	if ids[a.id] != 3 || ids[b.id] != 3 {
		t.Errorf("leastconn spread 6 clients as %v, want 3 and 3", ids)
	}
	members[0].say("through the proxy")
	members[0].send(wire.OpBinary, strings.Repeat("\x00", 60<<10))
	for i, c := range members {
		c.wantText(names[i] + ":through the proxy")
		c.want(wire.OpBinary, strings.Repeat("\x00", 60<<10))
	}
	for _, c := range members {
		c.leave()
	}
}

func reused(t *testing.T, addr string, n *testNode) {
	before := n.metric("throng_ws_accepted_connections_total")
	// A first client's page opens the server connection, the second's page and upgrade use it.
	for _, last := range []bool{false, true} {
		c := dialRaw(t, addr)
		for range 2 {
			c.write("GET / HTTP/1.1\r\nHost: " + addr + "\r\n\r\n")
			answer := c.wantStatus(http.StatusOK)
			if body, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(body), "<title>") {
				t.Fatalf("page: %.100q, %v", body, err)
			}
		}
		if !last {
			c.Close()
			continue
		}
		c.write(upgradeHead(addr, "/livechat?room=reused", ""))
		c.wantStatus(http.StatusSwitchingProtocols)
		c.wantText("Connected to server 1111")
		c.knock("1111")
		c.leave()
	}
	if got := n.metric("throng_ws_accepted_connections_total") - before; got != 1 {
		t.Errorf("the proxy opened %v connections, want 1 for pages and upgrade", got)
	}
	await(t, "tunnel closed at the node", func() bool { return n.metric(`throng_ws_connections{state="open"}`) == 0 })
}

func badThroughProxy(t *testing.T, addr string, n *testNode) {
	const second = "GET /robots.txt HTTP/1.1\r\nHost: smuggled\r\n\r\n"
	wrong := strings.Replace(upgradeHead(addr, "/", ""), "Version: 13", "Version: 777", 1)
	c := dialRaw(t, addr)
	c.write(wrong)
	answer := c.wantStatus(http.StatusUpgradeRequired)
	_, _ = io.Copy(io.Discard, answer.Body)
	c.Close()
	// A proxy that believed in the upgrade would pass the second request on as part of a tunnel.
	c = dialRaw(t, addr)
	c.write(wrong + second)
	answer = c.wantStatus(http.StatusUpgradeRequired)
	_, _ = io.Copy(io.Discard, answer.Body)
	c.Close()
	for _, request := range []string{
		upgradeHead(addr, "/", "Content-Length: 10\r\n") + "0123456789", // HAProxy makes it a plain request
		strings.Replace(upgradeHead(addr, "/", ""), "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 1),
		upgradeHead(addr, "/", "Origin: http://evil.example\r\n"),
	} {
		c := dialRaw(t, addr)
		c.write(request)
		answer, err := http.ReadResponse(c.r, nil)
		if err != nil || answer.StatusCode == http.StatusSwitchingProtocols {
			t.Errorf("%.300q: %v, %v", request, answer, err)
		}
		c.Close()
	}
	if got := n.metric(`throng_ws_connections{state="open"}`); got != 0 {
		t.Errorf("%v tunnels are open", got)
	}
}
