package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"throng/server/channel"
)

// Deps are what an API stands on. Log and Observe may be left out.
type Deps struct {
	Cluster Cluster
	Node    Node
	// Rules returns the rules on names as they are now. It must not block.
	Rules func() *channel.Rules
	// Observe is told how long each method took. Any goroutine; must not block.
	Observe func(method string, took time.Duration)
	// Log takes faults of the world (nodes that do not answer), as warnings; the logger's own rate limit applies.
	Log *slog.Logger
}

// RPCFunc answers the API method rpc for one name. An *Error decides what the caller is told. The result is JSON.
type RPCFunc func(ctx context.Context, params json.RawMessage) (json.RawMessage, error)

// API is the server API of one node. It is an http.Handler for /api and everything below.
type API struct {
	cfg   Config
	deps  Deps
	key   [sha256.Size]byte
	slots chan struct{}
	count counters

	mu  sync.RWMutex // leaf
	rpc map[string]RPCFunc
}

// New makes the API and sets the survey handlers of this node. Errors: those of Config.Check.
func New(cfg Config, deps Deps) (*API, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	deps.Log = cmp.Or(deps.Log, slog.Default())
	if deps.Observe == nil {
		deps.Observe = func(string, time.Duration) {}
	}
	a := &API{
		cfg: cfg, deps: deps, key: sha256.Sum256([]byte(cfg.Key)),
		slots: make(chan struct{}, cfg.MaxConcurrent), rpc: make(map[string]RPCFunc),
	}
	a.count.init()
	a.answerSurveys()
	return a, nil
}

// HandleRPC sets what answers the API method rpc for a name from now on.
func (a *API) HandleRPC(method string, fn RPCFunc) {
	a.mu.Lock()
	a.rpc[method] = fn
	a.mu.Unlock()
}

// Headers of the API.
const (
	keyHeader        = "X-API-Key"
	errorModeHeader  = "X-Centrifugo-Error-Mode"
	unansweredHeader = "Throng-Nodes-Unanswered"
)

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	path := strings.TrimSuffix(r.URL.Path, "/")
	name := strings.TrimPrefix(path, "/api/")
	m := methods[name]
	switch {
	case a.cfg.Disabled:
		a.refuse(w, http.StatusNotFound, nil)
	case name == "openapi.yaml" || name == "openapi.json":
		serveDocument(w, r, name)
	case path != "/api" && m == nil:
		a.refuse(w, http.StatusNotFound, nil)
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		a.refuse(w, http.StatusMethodNotAllowed, nil)
	case !a.authorized(r):
		a.refuse(w, http.StatusUnauthorized, &a.count.unauthorized)
	default:
		a.admit(w, r, m)
	}
}

// admit serves a request if there is room for it.
func (a *API) admit(w http.ResponseWriter, r *http.Request, m *method) {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		a.refuse(w, http.StatusServiceUnavailable, &a.count.busy)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.cfg.MaxBodyBytes))
	switch _, tooBig := errors.AsType[*http.MaxBytesError](err); {
	case tooBig:
		a.refuse(w, http.StatusRequestEntityTooLarge, &a.count.oversize)
	case err != nil:
		a.refuse(w, http.StatusBadRequest, &a.count.malformed)
	case m == nil:
		a.serveLegacy(w, r, body)
	default:
		a.serve(w, r, m, body)
	}
}

// refuse answers what is wrong on the level of HTTP.
func (a *API) refuse(w http.ResponseWriter, status int, count interface{ Add(uint64) uint64 }) {
	if count != nil {
		count.Add(1)
	}
	http.Error(w, http.StatusText(status), status)
}

// authorized compares keys in constant time, whatever their length.
func (a *API) authorized(r *http.Request) bool {
	if a.cfg.Insecure {
		return true
	}
	given := r.Header.Get(keyHeader)
	if given == "" {
		scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if strings.EqualFold(scheme, "apikey") {
			given = strings.TrimSpace(rest)
		}
	}
	if given == "" {
		given = r.URL.Query().Get("api_key")
	}
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], a.key[:]) == 1 && a.cfg.Key != ""
}

// call is one HTTP request under way: what its commands share.
type call struct {
	ctx context.Context

	mu         sync.Mutex // leaf
	unanswered []string
}

// missed notes nodes that did not answer.
func (c *call) missed(nodes []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range nodes {
		if !slices.Contains(c.unanswered, n) {
			c.unanswered = append(c.unanswered, n)
		}
	}
}

// report tells of them in the header: a line at most, for people and scripts.
func (c *call) report(h http.Header) {
	const most = 100
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.unanswered)
	names := c.unanswered
	if len(names) > most {
		names = append(slices.Clone(names[:most]), "...")
	}
	if len(names) > 0 {
		h.Set(unansweredHeader, strings.Map(oneLine, strings.Join(names, ", ")))
	}
}

func oneLine(r rune) rune {
	if r < ' ' || r == 0x7f {
		return '?'
	}
	return r
}

// response is the body of one method's answer.
type response struct {
	Result any    `json:"result,omitempty"`
	Error  *Error `json:"error,omitempty"`
}

func (a *API) serve(w http.ResponseWriter, r *http.Request, m *method, body []byte) {
	run, err := m.prepare(body)
	if err != nil {
		a.refuse(w, http.StatusBadRequest, &a.count.malformed)
		return
	}
	c := &call{ctx: r.Context()}
	result, failure := a.run(c, m, run)
	c.report(w.Header())
	transport := a.cfg.ErrorMode == transportMode || r.Header.Get(errorModeHeader) == transportMode
	if failure != nil && transport {
		a.write(w, failure.status(), failure)
		return
	}
	if m.bare && failure == nil { // batch: its replies are not a result
		a.write(w, http.StatusOK, result)
		return
	}
	a.write(w, http.StatusOK, response{Result: result, Error: failure})
}

// run performs one command, counted.
func (a *API) run(c *call, m *method, perform performer) (any, *Error) {
	began := time.Now()
	result, failure := perform(a, c)
	a.deps.Observe(m.name, time.Since(began))
	a.count.command(m.name, failure)
	if failure != nil {
		return nil, failure
	}
	return result, nil
}

func (a *API) write(w http.ResponseWriter, status int, v any) {
	data, err := encode(v)
	if err != nil {
		a.deps.Log.Error("API answer cannot be encoded", "error", err)
		a.refuse(w, http.StatusInternalServerError, nil)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(data) // a caller that has gone is no fault of ours
}

// encode is JSON on one line, without the escapes that only HTML needs.
func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// decode takes exactly one JSON value. Fields that we do not know are ignored, as callers of newer APIs expect.
func decode(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
