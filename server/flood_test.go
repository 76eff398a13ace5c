package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"throng/server/wire"
)

// Many connections at once that announce a lot, or begin it, cost what they sent, and one close code each.
func TestGiantDeclaredLengths(t *testing.T) { // S8
	n := startTestNode(t, "1111")
	unharmed(t, n, func() {
		for _, err := range crowd(func(i int) error {
			nc, err := net.Dial("tcp", n.addr)
			if err != nil {
				return err
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(patience))
			frame := "\x82\xff\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x00giant"
			if i%2 == 1 { // within the limit, and then no more comes
				frame = "\x82\xfe\xff\xff\x00\x00\x00\x00begun"
			}
			if _, err := io.WriteString(nc, upgradeHead(n.addr, "/", "")+frame); err != nil || i%2 == 1 {
				return err
			}
			_, err = io.Copy(io.Discard, nc)
			return err
		}) {
			t.Error(err)
		}
	})
	if got := n.metric(`throng_ws_closes_total{code="` + wire.CloseTooBig.String() + `",side="server"}`); got != 100 {
		t.Errorf("%v closed for their size, want 100", got)
	}
}

func TestPingFloodWithUnreadPongsIsCut(t *testing.T) { // N7, S9
	n := startTestNode(t, "1111", "--outbox-limit=128KiB", "--close-timeout=500ms")
	unharmed(t, n, func() {
		var flood []byte
		for len(flood) < 512<<10 {
			flood = wire.AppendMaskedFrame(flood, wire.OpPing, true, make([]byte, 125), clientMask)
		}
		c := dial(t, n.addr, "/livechat?room=flood")
		for {
			if _, err := c.Write(flood); err != nil {
				if isTimeout(err) {
					t.Errorf("never cut: %v", err)
				}
				return
			}
		}
	})
	if got := n.metric("throng_ws_slow_consumers_total"); got != 1 {
		t.Errorf("%v slow consumers counted, want 1", got)
	}
	if got := n.metric(`throng_ws_lost_bytes_total{reason="slow_consumer"}`); got == 0 {
		t.Error("no lost bytes counted")
	}
	if got := n.metric("throng_ws_outbox_bytes"); got != 0 {
		t.Errorf("%v bytes are left in outboxes", got)
	}
}

// One who listens and never reads is cut; the others of the room hear everything, in order (F12).
func TestFrozenReaderHarmsNobodyElse(t *testing.T) {
	n := startTestNode(t, "1111", "--outbox-limit=256KiB", "--close-timeout=500ms")
	const room = "/livechat?room=busy"
	speaker, reader, frozen := n.enter(room), n.enter(room), n.enter(room)
	rest := strings.Repeat("x", 60<<10)
	for i := 0; n.metric("throng_ws_slow_consumers_total") == 0; i++ {
		text := fmt.Sprintf("%d %s", i, rest)
		speaker.say(text)
		speaker.wantText("1111:" + text)
		reader.wantText("1111:" + text)
	}
	_, _ = io.Copy(io.Discard, frozen.r) // what was under way, up to the end
	await(t, "frozen reader gone", func() bool { return n.metric("throng_livechat_sessions") == 2 })
	n.awaitMetric(`throng_ws_closes_total{code="`+wire.CloseSlow.String()+`",side="server"}`, 1)
	speaker.knock("1111")
	reader.knock("1111")
}

