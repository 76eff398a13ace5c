package engine

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ChannelMark stands in a target URL for the name of the connection's channel.
const ChannelMark = "{channel}"

// Target is one server to connect to, with everything a request needs precomputed.
type Target struct {
	URL  string
	Addr netip.AddrPort
	TLS  bool
	Host string // for SNI and the Host header

	sockaddr unix.Sockaddr
	before   string // request line up to the channel
	after    string // the rest of the head but for key and dialect headers
	marked   bool   // the path holds ChannelMark
}

// ParseTarget reads a ws, wss, http or https URL and resolves its host once. It
// blocks on DNS for names. A raw room goes into the URL by ChannelMark.
func ParseTarget(ctx context.Context, raw string) (Target, error) {
	u, err := url.Parse(strings.ReplaceAll(raw, ChannelMark, "%7Bchannel%7D"))
	if err != nil {
		return Target{}, fmt.Errorf("target %q is no URL: %w", raw, err)
	}
	t := Target{URL: raw, Host: u.Hostname()}
	port := u.Port()
	switch u.Scheme {
	case "ws", "http":
		port = orDefault(port, "80")
	case "wss", "https":
		t.TLS, port = true, orDefault(port, "443")
	default:
		return Target{}, fmt.Errorf("target %q: scheme must be ws, wss, http or https", raw)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Target{}, fmt.Errorf("target %q: port %q is not 1 to 65535", raw, port)
	}
	addr, err := resolve(ctx, u.Hostname())
	if err != nil {
		return Target{}, fmt.Errorf("target %q: %w", raw, err)
	}
	t.Addr = netip.AddrPortFrom(addr, uint16(n))
	t.sockaddr = sockaddrOf(t.Addr)
	uri := strings.ReplaceAll(u.RequestURI(), "%7Bchannel%7D", ChannelMark)
	path, rest, marked := strings.Cut(uri, ChannelMark)
	t.marked = marked
	t.before = "GET " + path
	t.after = rest + " HTTP/1.1\r\nHost: " + net.JoinHostPort(t.Host, port) + "\r\nUser-Agent: throng-bench\r\n"
	return t, nil
}

// WithRoom returns t asking for the raw dialect's room of each connection, unless
// its URL already says where the channel goes.
func (t Target) WithRoom() Target {
	if t.marked {
		return t
	}
	sep := "?room="
	if strings.Contains(t.before+t.after[:strings.IndexByte(t.after, ' ')], "?") {
		sep = "&room="
	}
	path, rest, _ := strings.Cut(t.after, " ")
	t.before, t.after, t.marked = t.before+path+sep, " "+rest, true
	return t
}

func (t *Target) appendRequest(dst []byte, channel string) []byte {
	dst = append(dst, t.before...)
	if t.marked {
		dst = append(dst, channel...)
	}
	return append(dst, t.after...)
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func resolve(ctx context.Context, host string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap(), nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if a = a.Unmap(); a.Is4() {
			return a, nil
		}
	}
	return addrs[0], nil
}

func sockaddrOf(ap netip.AddrPort) unix.Sockaddr {
	if ap.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
}

// SourceAddr returns the i-th local source address: 127.1.0.1, 127.1.0.2, ... ,
// 250 per third octet, so that neither .0 nor .255 occurs.
func SourceAddr(i int) netip.Addr {
	last := byte(1 + i%250)
	i /= 250
	return netip.AddrFrom4([4]byte{127, byte(1 + i/250), byte(i % 250), last})
}

// MaxSources is how many source addresses SourceAddr has.
const MaxSources = 254 * 250 * 250
