package broker

import (
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// advisories of JetStream on streams: "$JS.EVENT.ADVISORY.STREAM.<what>.<stream>". They come to every node of the account. A
// node whose NATS permissions do not let them through learns of a deleted stream by its acknowledgements and looks.
const advisories = "$JS.EVENT.ADVISORY.STREAM."

// onAdvisory is called by nats.go's goroutine of the advisories.
func (s *Streams) onAdvisory(m *nats.Msg) {
	what, name, _ := strings.Cut(strings.TrimPrefix(m.Subject, advisories), ".")
	for _, st := range s.all() {
		if st.name == name {
			s.advised(st, what)
		}
	}
}

func (s *Streams) advised(st *stream, what string) {
	switch what {
	case "CREATED":
		// Our own creation, too: the first look then runs twice.
		if st.state.Load().ready {
			st.doubt()
		}
	case "DELETED", "RESTORE_COMPLETE":
		st.doubt()
	case "UPDATED", "QUORUM_LOST":
		st.look()
	case "LEADER_ELECTED":
		// The stream is what it was, but its last message may never have been republished.
		st.look()
		s.interrupt()
		if !st.once {
			s.tellDoubt(st.namespace)
		}
	}
}

// numbered fills in what a republished message says of itself. Headers that NATS adds come last, behind any of the
// publisher's of the same name.
func (n *NATS) numbered(m *nats.Msg, msg *Message) {
	stored := final(m.Header["Nats-Subject"])
	if stored == "" {
		return
	}
	namespace, ours := n.codec.republished(stored, m.Subject)
	if !ours {
		return
	}
	offset, err := strconv.ParseUint(final(m.Header["Nats-Sequence"]), 10, 64)
	if err != nil {
		return
	}
	msg.Namespace, msg.Offset = namespace, offset
	msg.Previous, _ = strconv.ParseUint(final(m.Header["Nats-Last-Sequence"]), 10, 64)
	msg.Time, _ = time.Parse(time.RFC3339Nano, final(m.Header["Nats-Time-Stamp"]))
	if s := n.streams.Load(); s != nil {
		if st := (*s.known.Load())[namespace]; st != nil {
			st.saw(offset)
		}
	}
}

func final(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}
