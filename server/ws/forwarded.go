package ws

import (
	"net/netip"
	"slices"
	"strings"

	"throng/server/wire"
)

const forwardedFor = "X-Forwarded-For"

// maxForwarded is how many addresses of proxies are skipped: more than anybody stacks, and little work.
const maxForwarded = 32

// clientAddr is where the client of a request comes from: the peer, or, where the peer is a trusted proxy, what it says in
// X-Forwarded-For. Only the part that trusted proxies wrote counts, which is the end of the list: the last address there that
// is no trusted proxy's; whatever the client itself wrote stands before. A list that cannot be read, or none, leaves the peer.
func (s *Server) clientAddr(peer netip.Addr, r *wire.Request) netip.Addr {
	if !trusted(s.cfg.TrustedProxies, peer) {
		return peer
	}
	client, ok := forwardedClient(r, s.cfg.TrustedProxies)
	if !ok {
		s.stats.badForwarded.Add(1)
	}
	if !client.IsValid() {
		return peer
	}
	return client
}

func trusted(proxies []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// forwardedClient reads the lists of all X-Forwarded-For lines as one, from its end. It returns the zero address if there is no
// list, and false if what it had to read is none.
func forwardedClient(r *wire.Request, proxies []netip.Prefix) (client netip.Addr, ok bool) {
	hops := 0
	for i := r.NumHeaders() - 1; i >= 0; i-- {
		name, value := r.HeaderAt(i)
		if len(name) != len(forwardedFor) || !strings.EqualFold(string(name), forwardedFor) {
			continue
		}
		list, more := string(value), true
		for more {
			var last string
			list, last, more = cutLast(list)
			addr, ok := parseForwarded(last)
			if hops++; !ok || hops > maxForwarded {
				return netip.Addr{}, false
			}
			client = addr
			if !trusted(proxies, addr) {
				return client, true
			}
		}
	}
	return client, true
}

// cutLast takes the last element off a list.
func cutLast(list string) (before, last string, more bool) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return "", list, false
	}
	return list[:i], list[i+1:], true
}

// parseForwarded reads one element: an address, perhaps with a port (some load balancers add it), IPv6 then in brackets.
func parseForwarded(element string) (netip.Addr, bool) {
	element = strings.Trim(element, " \t")
	addr, err := netip.ParseAddr(element)
	if inner, bracket := strings.CutPrefix(element, "["); err != nil && bracket && strings.HasSuffix(inner, "]") {
		if addr, err = netip.ParseAddr(inner[:len(inner)-1]); err == nil && addr.Is4() {
			return netip.Addr{}, false
		}
	}
	if err != nil {
		var both netip.AddrPort
		both, err = netip.ParseAddrPort(element)
		addr = both.Addr()
	}
	if err != nil || addr.IsUnspecified() {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}
