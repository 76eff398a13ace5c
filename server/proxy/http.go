package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"time"
)

// endpoint is one backend address with its own bounds.
type endpoint struct {
	cfg      EndpointConfig
	client   *http.Client
	pool     *pool
	forward  map[string]bool // canonical names
	emulated map[string]bool
	static   http.Header
}

// The client all endpoints share. Their pools bound what each may do; these bound what one backend may.
const (
	idleTimeout         = 90 * time.Second // net/http's default
	maxResponseHeaders  = 64 << 10
	tlsHandshakeTimeout = 5 * time.Second // a call's own timeout is usually shorter, and cuts the wait, not the handshake
)

// newClient keeps as many connections per backend as calls may be under way there.
func newClient(connections int) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			MaxIdleConnsPerHost:    connections,
			IdleConnTimeout:        idleTimeout,
			TLSHandshakeTimeout:    tlsHandshakeTimeout,
			MaxResponseHeaderBytes: maxResponseHeaders,
			ForceAttemptHTTP2:      true,
		},
		// A redirect would take the client's headers to a place that no configuration names.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// call makes one HTTP request and judges the answer.
func (e *endpoint) call(ctx context.Context, hook Hook, q *Request) *Result {
	body, err := q.encode(hook, &e.cfg)
	if err != nil {
		return failed(ReasonBadRequest, err)
	}
	life := ctx
	ctx, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.cfg.Endpoint, bytes.NewReader(body))
	if err != nil {
		return failed(ReasonBadRequest, err)
	}
	e.headers(request.Header, q)
	response, err := e.client.Do(request)
	if err != nil {
		return failed(unheard(life, err), err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, e.cfg.MaxBodyBytes+1))
	switch {
	case response.StatusCode != http.StatusOK:
		return e.status(response.StatusCode)
	case err != nil:
		return failed(unheard(life, err), err)
	case int64(len(answer)) > e.cfg.MaxBodyBytes:
		return failed(ReasonOversize, fmt.Errorf("answer is longer than %d bytes", e.cfg.MaxBodyBytes))
	}
	return decode(hook, answer)
}

// unheard tells why there is no answer.
func unheard(life context.Context, err error) Reason {
	switch {
	case life.Err() != nil:
		return ReasonClosed
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonTimeout
	}
	return ReasonUnreachable
}

// headers sets what the configuration names: a client's claims first, what the handshake really had over them, and what the
// operator wrote over all.
func (e *endpoint) headers(h http.Header, q *Request) {
	for name, value := range q.Emulated {
		name = textproto.CanonicalMIMEHeaderKey(name)
		if e.emulated[name] && cleanValue(value) {
			h[name] = []string{value}
		}
	}
	real := make(map[string]bool)
	for _, forwarded := range q.Headers {
		name := textproto.CanonicalMIMEHeaderKey(forwarded.Name)
		if !e.forward[name] || !cleanValue(forwarded.Value) {
			continue
		}
		if !real[name] {
			real[name] = true
			h.Del(name)
		}
		h[name] = append(h[name], forwarded.Value)
	}
	for name, values := range e.static {
		h[name] = values
	}
	h.Set("Content-Type", "application/json")
	if _, set := h["User-Agent"]; !set {
		h.Set("User-Agent", "throng")
	}
}

// status judges an answer other than 200.
func (e *endpoint) status(code int) *Result {
	for _, t := range e.cfg.StatusTransforms {
		switch {
		case t.StatusCode != code:
		case t.ToError != nil:
			return t.ToError.result()
		default:
			return t.ToDisconnect.result()
		}
	}
	return failed(ReasonStatus, fmt.Errorf("backend answered with HTTP status %d", code))
}
