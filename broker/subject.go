package broker

import (
	"errors"
	"fmt"
	"strings"
)

// The subject codec: channel name <-> NATS subject.
//
// The rule is percent-encoding, as in a URL, byte by byte: printable ASCII stands for itself, except for
//
//   - '*' and '>', NATS's wildcards, '$', which begins NATS's own subjects, and '%' itself;
//   - a '.' that would begin, end or follow an empty token, or that would open a 17th token: such a dot is escaped,
//     every other dot separates tokens, so that "sensors.hall.t1" is the subject a NATS user expects and wildcard
//     interest stays possible;
//   - every byte that is not printable ASCII, valid UTF-8 or not. Keeping "printable" Unicode would make the spelling
//     depend on the Unicode tables of a node's Go version, and two nodes that spell one channel differently do not
//     hear each other.
//
// Encoding is therefore total for every non-empty name within the length limit, injective, and yields exactly one
// subject per channel; decoding accepts that one spelling only.

const (
	// maxTokens bounds the depth of a subject below "<prefix>.live.": each level costs the NATS server a map, and
	// a client chooses channel names. 16 is deeper than people name things, and with the prefix well within the 32
	// tokens that nats-server splits on its stack.
	maxTokens = 16
	// maxPrefixBytes keeps prefix + 3 * maxMaxChannelBytes + the rest of a SUB or HPUB line well below 4096 bytes.
	maxPrefixBytes = 128
	liveToken      = "live"
	upperHex       = "0123456789ABCDEF"
)

var (
	errEmptyChannel   = fmt.Errorf("%w: empty", ErrBadChannel)
	errLongChannel    = fmt.Errorf("%w: too long", ErrBadChannel)
	errPrefixEmpty    = errors.New("is empty, or has an empty token")
	errPrefixLong     = fmt.Errorf("is longer than %d bytes", maxPrefixBytes)
	errPrefixIllegal  = errors.New("holds a character that NATS forbids or Throng escapes")
	errPrefixReserved = errors.New("begins with _INBOX, which belongs to NATS replies")
)

// codec maps channels to subjects. It is a value, immutable, used by all goroutines.
type codec struct {
	live string // "<prefix>.live."
	max  int    // longest channel in bytes
}

func newCodec(prefix string, maxChannel int) (codec, error) {
	if err := checkPrefix(prefix); err != nil {
		return codec{}, &ConfigError{
			Field: "Prefix", Value: prefix, Why: err,
			Fix: `give dot-separated words of letters, digits, '-' and '_', such as "throng"`,
		}
	}
	return codec{live: prefix + "." + liveToken + ".", max: maxChannel}, nil
}

func checkPrefix(prefix string) error {
	if len(prefix) > maxPrefixBytes {
		return errPrefixLong
	}
	for token := range strings.SplitSeq(prefix, ".") {
		if token == "" {
			return errPrefixEmpty
		}
		for i := range len(token) {
			if !literal(token[i]) {
				return errPrefixIllegal
			}
		}
	}
	if strings.HasPrefix(prefix, "_INBOX") {
		return errPrefixReserved
	}
	return nil
}

// literal says whether a byte other than '.' stands for itself.
func literal(b byte) bool {
	switch b {
	case '*', '>', '$', '%', '.':
		return false
	}
	return b > ' ' && b < 0x7f
}

// separates says whether the dot at channel[i] becomes a token separator, given that separators precede it.
func separates(channel string, i, separators int) bool {
	return i > 0 && i < len(channel)-1 && channel[i-1] != '.' && separators < maxTokens-1
}

// check is CheckChannel. It does not allocate when the name is good.
func (c codec) check(channel string) error {
	if channel == "" {
		return errEmptyChannel
	}
	if len(channel) > c.max {
		return fmt.Errorf("%w: %d bytes, limit %d", errLongChannel, len(channel), c.max)
	}
	return nil
}

// subject returns the one subject of a channel that passed check. One allocation.
func (c codec) subject(channel string) string {
	escaped, separators := 0, 0
	for i := range len(channel) {
		switch {
		case literal(channel[i]):
		case channel[i] == '.' && separates(channel, i, separators):
			separators++
		default:
			escaped++
		}
	}
	if escaped == 0 {
		return c.live + channel
	}
	var b strings.Builder
	b.Grow(len(c.live) + len(channel) + 2*escaped)
	b.WriteString(c.live)
	separators = 0
	for i := range len(channel) {
		ch := channel[i]
		switch {
		case literal(ch):
			b.WriteByte(ch)
		case ch == '.' && separates(channel, i, separators):
			separators++
			b.WriteByte(ch)
		default:
			b.WriteByte('%')
			b.WriteByte(upperHex[ch>>4])
			b.WriteByte(upperHex[ch&15])
		}
	}
	return b.String()
}

// sharedKey returns channel, as a part of its subject where it is one, so that both take the memory of one.
func (c codec) sharedKey(channel, subject string) string {
	if key := subject[len(c.live):]; key == channel {
		return key
	}
	return channel
}

// channel returns the channel of a subject; false when the subject is not ours or not the spelling that subject
// gives. No allocation when nothing is escaped: the result shares the subject's memory.
func (c codec) channel(subject string) (string, bool) {
	rest, ours := strings.CutPrefix(subject, c.live)
	if !ours {
		return "", false
	}
	channel := rest
	if strings.IndexByte(rest, '%') >= 0 {
		var ok bool
		if channel, ok = unescape(rest); !ok {
			return "", false
		}
	}
	if c.check(channel) != nil || !c.spells(rest, channel) {
		return "", false
	}
	return channel, true
}

// spells says whether escaped is how channel is spelt, without building the spelling.
func (c codec) spells(escaped, channel string) bool {
	at, separators := 0, 0
	for i := range len(channel) {
		ch := channel[i]
		dot := ch == '.' && separates(channel, i, separators)
		if dot {
			separators++
		}
		if dot || literal(ch) {
			if at >= len(escaped) || escaped[at] != ch {
				return false
			}
			at++
			continue
		}
		if at+3 > len(escaped) || escaped[at] != '%' ||
			escaped[at+1] != upperHex[ch>>4] || escaped[at+2] != upperHex[ch&15] {
			return false
		}
		at += 3
	}
	return at == len(escaped)
}

func unescape(s string) (string, bool) {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := strings.IndexByte(upperHex, s[i+1]), strings.IndexByte(upperHex, s[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), true
}
