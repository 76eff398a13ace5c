package channel

import "strings"

// subjectMap ties the names of one namespace to the NATS subjects of one pattern, one to one: each wildcard of the pattern
// stands for dot-separated parts of the name. "sensors.>" maps sensors:a.b to sensors.a.b, "plant.*.out" maps plant:7 to
// plant.7.out. Nothing is escaped, so a name maps only if its parts are plain NATS tokens; then every subject that comes
// out matches the pattern, and its first token is the pattern's own.
type subjectMap struct {
	tokens []string // of the pattern; the first is never a wildcard
	stars  int      // how many tokens are "*"
	tail   bool     // the last token is ">"
}

// newSubjectMap takes a pattern apart. The empty string means it is usable; otherwise it says what is wrong with it.
func newSubjectMap(pattern string) (*subjectMap, string) {
	m := &subjectMap{tokens: strings.Split(pattern, ".")}
	for i, t := range m.tokens {
		switch {
		case t == "*":
			m.stars++
		case t == ">" && i == len(m.tokens)-1:
			m.tail = true
		case !plainToken(t):
			return nil, "token " + quote(t) + " is no NATS subject token"
		}
	}
	if problem := reservedSubject(m.tokens); problem != "" {
		return nil, problem
	}
	if m.stars == 0 && !m.tail {
		return nil, "it has no wildcard, so it could serve no more than one channel"
	}
	return m, ""
}

// reservedSubject says what is wrong with the first token of a mapped subject: whoever can choose it reaches NATS itself.
func reservedSubject(tokens []string) string {
	switch first := tokens[0]; {
	case first == "*" || first == ">":
		return "its first token is a wildcard, which would open all of NATS"
	case first[0] == '$' || first[0] == '_':
		return "subjects that start with $ or _ belong to NATS itself"
	}
	return ""
}

// plainToken tells whether t can be one literal token of a NATS subject: printable ASCII without space, dot and wildcards.
func plainToken(t string) bool {
	if t == "" {
		return false
	}
	for i := 0; i < len(t); i++ {
		switch c := t[i]; {
		case c <= ' ', c > '~', c == '.', c == '*', c == '>':
			return false
		}
	}
	return true
}

// checkRest tells whether rest can be mapped, and whether it holds wildcards. It does not allocate.
func (m *subjectMap) checkRest(rest string) (wildcard, ok bool) {
	n := 0
	for more := true; more; n++ {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		switch {
		case token == "*":
			wildcard = true
		case token == ">" && !more && m.tail:
			wildcard = true
		case !plainToken(token):
			return false, false
		}
	}
	return wildcard, n == m.stars && !m.tail || n > m.stars && m.tail
}

// appendSubject appends the subject of rest, which checkRest must have allowed.
func (m *subjectMap) appendSubject(dst []byte, rest string) []byte {
	for i, t := range m.tokens {
		if i > 0 {
			dst = append(dst, '.')
		}
		switch t {
		case ">":
			dst = append(dst, rest...)
		case "*":
			var one string
			one, rest, _ = strings.Cut(rest, ".")
			dst = append(dst, one...)
		default:
			dst = append(dst, t...)
		}
	}
	return dst
}

// restOf is the way back: the part of a channel name after the boundary that stands for subject.
func (m *subjectMap) restOf(subject string) (string, bool) {
	var rest strings.Builder
	for i, t := range m.tokens {
		if t == ">" {
			if rest.Len() > 0 {
				rest.WriteByte('.')
			}
			rest.WriteString(subject)
			break
		}
		one, more, found := strings.Cut(subject, ".")
		if found != (i < len(m.tokens)-1) || t != "*" && t != one {
			return "", false
		}
		if t == "*" {
			if rest.Len() > 0 {
				rest.WriteByte('.')
			}
			rest.WriteString(one)
		}
		subject = more
	}
	wildcard, ok := m.checkRest(rest.String())
	return rest.String(), ok && !wildcard
}

// subjectsOverlap tells whether some subject matches both patterns.
func subjectsOverlap(a, b []string) bool {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == ">" || b[i] == ">" {
			return true
		}
		if a[i] != b[i] && a[i] != "*" && b[i] != "*" {
			return false
		}
	}
	return len(a) == len(b)
}

// NativeSubject returns the subject behind ch where its namespace is NATS-native, and whether it is. For a wildcard
// channel the subject is a wildcard too. Whatever the name, the subject matches the namespace's pattern. One allocation.
func (ch *Channel) NativeSubject() (string, bool) {
	if ch.Namespace.native == nil {
		return "", false
	}
	return string(ch.Namespace.native.appendSubject(nil, ch.Rest)), true
}

// ChannelOf returns the channel that a message on a NATS-native subject belongs to; for a message that reached a wildcard
// subscription this is the channel of the publication itself. False where no namespace maps the subject, or where the
// subject has no legal channel name (too long, refused by channel_regex): the caller counts the message as lost.
func (r *Rules) ChannelOf(subject string) (string, bool) {
	for _, ns := range r.native {
		rest, ok := ns.native.restOf(subject)
		if !ok {
			continue
		}
		name := rest
		if ns.Name != "" {
			name = ns.Name + r.namespaceBoundary + rest
		}
		ch, code := r.Lookup(name)
		return name, code == Allowed && ch.Namespace == ns
	}
	return "", false
}

// NativeSubjects returns the patterns that are bridged, for logs and for checking NATS permissions.
func (r *Rules) NativeSubjects() []string {
	out := make([]string, 0, len(r.native))
	for _, ns := range r.native {
		out = append(out, ns.Subject)
	}
	return out
}
