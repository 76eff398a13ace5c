package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"throng/server/channel"
)

// OriginVerdict is what Origins thinks of a request.
type OriginVerdict uint8

const (
	// OriginRefused: answer 403 before the upgrade.
	OriginRefused OriginVerdict = iota
	// OriginAllowed: go on.
	OriginAllowed
	// OriginAbsent: there is no Origin header, so the client is no browser and Origin protects nobody. Go on, but a
	// connection that authenticates by something a browser adds by itself (cookies) must not rely on it.
	OriginAbsent
)

// Origins decides which web pages may connect: a browser tells the page's origin in the Origin header and cannot be made
// to lie by the page. Immutable; any goroutine; never blocks or allocates.
//
// Source: centrifuge-protocol.md, 1.2; RFC 6454; RFC 6455, 10.2; reliability.md, S3.
type Origins struct {
	any      bool
	null     bool
	sameHost bool
	patterns []originPattern
}

type originPattern struct {
	scheme  string // lower case; "" = any
	host    string // what follows the wildcard, or all of it
	before  string // what stands before a wildcard inside the first label
	kind    hostKind
	addr    netip.Addr // valid for IPv6
	port    int        // schemeDefault = that of the page's own scheme; 0 for schemes without one
	anyPort bool
}

const schemeDefault = -1

type hostKind uint8

const (
	exactHost     hostKind = iota
	anySubdomain           // *.example.com: one or more labels before
	labelWildcard          // app-*.example.com: within one label
	anyHost                // scheme://*
)

// maxOrigin bounds what is looked at: a host name has at most 253 bytes.
const maxOrigin = 512

// NewOrigins compiles the allowed_origins list. An empty list means the same host only: the page was served from where it
// connects to. Otherwise each entry is one of
//
//	https://example.com          this origin; a port must be the one given, none is the scheme's default
//	https://*.example.com        any subdomain, at any depth, but not example.com itself
//	https://app-*.example.com    a wildcard within the first label
//	http://localhost:*           any port
//	*://example.com              any scheme
//	capacitor://*                any host of a scheme
//	self                         the same host, as with an empty list
//	null                         sandboxed frames and local files: anybody can make these
//	*                            everybody
//
// The error joins one *channel.FieldError per wrong entry.
func NewOrigins(allowed []string) (*Origins, error) {
	o := &Origins{sameHost: len(allowed) == 0}
	var errs []error
	for i, entry := range allowed {
		switch entry {
		case "*":
			o.any = true
		case "null":
			o.null = true
		case "self":
			o.sameHost = true
		default:
			p, fix := parsePattern(entry)
			if fix != "" {
				errs = append(errs, &channel.FieldError{Field: fmt.Sprintf("allowed_origins[%d]", i), Value: fmt.Sprintf("%.80q", entry), Fix: fix})
			}
			o.patterns = append(o.patterns, p)
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return o, nil
}

// Check judges the Origin header of a request whose Host header is host. Both are read only.
func (o *Origins) Check(origin, host string) OriginVerdict {
	switch {
	case origin == "":
		return OriginAbsent
	case o.any:
		return OriginAllowed
	case origin == "null":
		return verdict(o.null)
	}
	parsed, ok := parseOrigin(origin)
	if !ok {
		return OriginRefused
	}
	if o.sameHost && parsed.sameHost(host) {
		return OriginAllowed
	}
	for i := range o.patterns {
		if o.patterns[i].matches(&parsed) {
			return OriginAllowed
		}
	}
	return OriginRefused
}

func verdict(ok bool) OriginVerdict {
	if ok {
		return OriginAllowed
	}
	return OriginRefused
}

// webOrigin is a parsed origin; its strings alias the header.
type webOrigin struct {
	scheme string
	host   string     // a name, or the text of an IPv6 address without brackets
	addr   netip.Addr // valid for IPv6
	port   int        // the default where none is written; 0 for schemes without one
}

// parseOrigin reads scheme://host[:port] and nothing else: no path, no user, no wildcard, no list.
//
// Source: RFC 6454, 6.2 and 7.
func parseOrigin(s string) (webOrigin, bool) {
	scheme, rest, found := strings.Cut(s, "://")
	if !found || len(s) > maxOrigin || !validScheme(scheme) {
		return webOrigin{}, false
	}
	o := webOrigin{scheme: scheme}
	port, ok := o.parseHost(rest)
	switch {
	case !ok:
		return webOrigin{}, false
	case port == "":
		o.port = defaultPort(scheme)
	default:
		o.port, ok = parsePort(port)
	}
	return o, ok
}

// parseHost takes host[:port] apart and returns the port as written, "" if none.
func (o *webOrigin) parseHost(s string) (port string, ok bool) {
	if strings.HasPrefix(s, "[") {
		text, after, found := strings.Cut(s[1:], "]")
		addr, err := netip.ParseAddr(text)
		if !found || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", false
		}
		o.host, o.addr = text, addr
		port, found = strings.CutPrefix(after, ":")
		return port, after == "" || found && port != ""
	}
	host, port, found := strings.Cut(s, ":")
	o.host = host
	return port, validHost(host) && (!found || port != "")
}

func validScheme(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || !(s[i] >= '0' && s[i] <= '9' || s[i] == '+' || s[i] == '-' || s[i] == '.')) {
			return false
		}
	}
	return s != ""
}

