package demo

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"throng/server/auth"
	"throng/server/channel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a desk whose tokens are verified as a node does.
type world struct {
	*Desk
	tokens *auth.Tokens
	now    time.Time
}

func newWorld(t *testing.T, cfg Config) *world {
	t.Helper()
	w := &world{now: time.Unix(1_800_000_000, 0)}
	clock := func() time.Time { return w.now }
	guests := auth.NewGuests(clock)
	guests.Enable(true)
	tokens, err := auth.NewTokens(auth.DefaultConfig(), auth.Options{Now: clock, Guests: guests})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tokens.Close)
	w.tokens, w.Desk = tokens, New(cfg, guests)
	return w
}

func (w *world) post(body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/chat/token", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	out := httptest.NewRecorder()
	w.ServeHTTP(out, r)
	return out
}

func (w *world) issued(t *testing.T, body string) (answer, auth.Claims) {
	t.Helper()
	r := w.post(body)
	var a answer
	if err := json.Unmarshal(r.Body.Bytes(), &a); err != nil || r.Code != http.StatusOK {
		t.Fatalf("%s: status %d %s, %v", body, r.Code, r.Body, err)
	}
	claims, err := w.tokens.Connection.Verify(a.Token)
	if err != nil || claims.User != a.User {
		t.Fatalf("%s: the token is for %q, the answer says %q; %v", body, claims.User, a.User, err)
	}
	return a, claims
}

func TestGuestGetsATokenUnderTheName(t *testing.T) {
	w := newWorld(t, Config{})
	a, claims := w.issued(t, `{"name":"  Ann   Lee "}`)
	if !strings.HasPrefix(a.User, auth.GuestPrefix) || len(a.User) != len(auth.GuestPrefix)+32 {
		t.Errorf("the id is %q", a.User)
	}
	if string(claims.Info) != `{"name":"Ann Lee"}` || a.TTL != 3600 || claims.ExpireAt != w.now.Unix()+3600 {
		t.Errorf("info %s, ttl %d", claims.Info, a.TTL)
	}
	b, _ := w.issued(t, `{"name":"Ann Lee"}`)
	if a.User == b.User {
		t.Error("two guests have one id")
	}
}

func TestGuestKeepsTheIDByShowingTheOldToken(t *testing.T) {
	w := newWorld(t, Config{RenewGrace: time.Hour})
	a, _ := w.issued(t, `{"name":"Ann"}`)
	w.now = w.now.Add(90 * time.Minute) // it has run out
	b, claims := w.issued(t, `{"name":"Anna","token":"`+a.Token+`"}`)
	if a.User != b.User || string(claims.Info) != `{"name":"Anna"}` {
		t.Errorf("renewed as %q with %s", b.User, claims.Info)
	}
	w.now = w.now.Add(3 * time.Hour)
	for name, old := range map[string]string{"long ago": b.Token, "forged": a.Token[:len(a.Token)-2] + "xx", "rubbish": "a.b.c", "of another node": foreign(t)} {
		c, _ := w.issued(t, `{"name":"Ann","token":"`+old+`"}`)
		if c.User == a.User {
			t.Errorf("%s: the id is kept", name)
		}
	}
	if got, want := w.Stats(), (Stats{Issued: 5, Renewed: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func foreign(t *testing.T) string {
	a, _ := newWorld(t, Config{}).issued(t, `{"name":"Ann"}`)
	return a.Token
}

func TestWhatIsNoRequestIsRefusedInWords(t *testing.T) {
	w := newWorld(t, Config{MaxBody: 300})
	for body, want := range map[string]int{
		``: 400, `{`: 400, `[]`: 400, `null`: 400, `{"name":1}`: 400, `{"name":"Ann"} trailing`: 400, `{"token":"x"}`: 400,
		`{"name":"` + strings.Repeat("x", 300) + `"}`: 413,
	} {
		if r := w.post(body); r.Code != want || !strings.Contains(r.Body.String(), `"error":"`) {
			t.Errorf("%.40q: status %d %s, want %d", body, r.Code, r.Body, want)
		}
	}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain; application/json"} {
		if r := w.post(`{"name":"Ann"}`, "Content-Type", kind); r.Code != http.StatusUnsupportedMediaType {
			t.Errorf("content type %q: status %d", kind, r.Code)
		}
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "OPTIONS", "DELETE"} {
		r := httptest.NewRecorder()
		w.ServeHTTP(r, httptest.NewRequest(method, "/chat/token", nil))
		if r.Code != http.StatusMethodNotAllowed || r.Header().Get("Allow") != "POST" {
			t.Errorf("%s: status %d", method, r.Code)
		}
	}
	if got := w.Stats(); got.Issued != 0 || got.Refused != 18 {
		t.Errorf("counted %+v", got)
	}
}

func TestOtherSitesAreNotToldAnything(t *testing.T) {
	w := newWorld(t, Config{})
	for _, r := range []*httptest.ResponseRecorder{w.post(`{"name":"Ann"}`, "Origin", "https://evil.example"), w.post(``)} {
		for name := range r.Header() {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("the answer has %s", name)
			}
		}
		if r.Header().Get("Cache-Control") != "no-store" || r.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("headers %v", r.Header())
		}
	}
}

