// Package channel knows what a channel name means and what may be done with it: the namespace a name belongs to, the
// options of that namespace, who may subscribe, publish and read presence or history there, and which NATS subject stands
// behind a channel or an rpc method that is bridged to NATS.
//
// It does not verify tokens (package auth), call proxies, hold subscriptions (package hub) or speak NATS (package broker):
// every decision is a pure function of a name, a user and the configuration, so sessions, the server API and proxies share
// one set of rules.
//
// Goroutines: none, and nothing here blocks. Ownership: Compile turns a Config into a Rules value that nobody may change
// any more; a reload compiles a new one and swaps the pointer (atomic.Pointer[Rules]), so a poller reads rules without a
// lock. A Channel and what it points to stay valid as long as someone holds them, also across a reload.
//
// Source: centrifuge-protocol.md, 8 (names, options, order of checks), 9 (what a subscription may ask for), 12 (rpc).
package channel

import (
	"strings"
	"unicode/utf8"
)

// Channel is a channel name taken apart. It is a small value without allocations; its strings alias the name it was made
// from, so a name that aliases a frame buffer must be cloned before a Channel made from it is kept.
type Channel struct {
	// Name is the whole name as the client spells it.
	Name string
	// Rest is what follows the namespace boundary, or the whole name where there is no namespace.
	Rest string
	// Namespace holds the options that apply; never nil in a Channel that Lookup allowed.
	Namespace *Namespace
	// Private says that the name starts with the private prefix: a subscription token is always needed.
	Private bool
	// UserLimited says that the name lists the users who may subscribe and that the namespace honours such lists.
	UserLimited bool
	// Wildcard says that the name stands for many subjects of a NATS-native namespace: subscribe only.
	Wildcard bool
}

// Lookup takes name apart and finds its namespace.
//
// It returns Allowed, or what the client is told: CloseBadRequest for an empty name, BadRequest for a name that is too
// long or has characters it may not have, UnknownChannel for a namespace that is not configured. Any goroutine may call
// it; it never blocks and never allocates (a namespace with channel_regex costs what the expression costs: linear time).
//
// Source: centrifuge-protocol.md, 8.
func (r *Rules) Lookup(name string) (Channel, Code) {
	if name == "" {
		return Channel{}, CloseBadRequest
	}
	if len(name) > r.maxLength {
		return Channel{}, BadRequest
	}
	ch, code := r.resolve(name)
	if code != Allowed {
		return Channel{}, code
	}
	return ch, Allowed
}

func (r *Rules) resolve(name string) (Channel, Code) {
	ch := Channel{Name: name, Rest: name, Namespace: r.without}
	bare := name
	if p := r.privatePrefix; p != "" && strings.HasPrefix(name, p) {
		ch.Private = true
		bare = name[len(p):]
	}
	if b := r.namespaceBoundary; b != "" {
		if before, after, found := strings.Cut(bare, b); found {
			ch.Namespace = r.namespaces[before]
			ch.Rest = after
		}
	}
	ns := ch.Namespace
	if ns == nil {
		return Channel{}, UnknownChannel
	}
	if !ns.validName(name, ch.Rest) {
		return Channel{}, BadRequest
	}
	if ns.native != nil {
		wildcard, ok := ns.native.checkRest(ch.Rest)
		if !ok || ch.Private || wildcard && !ns.AllowWildcards {
			return Channel{}, BadRequest
		}
		ch.Wildcard = wildcard
	}
	ch.UserLimited = ns.AllowUserLimitedChannels && r.userBoundary != "" && strings.Contains(name, r.userBoundary)
	return ch, Allowed
}

// validName tells whether name may be used. Control characters and broken UTF-8 are refused whatever channel_regex says:
// JSON cannot carry the one, and nothing good comes from the other in logs and subjects.
func (n *Namespace) validName(name, rest string) bool {
	if n.regex != nil {
		return validText(name) && n.regex.MatchString(rest)
	}
	for i := 0; i < len(name); i++ {
		if name[i] < ' ' || name[i] > '~' {
			return false
		}
	}
	return true
}

func validText(s string) bool {
	for _, c := range s {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return false
		}
	}
	return utf8.ValidString(s)
}

// UserAllowed tells whether user stands in the user list of a user-limited channel. The empty (anonymous) user never
// does, not even in an empty list. It does not allocate.
//
// Source: centrifuge-protocol.md, 8: the part after the last user boundary lists user ids.
func (r *Rules) UserAllowed(ch *Channel, user string) bool {
	if user == "" || !ch.UserLimited {
		return false
	}
	list := ch.Name[strings.LastIndex(ch.Name, r.userBoundary)+len(r.userBoundary):]
	if r.userSeparator == "" {
		return list == user
	}
	for {
		one, more, found := strings.Cut(list, r.userSeparator)
		if one == user {
			return true
		}
		if !found {
			return false
		}
		list = more
	}
}

// PersonalChannel returns the name of user's personal channel, and whether there is one: the option is on, the user is not
// anonymous, and the id can be written into a name without meaning somebody else (an id that holds a separator would).
//
// Source: centrifuge-protocol.md, 5, server-side subscriptions.
func (r *Rules) PersonalChannel(user string) (string, bool) {
	if !r.personal.Enabled || user == "" || strings.Contains(user, r.userBoundary) {
		return "", false
	}
	if r.userSeparator != "" && strings.Contains(user, r.userSeparator) {
		return "", false
	}
	name := r.userBoundary + user
	if ns := r.personal.Namespace; ns != "" {
		name = ns + r.namespaceBoundary + name
	}
	ch, code := r.Lookup(name)
	want := r.without
	if r.personal.Namespace != "" {
		want = r.namespaces[r.personal.Namespace]
	}
	// An id with the namespace boundary in it ("chat:7") would otherwise land in a namespace of the user's choosing.
	return name, code == Allowed && ch.Namespace == want && !ch.Private
}
