package auth

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"throng/server/channel"
)

// guestWorld is a node with guests and a clock that a test sets.
type guestWorld struct {
	now    time.Time
	guests *Guests
	tokens *Tokens
}

func newGuestWorld(t *testing.T, edit func(*Config)) *guestWorld {
	t.Helper()
	w := &guestWorld{now: noon}
	w.guests = NewGuests(func() time.Time { return w.now })
	w.guests.Enable(true)
	w.tokens = newTokens(t, edit, func(o *Options) { o.Guests = w.guests; o.Now = func() time.Time { return w.now } })
	return w
}

func (w *guestWorld) make(t *testing.T, id string) string {
	t.Helper()
	token, err := w.guests.Make(id, json.RawMessage(`{"name":"Ann"}`), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestGuestIsLetInBesideConfiguredKeysAndWithout(t *testing.T) {
	for name, edit := range map[string]func(*Config){"no key": func(*Config) {}, "a secret": withHMAC, "all keys": allKeys(t)} {
		w := newGuestWorld(t, edit)
		token := w.make(t, "guest-1")
		if !w.tokens.Connection.Takes(token) {
			t.Errorf("%s: the token is not looked at", name)
		}
		c, err := w.tokens.Connection.Verify(token)
		if err != nil || c.User != "guest-1" || string(c.Info) != `{"name":"Ann"}` || c.ExpireAt != noon.Unix()+3600 {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestGuestsTokenIsGoodForNothingElse(t *testing.T) {
	w := newGuestWorld(t, withHMAC)
	token := w.make(t, "guest-1")
	if _, err := w.tokens.Subscription.Verify(token); !errors.Is(err, ErrInvalid) {
		t.Errorf("as a subscription token: %v", err)
	}
	for _, id := range []string{"", "ann", "42", "Guest-1", "guest", " guest-1"} {
		if _, err := w.tokens.Connection.Verify(w.make(t, id)); !errors.Is(err, ErrInvalid) {
			t.Errorf("for the user %q: %v", id, err)
		}
	}
	for _, payload := range []string{
		`{"sub":"guest-1","iss":"throng-guest"}`,                                                // never expires
		`{"sub":"guest-1","exp":1800000100}`,                                                    // nobody's
		`{"sub":"guest-1","iss":"other","exp":1800000100}`,                                      // somebody else's
		`{"sub":"guest-1","iss":"throng-guest","exp":1800000100,"channels":["secret"]}`,         // brings channels
		`{"sub":"guest-1","iss":"throng-guest","exp":1800000100,"subs":{"secret":{}}}`,          // brings channels
		`{"sub":"guest-1","iss":"throng-guest","exp":1800000100,"channel":"secret"}`,            // subscription token
		`{"sub":"guest-1","iss":"throng-guest","exp":1800000100,"meta":{}}`,                     // brings meta
		`{"sub":["guest-1"],"iss":"throng-guest","exp":1800000100}`, `[]`, ``, `{"sub":"guest-`, // no claims
	} {
		signed := w.guests.header + b64(payload)
		forged := signed + "." + strings.TrimRight(b64(string(withSecret(sha256.New, string(w.guests.secret.material.([]byte)))(signed))), "=")
		if _, err := w.tokens.Connection.Verify(forged); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s signed with the right key: %v", payload, err)
		}
	}
}

func TestNeitherKeyOpensTheOthersTokens(t *testing.T) {
	w, other := newGuestWorld(t, withHMAC), newGuestWorld(t, withHMAC)
	claims := `{"sub":"guest-1","iss":"throng-guest","exp":1800000100}`
	header := `{"alg":"HS256","kid":"throng-guest","typ":"JWT"}`
	if got := b64(header) + "."; got != w.guests.header {
		t.Fatalf("guests' tokens begin with %q, want %q", w.guests.header, got)
	}
	for name, token := range map[string]string{
		"another node's":                 other.make(t, "guest-1"),
		"one of the configured secret":   mint(header, claims, withSecret(sha256.New, secretText)),
		"one of an empty secret":         mint(header, claims, withSecret(sha256.New, "")),
		"an unsigned one":                b64(header) + "." + b64(claims) + ".",
		"one with another algorithm":     mint(`{"alg":"none","kid":"throng-guest","typ":"JWT"}`, claims, func(string) []byte { return nil }),
		"one with a spelling of its own": mint(`{"kid":"throng-guest","alg":"HS256","typ":"JWT"}`, claims, withSecret(sha256.New, string(w.guests.secret.material.([]byte)))),
	} {
		if c, err := w.tokens.Connection.Verify(token); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s is accepted: %+v, %v", name, c, err)
		}
		if got := Code(Connect, ErrInvalid); got != channel.CloseInvalidToken {
			t.Errorf("code %v", got)
		}
	}
	if _, err := w.tokens.Connection.Verify(hsToken(`{"sub":"ann"}`)); err != nil {
		t.Errorf("a configured user's: %v", err)
	}
}

func TestGuestsTokenEnds(t *testing.T) {
	w := newGuestWorld(t, func(*Config) {})
	token := w.make(t, "guest-1")
	w.now = noon.Add(time.Hour - time.Second)
	if _, err := w.tokens.Connection.Verify(token); err != nil {
		t.Errorf("in its last second: %v", err)
	}
	w.now = noon.Add(time.Hour)
	if _, err := w.tokens.Connection.Verify(token); !errors.Is(err, ErrExpired) {
		t.Errorf("after it: %v", err)
	}
	for after, want := range map[time.Duration]bool{0: true, time.Minute - time.Second: true, time.Minute: false, 24 * time.Hour: false} {
		w.now = noon.Add(time.Hour + after)
		if id, ok := w.guests.Holder(token, time.Minute); ok != want || ok && id != "guest-1" {
			t.Errorf("%v after its end it is worth another: %v, %q", after, ok, id)
		}
	}
	if _, ok := w.guests.Holder(token[:len(token)-1]+"x", time.Hour); ok {
		t.Error("a forged token is worth another")
	}
	if _, ok := w.guests.Holder(hsToken(`{"sub":"guest-1"}`), time.Hour); ok {
		t.Error("a token of another key is worth another")
	}
}

func TestGuestsThatAreSwitchedOffDoNotExist(t *testing.T) {
	w := newGuestWorld(t, func(*Config) {})
	token := w.make(t, "guest-1")
	w.guests.Enable(false)
	if w.tokens.Connection.Takes(token) {
		t.Error("the token is looked at")
	}
	if _, err := w.tokens.Connection.Verify(token); !errors.Is(err, ErrNotConfigured) {
		t.Errorf("the token ends with %v", err)
	}
	if _, ok := w.guests.Holder(token, time.Hour); ok {
		t.Error("the token is worth another")
	}
	var none *Guests
	if none.Enabled() || none.made(token) {
		t.Error("no guests are some")
	}
}

func TestRevokedGuestIsTurnedAway(t *testing.T) {
	w := newGuestWorld(t, func(*Config) {})
	token := w.make(t, "guest-1")
	if err := w.tokens.Connection.revoked.RevokeUser("guest-1", noon, noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.tokens.Connection.Verify(token); !errors.Is(err, ErrInvalid) {
		t.Errorf("%v", err)
	}
}
