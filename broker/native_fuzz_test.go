package broker

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

func FuzzNativeSubjectsStayWithOthers(f *testing.F) {
	for _, s := range []string{
		"sensors.a", "sensors.*", "sensors.>", "*", ">", "throng", "throng.live.x", "throng.>", "throng.*", "*.live", "$SYS.x", "_INBOX.a", "a b", "a..b", ".", "",
		"a.*.c", "a.b", "a.b.c", "a.>", "a.*", "a\r\nb", "a.b.*", "a.c.>", "sensors.\xff", strings.Repeat("a.", 31) + "a", strings.Repeat("a.", 32) + "a",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		for _, prefix := range []string{"throng", "a.b", "a.b.c"} {
			wildcard, ok := checkNative(subject, prefix)
			if !ok {
				continue
			}
			if !server.IsValidSubject(subject) || strings.ContainsAny(subject, " \t\r\n\x00") || subject[0] == '$' || subject[0] == '_' {
				t.Fatalf("%q passes", subject)
			}
			if server.SubjectsCollide(subject, prefix+".>") || server.SubjectsCollide(subject, "$SYS.>") {
				t.Fatalf("%q reaches below %q", subject, prefix)
			}
			if wildcard == server.IsValidLiteralSubject(subject) {
				t.Fatalf("%q: wildcard %v", subject, wildcard)
			}
		}
		if server.IsValidSubject(subject) && len(subject) < maxNativeBytes && strings.HasPrefix(subject, "sensors.") && strings.Count(subject, ".") < maxNativeTokens {
			if _, ok := checkNative(subject, "throng"); !ok && !strings.ContainsFunc(subject, func(r rune) bool { return r <= ' ' || r > '~' }) && !strings.ContainsAny(subject, "*>") {
				t.Fatalf("%q is refused", subject)
			}
		}
	})
}