// Requests that two parsers might read differently get one answer and the end of the connection, whatever follows them (S16).
func TestSmuggledRequestsAreNotAnswered(t *testing.T) {
	n := startTestNode(t, "1111")
	host := "Host: " + n.addr + "\r\n"
	const second = "GET /robots.txt HTTP/1.1\r\nHost: smuggled\r\n\r\n"
	upgrade := func(extra string) string { return upgradeHead(n.addr, "/", extra) + second }
	unharmed(t, n, func() {
		for name, request := range map[string]string{
			"length and chunked":          "POST / HTTP/1.1\r\n" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
			"chunked and length":          "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + second,
			"two lengths":                 "POST / HTTP/1.1\r\n" + host + "Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + second,
			"length with a sign":          "POST / HTTP/1.1\r\n" + host + "Content-Length: +0\r\n\r\n" + second,
			"length in hex":               "POST / HTTP/1.1\r\n" + host + "Content-Length: 0x0\r\n\r\n" + second,
			"unknown coding":              "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + second,
			"two codings":                 "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + second,
			"coding, space before colon":  "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + second,
			"coding after a vertical tab": "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + second,
			"folded header":               "GET / HTTP/1.1\r\n" + host + "X: a\r\n Transfer-Encoding: chunked\r\n\r\n" + second,
			"bare carriage return":        "GET / HTTP/1.1\r\n" + host + "X: a\rContent-Length: 44\r\n\r\n" + second,
			"bad upgrade, then a request": strings.Replace(upgrade(""), "Version: 13", "Version: 12", 1),
			"upgrade without Connection":  strings.Replace(upgrade(""), "Connection: Upgrade\r\n", "", 1),
			"upgrade with a length":       upgrade("Content-Length: 44\r\n"),
			"upgrade with a chunked body": upgrade("Transfer-Encoding: chunked\r\n"),
			"refused upgrade, chunked":    strings.Replace(upgrade("Transfer-Encoding: chunked\r\n"), "GET / ", "GET /nothing ", 1),
		} {
			answer := answersTo(t, n.addr, request)
			status := answer[:min(len(answer), len("HTTP/1.1 xxx"))]
			if strings.Count(answer, "HTTP/1.1 ") != 1 || status < "HTTP/1.1 400" {
				t.Errorf("%s: want one refusal, got %q", name, answer)
			}
		}
		// What follows a good upgrade is frames and nothing else.
		c := dialRaw(t, n.addr)
		c.write(upgrade(""))
		c.wantStatus(http.StatusSwitchingProtocols)
		c.wantClose(wire.CloseProtocolError)
		c.wantEnd()
		c.Close()
	})
}

// Behind a first request net/http has parsed the head; what it took out of it must still count.
func TestUpgradeWithABodyBehindAPageIsRefused(t *testing.T) {
	n := startTestNode(t, "1111")
	for _, body := range []string{"Transfer-Encoding: chunked\r\n", "Content-Length: 44\r\n", "Content-Length: 1\r\nExpect: 100-continue\r\n"} {
		c := dialRaw(t, n.addr)
		c.write("GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n" + upgradeHead(n.addr, "/", body) + "GET /robots.txt HTTP/1.1\r\nHost: smuggled\r\n\r\n")
		_, _ = io.Copy(io.Discard, c.wantStatus(http.StatusOK).Body)
		_, _ = io.Copy(io.Discard, c.wantStatus(http.StatusBadRequest).Body)
		c.wantEnd()
	}
}

// Plain requests may follow each other, and an upgrade may follow them, as proxies do it.
func TestConnectionIsReusedForPageAndUpgrade(t *testing.T) {
	n := startTestNode(t, "1111")
	c := dialRaw(t, n.addr)
	for range 3 {
		c.write("GET /robots.txt HTTP/1.1\r\nHost: " + n.addr + "\r\n\r\n")
		answer := c.wantStatus(http.StatusOK)
		_, _ = io.Copy(io.Discard, answer.Body)
	}
	c.write(upgradeHead(n.addr, "/", "Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://"+n.addr+"\r\n"))
	if got := c.wantStatus(http.StatusSwitchingProtocols).Header.Get("Sec-WebSocket-Protocol"); got != "chat" {
		t.Errorf("subprotocol %q", got)
	}
	c.wantText("Connected to server 1111")
	c.knock("1111")
	if got := n.metric("throng_ws_accepted_connections_total"); got != 1 {
		t.Errorf("%v connections accepted, want this one", got)
	}
	c.leave()
}
