package ws

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"throng/server/wire"
)

// dialFrom is dialRaw from one of this machine's addresses.
func (f *fixture) dialFrom(local string) *client {
	f.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	nc, err := d.DialContext(f.t.Context(), "tcp", f.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { nc.Close() })
	return &client{t: f.t, Conn: nc, r: newReader(nc)}
}

func (c *client) upgrade(header string, want int) *client {
	c.t.Helper()
	c.write([]byte(strings.TrimSuffix(upgradeHead, "\r\n") + header + "\r\n"))
	if resp := c.wantStatus(want); want == http.StatusTooManyRequests && resp.Header.Get("Retry-After") != "7" {
		c.t.Errorf("refused without Retry-After: %v", resp.Header)
	}
	return c
}

func TestOneAddressHoldsNoMoreThanItsShare(t *testing.T) {
	refuse := make(chan bool, 1)
	cfg := Config{AddressLimit: 3, RetryAfter: 7e9, HTTP: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	cfg.CheckOrigin = func(r *wire.Request) bool { return string(r.Origin) != "http://bad" }
	cfg.Upgrade = func(c *Conn, _ *wire.Request) (Handler, *Refusal) {
		select {
		case <-refuse:
			return nil, &Refusal{Status: 404, Reason: "no"}
		default:
			return &echo{c: c}, nil
		}
	}
	f := start(t, cfg, nil)
	// Whoever is refused, asks for a page, or says nothing takes no share.
	for range 5 {
		f.dialFrom("127.0.0.1").upgrade("Origin: http://bad\r\n", 403)
		refuse <- true
		f.dialFrom("127.0.0.1").upgrade("", 404)
		f.dialFrom("127.0.0.1").write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		f.dialFrom("127.0.0.1")
	}
	var held []*client
	hold := func() {
		t.Helper()
		c := f.dialFrom("127.0.0.1")
		if len(held)%2 == 0 { // over net/http and back
			c.write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
			c.wantStatus(200)
		}
		held = append(held, c.upgrade("", 101))
	}
	for range 3 {
		hold()
	}
	for range 3 {
		f.dialFrom("127.0.0.1").upgrade("", 429)
		f.dialFrom("127.0.0.2").upgrade("", 101)
	}
	if st := f.Stats(); st.Handshakes["address"] != 3 || st.Addresses != 2 {
		t.Errorf("%d refused, %d addresses", st.Handshakes["address"], st.Addresses)
	}
	for i := range 10 {
		_ = held[i].Close()
		await(t, "the share comes back", func() bool { return f.Stats().Connections == 5 })
		hold()
		f.dialFrom("127.0.0.1").upgrade("", 429)
	}
	f.stop()
	if n := f.Stats().Addresses; n != 0 {
		t.Errorf("%d addresses after drain", n)
	}
}

func TestTrustedProxiesSayWhereClientsAre(t *testing.T) {
	f := start(t, Config{AddressLimit: 1, RetryAfter: 7e9, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8")}}, nil)
	say := func(list string, want int) {
		t.Helper()
		f.dialFrom("127.0.0.1").upgrade("X-Forwarded-For: "+list+"\r\n", want)
	}
	say("1.2.3.4", 101)
	say("1.2.3.4", 429)
	say("9.9.9.9, 1.2.3.4", 429)               // what the client wrote itself changes nothing
	say("1.2.3.4:99, 10.1.2.3, 10.9.9.9", 429) // nor do proxies of ours in between
	say("1.2.3.5\r\nX-Forwarded-For: 1.2.3.4", 429)
	say("1.2.3.4\r\nx-forwarded-for: 1.2.3.5", 101)
	say("2001:db8:1:2::1", 101)
	say("[2001:db8:1:2:ffff::2]:443", 429)
	say("2001:db8:1:3::1", 101)
	say("rubbish", 101) // the proxy itself
	say("1.2.3.4, rubbish", 429)
	if n := f.Stats().BadForwarded; n != 2 {
		t.Errorf("%d lists counted as unreadable, want 2", n)
	}
	// Others are not believed.
	f.dialFrom("127.0.0.2").upgrade("X-Forwarded-For: 8.8.8.8\r\n", 101)
	f.dialFrom("127.0.0.2").upgrade("X-Forwarded-For: 8.8.8.9\r\n", 429)
}

func TestNoAddressExceedsItsShareInAStorm(t *testing.T) {
	const limit = 5
	var mu sync.Mutex
	open := map[netip.Addr]int{}
	cfg := Config{AddressLimit: limit}
	cfg.Upgrade = func(c *Conn, _ *wire.Request) (Handler, *Refusal) {
		addr := c.RemoteAddr().Addr()
		mu.Lock()
		defer mu.Unlock()
		if open[addr]++; open[addr] > limit {
			t.Errorf("%d connections of %v", open[addr], addr)
		}
		closed := make(chan wire.CloseCode, 1)
		return &counting{echo{c: c, closed: closed}, func() {
			mu.Lock()
			open[addr]--
			mu.Unlock()
		}}, nil
	}
	f := start(t, cfg, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(fmt.Sprintf("127.0.0.%d", 1+i%3))}}
			for range 50 {
				nc, err := d.Dial("tcp", f.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				if rand.IntN(4) > 0 {
					_, _ = nc.Write([]byte(upgradeHead))
					if rand.IntN(3) > 0 {
						var p [12]byte
						_, _ = nc.Read(p[:])
					}
				}
				if rand.IntN(2) > 0 {
					_ = nc.(*net.TCPConn).SetLinger(0)
				}
				_ = nc.Close()
			}
		})
	}
	wg.Wait()
	await(t, "all are gone", func() bool { st := f.Stats(); return st.Connections == 0 && st.Handshaking == 0 })
	if n := f.Stats().Addresses; n != 0 {
		t.Errorf("%d addresses are still counted", n)
	}
}