// validHost tells whether s is a host name of non-empty labels; one trailing dot is part of the name, and browsers keep
// example.com and example.com. apart.
func validHost(s string) bool {
	last := byte('.')
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= '0' && c <= '9', c|0x20 >= 'a' && c|0x20 <= 'z', c == '-', c == '_':
		case c == '.' && last != '.':
		default:
			return false
		}
		last = c
	}
	return s != ""
}

func parsePort(s string) (int, bool) {
	if len(s) > 5 || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err == nil
}

func defaultPort(scheme string) int {
	switch {
	case strings.EqualFold(scheme, "https"), strings.EqualFold(scheme, "wss"):
		return 443
	case strings.EqualFold(scheme, "http"), strings.EqualFold(scheme, "ws"):
		return 80
	}
	return 0
}

// sameHost tells whether the page came from the host that the request goes to. A Host without port stands for the default
// port of the page's own scheme: behind a proxy that ends TLS this node cannot know better.
func (o *webOrigin) sameHost(host string) bool {
	if !strings.EqualFold(o.scheme, "http") && !strings.EqualFold(o.scheme, "https") || len(host) > maxOrigin {
		return false
	}
	target := webOrigin{port: defaultPort(o.scheme)}
	port, ok := target.parseHost(host)
	if ok && port != "" {
		target.port, ok = parsePort(port)
	}
	return ok && o.port == target.port && o.isHost(target.host, target.addr)
}

func (o *webOrigin) isHost(name string, addr netip.Addr) bool {
	if o.addr.IsValid() || addr.IsValid() {
		return o.addr == addr
	}
	return strings.EqualFold(o.host, name)
}

// parsePattern reads one entry of allowed_origins. The empty fix means it is usable.
func parsePattern(entry string) (p originPattern, fix string) {
	scheme, rest, found := strings.Cut(entry, "://")
	switch {
	case !found:
		return p, "has no scheme: write https://" + strings.Trim(entry, "/")
	case scheme == "*":
		p.port = schemeDefault
	case !validScheme(scheme):
		return p, "has a broken scheme: write https://, http:// or *://"
	default:
		p.scheme = strings.ToLower(scheme)
		p.port = defaultPort(scheme)
	}
	if strings.ContainsAny(rest, "/?#@") {
		return p, "is more than an origin: write scheme://host[:port] without user, path and trailing slash"
	}
	if before, isAny := strings.CutSuffix(rest, ":*"); isAny {
		p.anyPort = true
		rest = before
	}
	p.host = rest
	fix = p.parseWildcard()
	if fix != "" || p.kind == anyHost {
		return p, fix
	}
	return p, p.parseRest()
}

// parseWildcard takes a wildcard off the front of the host.
func (p *originPattern) parseWildcard() string {
	const where = "may only be the whole first label (https://*.example.com), part of it (https://app-*.example.com), or the whole host: with a wildcard elsewhere others could register a name that matches"
	before, after, found := strings.Cut(p.host, "*")
	switch {
	case !found:
		return ""
	case before == "" && after == "":
		p.kind = anyHost
		return ""
	case strings.Contains(after, "*") || strings.Contains(before, "."):
		return "has a * that " + where
	}
	fixed := after[strings.IndexByte(after+".", '.'):] // from the dot that ends the first label
	name, _, _ := strings.Cut(strings.TrimPrefix(fixed, "."), ":")
	if !strings.Contains(strings.Trim(name, "."), ".") && !strings.EqualFold(name, "localhost") {
		return "has a * that " + where
	}
	p.kind, p.host = labelWildcard, after
	if before == "" && after == fixed {
		p.kind, p.host = anySubdomain, strings.TrimPrefix(after, ".")
	}
	p.before = before
	return ""
}

// parseRest checks the host without its wildcard, and reads the port.
func (p *originPattern) parseRest() string {
	host := p.host
	if p.kind == labelWildcard {
		host = "x" + p.before + "x" + host
	}
	var o webOrigin
	port, ok := o.parseHost(host)
	if ok && port != "" {
		if p.anyPort {
			return "has two ports"
		}
		p.port, ok = parsePort(port)
		p.host = strings.TrimSuffix(p.host, ":"+port)
	}
	if !ok {
		return "has a broken host or port: write scheme://host[:port], host names in their ASCII (punycode) form"
	}
	if p.kind == exactHost {
		p.host, p.addr = o.host, o.addr
	}
	return ""
}

func (p *originPattern) matches(o *webOrigin) bool {
	if p.scheme != "" && !strings.EqualFold(p.scheme, o.scheme) {
		return false
	}
	wantPort := p.port
	if wantPort == schemeDefault {
		wantPort = defaultPort(o.scheme)
	}
	if !p.anyPort && o.port != wantPort {
		return false
	}
	switch p.kind {
	case anyHost:
		return true
	case anySubdomain:
		at := len(o.host) - len(p.host) - 1
		return at > 0 && !o.addr.IsValid() && o.host[at] == '.' && strings.EqualFold(o.host[at+1:], p.host)
	case labelWildcard:
		return !o.addr.IsValid() && p.matchesLabel(o.host)
	}
	return o.isHost(p.host, p.addr)
}

// matchesLabel matches a wildcard that stands for one or more characters of the first label.
func (p *originPattern) matchesLabel(host string) bool {
	if len(host) <= len(p.before)+len(p.host) {
		return false
	}
	end := len(host) - len(p.host)
	middle := host[len(p.before):end]
	return strings.EqualFold(host[:len(p.before)], p.before) && strings.EqualFold(host[end:], p.host) && !strings.Contains(middle, ".")
}