func TestRateBoundsWhatAScriptGets(t *testing.T) {
	w := newWorld(t, Config{Rate: 1, Burst: 3})
	for range 3 {
		w.issued(t, `{"name":"Ann"}`)
	}
	r := w.post(`{"name":"Ann"}`)
	if r.Code != http.StatusTooManyRequests || r.Header().Get("Retry-After") == "" {
		t.Errorf("the fourth at once: status %d", r.Code)
	}
	if got := w.Stats(); got.Limited != 1 {
		t.Errorf("counted %+v", got)
	}
}

func TestNamesAreOneVisibleLine(t *testing.T) {
	for _, name := range []string{"Ann", "Zoë 李雷 👩‍👩‍👧", "O'Neil, \"Bob\" <b>", "مرحبا", "ไทย", strings.Repeat("é", 32), "a:b", "☕️"} {
		if got, why := cleanName(name); got != name {
			t.Errorf("%q becomes %q: %s", name, got, why)
		}
	}
	for _, name := range []string{
		"", " ", "\t", "a\nb", "a\x00b", "a\u2028b", "\u202eevil", "a\u2066b", "zero\u200bwidth", "\u200d", "\u3164", "soft\u00adhyphen",
		"\ufeffbom", "private\ue000", "\xff", "\u00a0", "tag\U000e0041", strings.Repeat("x", 33), strings.Repeat("\U0001f600", 33), "\u0300",
	} {
		if got, why := cleanName(name); why == "" {
			t.Errorf("%q is taken as %q", name, got)
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(`{"name":"Ann","token":"a.b.c"}`)
	f.Fuzz(func(t *testing.T, body string) {
		w := newWorld(t, Config{})
		r := w.post(body)
		if !json.Valid(r.Body.Bytes()) || r.Code >= 500 {
			t.Errorf("%q: status %d, %q", body, r.Code, r.Body)
		}
	})
}

// The rooms as the rules see them.
func TestGuestMayDoInARoomWhatPeopleDoAndNowhereElse(t *testing.T) {
	for _, history := range []bool{false, true} {
		cfg := channel.DefaultConfig()
		cfg.Namespaces = append(cfg.Namespaces, Rooms(history))
		rules, err := channel.Compile(cfg, channel.DefaultRPCConfig(), channel.Environment{History: history})
		if err != nil {
			t.Fatal(err)
		}
		if notes := rules.Notes(); history && len(notes) > 0 {
			t.Errorf("history %v: notes %q", history, notes)
		}
		for name, want := range map[string]channel.Code{
			"chat:lobby": channel.Allowed, "chat:李雷": channel.Allowed, "chat:a-b_c.d": channel.Allowed, "chat:" + strings.Repeat("é", 40): channel.Allowed,
			"chat:": channel.BadRequest, "chat:-a": channel.BadRequest, "chat:a b": channel.BadRequest, "chat:a#b": channel.BadRequest,
			"chat:a>": channel.BadRequest, "chat:*": channel.BadRequest, "chat:a\nb": channel.BadRequest, "chat:" + strings.Repeat("é", 41): channel.BadRequest,
		} {
			if _, got := rules.Lookup(name); got != want {
				t.Errorf("%q: code %v, want %v", name, got, want)
			}
		}
		in, out := channel.Client{User: "guest-1", Subscribed: true}, channel.Client{User: "guest-1"}
		if v := rules.CanPublish("chat:lobby", in, []byte(`{"text":"hi"}`)); v.Decision == channel.Refuse {
			t.Errorf("a guest in a room may not speak: %+v", v)
		}
		if v := rules.CanPublish("chat:lobby", out, []byte(`{"text":"hi"}`)); v.Decision != channel.Refuse {
			t.Error("a guest outside speaks into a room")
		}
		if v := rules.CanPublish("chat:lobby", in, []byte(`"hi"`)); v.Decision != channel.Refuse {
			t.Error("what is no object is published")
		}
		if v := rules.CanPublish("lobby", in, []byte(`{}`)); v.Decision != channel.Refuse {
			t.Error("a guest publishes outside the rooms")
		}
		if v := rules.CanHistory("chat:lobby", in); (v.Decision != channel.Refuse) != history {
			t.Errorf("history %v: %+v", history, v)
		}
	}
}