type counting struct {
	echo
	done func()
}

func (c *counting) Closed(code wire.CloseCode) {
	c.done()
	c.echo.Closed(code)
}

func TestAddressesCountAsAMapDoes(t *testing.T) {
	const limit = 3
	a := newAddresses(limit, 64)
	model := map[netip.Addr]int{}
	type seat struct {
		addr   netip.Addr
		number uint32
	}
	var seats []seat
	for step := range 200_000 {
		wave := 1 + (step/20_000)%2*3000 // few addresses, then many, and back
		if len(seats) > 0 && rand.IntN(2000) > wave/2+len(seats)%1000 || len(seats) > 5000 {
			i := rand.IntN(len(seats))
			a.leave(seats[i].number)
			if model[seats[i].addr]--; model[seats[i].addr] == 0 {
				delete(model, seats[i].addr)
			}
			seats[i] = seats[len(seats)-1]
			seats = seats[:len(seats)-1]
			continue
		}
		addr := netip.AddrFrom4([4]byte{10, 0, byte(rand.IntN(wave) >> 8), byte(rand.IntN(256))})
		number, ok := a.enter(addr)
		if ok != (model[addr] < limit) {
			t.Fatalf("step %d: %v admitted with %d", step, ok, model[addr])
		}
		if ok {
			model[addr]++
			seats = append(seats, seat{addr, number})
		}
		if step%1000 == 0 && a.len() != len(model) {
			t.Fatalf("%d addresses, want %d", a.len(), len(model))
		}
	}
	for _, s := range seats {
		a.leave(s.number)
	}
	for i := range a.stripes {
		if st := &a.stripes[i]; st.used != 0 || st.entries != nil {
			t.Fatalf("stripe %d keeps %+v", i, st)
		}
	}
}

func TestOneCustomersIPv6NetworkIsOneAddress(t *testing.T) {
	a := newAddresses(1, 64)
	parse := netip.MustParseAddr
	for _, pair := range [][2]string{{"2001:db8::1", "2001:db8::ffff:1:2:3"}, {"1.2.3.4", "::ffff:1.2.3.4"}} {
		if a.keyOf(parse(pair[0])) != a.keyOf(parse(pair[1])) {
			t.Errorf("%v are two", pair)
		}
	}
	for _, pair := range [][2]string{{"2001:db8::1", "2001:db8:0:1::1"}, {"1.2.3.4", "1.2.3.5"}, {"1.2.3.4", "102:304::"}} {
		if a.keyOf(parse(pair[0])) == a.keyOf(parse(pair[1])) {
			t.Errorf("%v are one", pair)
		}
	}
	if wide := newAddresses(1, 48); wide.keyOf(parse("2001:db8::1")) != wide.keyOf(parse("2001:db8:0:1::1")) {
		t.Error("a prefix of 48 bits does not join networks")
	}
}

func FuzzForwarded(f *testing.F) {
	for _, s := range []string{
		"1.2.3.4", "1.2.3.4, 10.0.0.1", "10.0.0.1", "", ",", ",,", " 1.2.3.4 ", "1.2.3.4:80", "[::1]", "[::1]:80", "::1", "fe80::1%eth0", "[1.2.3.4]", "unknown",
		"_hidden", "\"[::1]\"", "1.2.3.4;", "::ffff:1.2.3.4", "0.0.0.0", "1.2.3.4:", "1.2.3.04", strings.Repeat("10.0.0.1,", 40), "[::1%a]:1", "1.2.3.4\x00",
	} {
		f.Add(s, "10.0.0.2")
	}
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	f.Fuzz(func(t *testing.T, first, second string) {
		head := "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: " + first + "\r\nx-forwarded-for: " + second + "\r\n\r\n"
		r := new(wire.Request)
		if _, err := r.Parse([]byte(head), 1<<16, 10); err != nil || r.NumHeaders() != 3 {
			return
		}
		client, ok := forwardedClient(r, proxies)
		if !ok {
			if client.IsValid() {
				t.Fatalf("%q %q: unreadable, yet %v", first, second, client)
			}
			return
		}
		if !client.IsValid() || client.Zone() != "" || client.Is4In6() {
			t.Fatalf("%q %q: %v", first, second, client)
		}
		// Whatever stands before the answer changes nothing, unless all that follows are proxies.
		if trusted(proxies, client) {
			return
		}
		forged := strings.Replace(head, "X-Forwarded-For: ", "X-Forwarded-For: 6.6.6.6, forged, ", 1)
		if _, err := r.Parse([]byte(forged), 1<<16, 10); err != nil {
			return
		}
		if again, ok := forwardedClient(r, proxies); !ok || again != client {
			t.Fatalf("%q %q: %v, and %v %v behind a forged list", first, second, client, again, ok)
		}
	})
}
