package broker

import (
	"log/slog"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// Native channels stand for NATS subjects of others: sensors:hall.temp for sensors.hall.temp, sensors:*.temp for
// sensors.*.temp. Which do is not known here: Native says it. What it says is checked all the same before it is used, so
// that a mistake there cannot make this node speak or listen on NATS's own subjects, on Throng's, or on all of them.
//
// A message on such a subject is its data and no more: whoever may publish there may write any header, so Throng-Meta, the
// publisher's own account of who he is, is not believed. This node writes it for others to read. Throng-Binary is believed:
// it says nothing but that the data is no text.

// Native maps channels to the subjects of others and back. Its methods are called by the broker's goroutines, several at
// once; they must not block, and must always answer the same (SetNative gives a new one).
type Native interface {
	// Subject returns the subject behind channel, and whether there is one; without one the channel is Throng's own.
	// A subject with wildcards is for Subscribe only.
	Subject(channel string) (subject string, native bool)
	// Channel is the way back from a literal subject; false: it has no channel.
	Channel(subject string) (channel string, ok bool)
}

// SetNative says from now on which channels are native; nil, as at first, none. Channels in use move to their new subject soon,
// without losing interest; what still waits of the old subject may be dropped. Any goroutine; never blocks.
func (n *NATS) SetNative(m Native) {
	n.native.Store(&m)
	n.remap.Store(true)
	n.queue.signal()
}

// nativeOf returns the mapping in force, nil if there is none.
func (n *NATS) nativeOf() Native {
	if m := n.native.Load(); m != nil {
		return *m
	}
	return nil
}

const (
	// maxNativeBytes keeps the PUB or SUB line of a subject well below the 4096 bytes that NATS takes.
	maxNativeBytes = 3000
	// maxNativeTokens bounds the depth that clients can ask of the NATS server, which splits so many on its stack.
	maxNativeTokens = 32
)

// checkNative says whether subject may be a native channel's, and whether it holds wildcards. It must be legal, begin with a
// literal token that is not NATS's own, and match no subject below prefix.
func checkNative(subject, prefix string) (wildcard, ok bool) {
	if len(subject) > maxNativeBytes || strings.Count(subject, ".") >= maxNativeTokens {
		return false, false
	}
	own, more := prefix, true // what is left of the prefix to differ from
	apart := false
	rest := subject
	for first := true; more; first = false {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		wild := token == "*" || token == ">" && !more
		if !wild && !literalToken(token) || first && (wild || token[0] == '$' || token[0] == '_') {
			return false, false
		}
		wildcard = wildcard || wild
		if own != "" {
			var theirs string
			theirs, own, _ = strings.Cut(own, ".")
			apart = apart || !wild && token != theirs || !more && token != ">"
		}
	}
	return wildcard, apart
}

// literalToken says whether t is one token of a subject and no wildcard.
func literalToken(t string) bool {
	for i := range len(t) {
		if t[i] <= ' ' || t[i] > '~' || t[i] == '*' || t[i] == '>' {
			return false
		}
	}
	return t != ""
}

// natives knows the channel behind each subscription on a subject of others.
type natives struct {
	// mu is held while the publisher subscribes, so that no message is handled before its subscription is known here.
	mu sync.RWMutex
	of map[*nats.Subscription]nativeSub
}

type nativeSub struct {
	channel  string
	wildcard bool
}

func (v *natives) subscribe(s nativeSub, begin func() (*nats.Subscription, error)) (*nats.Subscription, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	sub, err := begin()
	if err != nil {
		return nil, err
	}
	if v.of == nil {
		v.of = make(map[*nats.Subscription]nativeSub)
	}
	v.of[sub] = s
	return sub, nil
}

func (v *natives) end(sub *nats.Subscription) {
	v.mu.Lock()
	delete(v.of, sub)
	v.mu.Unlock()
}

func (v *natives) find(sub *nats.Subscription) (s nativeSub, known bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s, known = v.of[sub]
	return s, known
}

func (v *natives) count() int {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return len(v.of)
}

// deliverNative is deliver for a message on a subject of others.
func (n *NATS) deliverNative(m *nats.Msg) {
	s, known := n.natives.find(m.Sub)
	if !known {
		return // it waited while its interest ended: nobody wants it any more
	}
	out := Message{Channel: s.channel, Data: m.Data, Binary: isBinary(m.Header)}
	if s.wildcard {
		mapping, ok := n.nativeOf(), false
		if mapping != nil {
			out.Concrete, ok = mapping.Channel(m.Subject)
		}
		if !ok {
			n.count.lose(LostBadSubject, 1)
			n.events.event(slog.LevelWarn, "message on a foreign subject that no channel name stands for", "subject", m.Subject)
			return
		}
	}
	n.count.delivered.Add(1)
	n.count.deliveredBytes.Add(uint64(len(m.Data)))
	n.handler(out)
}
