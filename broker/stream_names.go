package broker

import "strings"

// The names of what Streams makes in NATS. A namespace is one subject token, escaped byte by byte as a channel is, its
// dots included, so that no namespace can look like another or open a token; "%" alone, which no escape is, stands for no namespace. A
// stream's name is escaped further: nats-server makes a directory of it.

const (
	histToken    = "hist"
	epochToken   = "epoch"
	onceToken    = "once"
	plainToken   = "%"
	maxNamespace = 64 // bytes; the stream's name, escaped, is at most 255
)

func namespaceToken(namespace string) string {
	if namespace == "" {
		return plainToken
	}
	return escapeBytes(namespace, literal)
}

func histName(prefix, token string) string {
	return escapeBytes(prefix, safeInName) + "_" + histToken + "_" + fileSafe(token)
}

func onceName(prefix string) string { return escapeBytes(prefix, safeInName) + "_" + onceToken }

// fileSafe escapes what a token may hold and a stream's name may not; the escapes in it stay as they are.
func fileSafe(token string) string {
	return escapeBytes(token, func(b byte) bool { return b == '%' || safeInName(b) })
}

func safeInName(b byte) bool { return literal(b) && b != '/' && b != '\\' && b != '"' }

func escapeBytes(s string, keep func(byte) bool) string {
	var b strings.Builder
	for i := range len(s) {
		if keep(s[i]) {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte('%')
		b.WriteByte(upperHex[s[i]>>4])
		b.WriteByte(upperHex[s[i]&15])
	}
	return b.String()
}

// republished reads the namespace from the subject a stream stored a message under, given what follows the prefix and
// "live." in the subject it came on; false when the one is not the other's: then some other stream republished it.
func (c codec) republished(stored, live string) (namespace string, ok bool) {
	root := len(c.live) - len(liveToken) - 1 // "<prefix>."
	rest, ours := strings.CutPrefix(stored, c.live[:root])
	if !ours {
		return "", false
	}
	rest, ours = strings.CutPrefix(rest, histToken+".")
	if !ours {
		return "", false
	}
	token, channel, found := strings.Cut(rest, ".")
	if !found || channel != live[len(c.live):] {
		return "", false
	}
	if token == plainToken {
		return "", true
	}
	if !strings.Contains(token, "%") {
		return token, true
	}
	namespace, ok = unescape(token)
	return namespace, ok && namespaceToken(namespace) == token
}
