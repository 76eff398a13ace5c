package demo

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"throng/server/auth"
)

// request is the body of POST /chat/token.
type request struct {
	Name  string `json:"name"`
	Token string `json:"token"` // the old one; "" for a new guest
}

// answer is that of a request that was right.
type answer struct {
	Token string `json:"token"`
	User  string `json:"user"`
	TTL   int    `json:"ttl"` // seconds
}

// problem is the answer to one that was not.
type problem struct {
	Error string `json:"error"`
}

// ServeHTTP answers one request: 200 with a token; 400 for what is no name or no JSON, 405, 413, 415, or 429 with Retry-After.
// An old token that is not (or no more) of this node is no error: the guest is a new one then.
func (d *Desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodPost {
		h.Set("Allow", http.MethodPost)
		d.refuse(w, http.StatusMethodNotAllowed, "only POST here")
		return
	}
	// What browsers send to other sites without asking first has other types.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		d.refuse(w, http.StatusUnsupportedMediaType, "send application/json")
		return
	}
	if !d.rate.Allow() {
		d.counts.limited.Add(1)
		h.Set("Retry-After", "1")
		write(w, http.StatusTooManyRequests, problem{"too many guests are coming in at once; try again in a moment"})
		return
	}
	var q request
	if status, why := d.read(w, r, &q); status != 0 {
		d.refuse(w, status, why)
		return
	}
	name, why := cleanName(q.Name)
	if why != "" {
		d.refuse(w, http.StatusBadRequest, why)
		return
	}
	d.issue(w, name, q.Token)
}

func (d *Desk) issue(w http.ResponseWriter, name, old string) {
	id, known := d.guests.Holder(old, d.cfg.RenewGrace)
	count := &d.counts.renewed
	if !known {
		id, count = newGuest(), &d.counts.issued
	}
	info, err := json.Marshal(map[string]string{"name": name})
	var token string
	if err == nil {
		token, err = d.guests.Make(id, info, d.cfg.TokenTTL)
	}
	if err != nil {
		d.refuse(w, http.StatusInternalServerError, "no token could be made")
		return
	}
	count.Add(1)
	write(w, http.StatusOK, answer{Token: token, User: id, TTL: int(d.cfg.TokenTTL.Seconds())})
}

// newGuest is an id that nobody guesses: it is what tells one guest from another of the same name.
func newGuest() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return auth.GuestPrefix + hex.EncodeToString(id[:])
}

func (d *Desk) read(w http.ResponseWriter, r *http.Request, q *request) (status int, why string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, d.cfg.MaxBody))
	if _, big := errors.AsType[*http.MaxBytesError](err); big {
		return http.StatusRequestEntityTooLarge, "the request is too long"
	}
	if err != nil || json.Unmarshal(body, q) != nil {
		return http.StatusBadRequest, `send {"name": "..."}`
	}
	return 0, ""
}

func (d *Desk) refuse(w http.ResponseWriter, status int, why string) {
	d.counts.refused.Add(1)
	write(w, status, problem{why})
}

// write sends v. A client that went away is not our fault and leaves nothing to do.
func write(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // ours: there is nothing in v that fails
		status, body = http.StatusInternalServerError, []byte("{}")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// What a name may be.
const (
	maxNameRunes = 32
	maxNameBytes = 128
)

// cleanName returns the name as others will see it, or why it is none. It refuses what makes one line look like another:
// control characters, line breaks, marks that reorder text, and invisible characters, but for the two joiners that emoji and
// several scripts need inside a word.
func cleanName(name string) (clean, why string) {
	if !utf8.ValidString(name) {
		return "", "the name is not valid UTF-8"
	}
	name = strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r == ' ' }), " ")
	switch {
	case name == "":
		return "", "the name is empty"
	case len(name) > maxNameBytes || utf8.RuneCountInString(name) > maxNameRunes:
		return "", "the name is longer than 32 characters"
	}
	visible := false
	for _, r := range name {
		if !allowedInName(r) {
			return "", "the name has characters that cannot be seen"
		}
		visible = visible || unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S)
	}
	if !visible {
		return "", "the name has nothing that can be seen"
	}
	return name, ""
}

func allowedInName(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	if r == ' ' || r == nonJoiner || r == joiner {
		return true
	}
	return unicode.IsGraphic(r) && !unicode.IsSpace(r) && r != utf8.RuneError && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}
