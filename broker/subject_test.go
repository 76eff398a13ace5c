package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nats-io/nats-server/v2/server"
)

func testCodec(t testing.TB) codec {
	t.Helper()
	c, err := newCodec("throng", defaultMaxChannelBytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// subjectVectors are the spelling of channels, once and for all: a change here splits a cluster during an upgrade.
var subjectVectors = []struct{ channel, subject string }{
	{"livechat", "throng.live.livechat"},
	{"livechat:lobby", "throng.live.livechat:lobby"},
	{"a.b", "throng.live.a.b"},
	{"sensors.hall.t1", "throng.live.sensors.hall.t1"},
	{"chat/room#1,2;3=x", "throng.live.chat/room#1,2;3=x"},
	{".", "throng.live.%2E"},
	{"..", "throng.live.%2E%2E"},
	{".a", "throng.live.%2Ea"},
	{"a.", "throng.live.a%2E"},
	{"a..b", "throng.live.a.%2Eb"},
	{"a...b", "throng.live.a.%2E%2Eb"},
	{"*", "throng.live.%2A"},
	{">", "throng.live.%3E"},
	{"a.>", "throng.live.a.%3E"},
	{"$JS.API.>", "throng.live.%24JS.API.%3E"},
	{"_INBOX.x", "throng.live._INBOX.x"},
	{"100%", "throng.live.100%25"},
	{"a b", "throng.live.a%20b"},
	{"a\r\nb", "throng.live.a%0D%0Ab"},
	{"a\x00b", "throng.live.a%00b"},
	{"\x7f", "throng.live.%7F"},
	{"é", "throng.live.%C3%A9"},
	{"\xff", "throng.live.%FF"},
	{"\u202e", "throng.live.%E2%80%AE"},
	{"1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18", "throng.live.1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16%2E17%2E18"},
}

func TestSubjectsAreSpeltAsDocumented(t *testing.T) {
	c := testCodec(t)
	for _, v := range subjectVectors {
		if got := c.subject(v.channel); got != v.subject {
			t.Errorf("subject(%q) = %q, want %q", v.channel, got, v.subject)
		}
		if got, ok := c.channel(v.subject); !ok || got != v.channel {
			t.Errorf("channel(%q) = %q, %v; want %q", v.subject, got, ok, v.channel)
		}
	}
}

func TestOnlyTheOneSpellingIsDecoded(t *testing.T) {
	c := testCodec(t)
	for _, subject := range []string{
		"", "throng.live", "throng.live.", "throng.livex", "other.live.a", "throng.live.a..b", "throng.live.a.", "throng.live..a",
		"throng.live.%61", "throng.live.a%2eb", "throng.live.a%2Eb", "throng.live.%", "throng.live.%2", "throng.live.%zz", "throng.live.a b",
		"throng.live.*", "throng.live.>", "throng.live.$x", "throng.live.é", "throng.live." + strings.Repeat("x", defaultMaxChannelBytes+1),
		"throng.live.1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17",
	} {
		if channel, ok := c.channel(subject); ok {
			t.Errorf("channel(%q) = %q, want a refusal", subject, channel)
		}
	}
}

func TestBadChannelNamesAreRefusedWithTheReason(t *testing.T) {
	c := testCodec(t)
	for name, want := range map[string]string{
		"":                          "empty",
		strings.Repeat("x", 256):    "256 bytes, limit 255",
		strings.Repeat("é.", 10240): "30720 bytes, limit 255",
	} {
		err := c.check(name)
		if !errors.Is(err, ErrBadChannel) || !strings.Contains(err.Error(), want) {
			t.Errorf("check of %d bytes: %v, want %q", len(name), err, want)
		}
	}
}

func TestTheLongestNameFitsAProtocolLine(t *testing.T) {
	prefix := strings.Repeat("p", maxPrefixBytes)
	c, err := newCodec(prefix, maxMaxChannelBytes)
	if err != nil {
		t.Fatal(err)
	}
	subject := c.subject(strings.Repeat("*", maxMaxChannelBytes))
	// HPUB <subject> <header bytes> <total bytes>; SUB <subject> <queue> <sid>
	if line := len("HPUB ") + len(subject) + 3*20; line > server.MAX_CONTROL_LINE_SIZE {
		t.Errorf("%d bytes, NATS takes %d", line, server.MAX_CONTROL_LINE_SIZE)
	}
}

func TestPrefixesThatWouldLeaveOurSubjectsAreRefused(t *testing.T) {
	for _, prefix := range []string{
		"", ".", "a.", ".a", "a..b", "*", "a.>", "a b", "a\r\n", "$SYS", "a.$b", "_INBOX", "_INBOX.x", "é", "%41", strings.Repeat("a", 129),
	} {
		_, err := newCodec(prefix, defaultMaxChannelBytes)
		var bad *ConfigError
		if !errors.As(err, &bad) || bad.Field != "Prefix" {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	for _, prefix := range []string{"throng", "prod.throng", "a-b_c"} {
		if _, err := newCodec(prefix, defaultMaxChannelBytes); err != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}

// FuzzChannelToSubject: whatever clients call their channels, the subject is legal, ours, and leads back.
func FuzzChannelToSubject(f *testing.F) {
	for _, v := range subjectVectors {
		f.Add(v.channel)
	}
	f.Add(strings.Repeat("a.", 127))
	f.Add(strings.Repeat(".", 255))
	c := testCodec(f)
	f.Fuzz(func(t *testing.T, channel string) {
		if err := c.check(channel); err != nil {
			if len(channel) > 0 && len(channel) <= defaultMaxChannelBytes {
				t.Fatalf("check(%q): %v", channel, err)
			}
			return
		}
		subject := c.subject(channel)
		if problem := illegal(subject); problem != "" {
			t.Fatalf("subject(%q) = %q: %s", channel, subject, problem)
		}
		if back, ok := c.channel(subject); !ok || back != channel {
			t.Fatalf("channel(%q) = %q, %v; want %q", subject, back, ok, channel)
		}
	})
}

// illegal asks nats-server's own rule first and is stricter where the codec promises more.
func illegal(subject string) string {
	switch {
	case !server.IsValidLiteralSubject(subject), !server.IsValidPublishSubject(subject):
		return "nats-server calls it invalid"
	case !strings.HasPrefix(subject, "throng.live."):
		return "outside our prefix"
	case strings.ContainsAny(subject, "*>$"):
		return "holds a wildcard or $"
	case strings.Count(subject, ".")+1 > 2+maxTokens:
		return "too deep"
	case len(subject) > len("throng.live.")+3*defaultMaxChannelBytes:
		return "too long"
	case !utf8.ValidString(subject) || strings.IndexFunc(subject, func(r rune) bool { return r <= ' ' || r >= 0x7f }) >= 0:
		return "holds more than printable ASCII"
	}
	return ""
}

// FuzzSubjectToChannel: a subject decodes only if it is the spelling of the channel it decodes to, so no two
// subjects mean one channel.
func FuzzSubjectToChannel(f *testing.F) {
	for _, v := range subjectVectors {
		f.Add(v.subject)
	}
	f.Add("throng.live.a%2Eb")
	f.Add("throng.live.%%%")
	c := testCodec(f)
	f.Fuzz(func(t *testing.T, subject string) {
		channel, ok := c.channel(subject)
		if !ok {
			return
		}
		if again := c.subject(channel); again != subject {
			t.Fatalf("channel(%q) = %q, whose subject is %q", subject, channel, again)
		}
	})
}

func TestCodecAllocations(t *testing.T) {
	c := testCodec(t)
	for _, v := range []struct {
		name string
		want float64
		f    func()
	}{
		{"check", 0, func() { _ = c.check("livechat:lobby") }},
		{"subject", 1, func() { sink = c.subject("livechat:lobby") }},
		{"escaped subject", 1, func() { sink = c.subject("live chat.é") }},
		{"channel", 0, func() { sink, _ = c.channel("throng.live.livechat:lobby") }},
		{"escaped channel", 1, func() { sink, _ = c.channel("throng.live.live%20chat") }},
	} {
		if got := testing.AllocsPerRun(100, v.f); got > v.want {
			t.Errorf("%s: %v allocations, budget %v", v.name, got, v.want)
		}
	}
}

var sink string

func ExampleConfigError() {
	_, err := newCodec("a.*", defaultMaxChannelBytes)
	fmt.Println(err)
	// Output: broker: Prefix "a.*": holds a character that NATS forbids or Throng escapes; give dot-separated words of letters, digits, '-' and '_', such as "throng"
}
