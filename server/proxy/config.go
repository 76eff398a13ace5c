package proxy

import (
	"errors"
	"fmt"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"throng/server/auth"
	"throng/server/channel"
)

// Config is the `proxy:` section. Start from DefaultConfig and decode over it with channel.Decode.
//
// Source: centrifuge-protocol.md, 20; the names of an endpoint's options are Centrifugo's.
type Config struct {
	// Connect and Refresh are asked for all connections. Not set means not asked.
	Connect *EndpointConfig `yaml:"connect"`
	Refresh *EndpointConfig `yaml:"refresh"`
	// Subscribe, Publish, SubRefresh and RPC are what rules reach by the name "default".
	Subscribe  *EndpointConfig `yaml:"subscribe"`
	Publish    *EndpointConfig `yaml:"publish"`
	SubRefresh *EndpointConfig `yaml:"sub_refresh"`
	RPC        *EndpointConfig `yaml:"rpc"`
	// Named are endpoints that rules reach by their own name (subscribe_proxy_name and the like), for any of these four.
	Named []NamedConfig `yaml:"named"`

	// RefreshRetry is when a refresh or sub_refresh whose call failed is to be tried again. Default 60s: the client keeps
	// its connection over an outage of the backend.
	RefreshRetry time.Duration `yaml:"refresh_retry"`
	// Service bounds rpc calls of NATS services.
	Service ServiceConfig `yaml:"service"`
}

// NamedConfig is one entry of `named:`.
type NamedConfig struct {
	// Name as in the rules; anything but "default".
	Name           string `yaml:"name"`
	EndpointConfig `yaml:",inline"`
}

// EndpointConfig is one backend address and how it is called. Zero values mean the defaults named here.
type EndpointConfig struct {
	// Endpoint is the http or https URL that is POSTed to.
	Endpoint string `yaml:"endpoint"`
	// Timeout of one call, connecting and reading included. Default 1s: with QueueTimeout within the 5 s SDKs wait.
	Timeout time.Duration `yaml:"timeout"`
	// HTTPHeaders are copied from the client's handshake, EmulatedHeaders from the headers it sends inside connect. The
	// latter are whatever the client likes.
	HTTPHeaders     []string `yaml:"http_headers"`
	EmulatedHeaders []string `yaml:"emulated_headers"`
	// StaticHeaders are sent with every call, and win over the client's.
	StaticHeaders map[string]auth.Secret `yaml:"static_headers"`
	// StatusTransforms map HTTP statuses other than 200, which are failures otherwise.
	StatusTransforms []StatusTransform `yaml:"status_to_code_transforms"`
	// IncludeConnectionMeta sends the connection's meta along.
	IncludeConnectionMeta bool `yaml:"include_connection_meta"`
	// BinaryEncoding sends data as base64 (b64data), for clients whose data is no JSON.
	BinaryEncoding bool `yaml:"binary_encoding"`

	// MaxConcurrent calls at once, and as many connections. Default 256: 25,000 calls a second of 10 ms.
	MaxConcurrent int `yaml:"max_concurrent"`
	// QueueLength is how many calls may wait beyond these. Default 8192: some MiB, and gone within QueueTimeout.
	QueueLength int `yaml:"queue_length"`
	// QueueTimeout is how long a call may wait. Default 3s.
	QueueTimeout time.Duration `yaml:"queue_timeout"`
	// MaxBodyBytes of an answer. Default 256 KiB: 128 subscriptions with 2 KiB each.
	MaxBodyBytes int64 `yaml:"max_body_bytes"`
}

// StatusTransform turns one HTTP status into an error or a disconnect. Exactly one of the two is set.
type StatusTransform struct {
	// StatusCode is the HTTP status: 100 to 599, not 200.
	StatusCode int `yaml:"status_code"`
	// ToError is an error reply, code 100 to 1999 (400 and above are the application's).
	ToError *ErrorBody `yaml:"to_error"`
	// ToDisconnect closes the connection, code 3000 to 4999 (4000 and above are the application's).
	ToDisconnect *DisconnectBody `yaml:"to_disconnect"`
}

// ErrorBody is an error as backends and configurations write it.
type ErrorBody struct {
	Code      int64  `yaml:"code" json:"code"`
	Message   string `yaml:"message" json:"message"`
	Temporary bool   `yaml:"temporary" json:"temporary"`
}

// DisconnectBody is a disconnect as backends and configurations write it.
type DisconnectBody struct {
	Code   int64  `yaml:"code" json:"code"`
	Reason string `yaml:"reason" json:"reason"`
}

// ServiceConfig bounds the calls of NATS services.
type ServiceConfig struct {
	// Timeout of one call. Default 3s: within the 5 s SDKs wait.
	Timeout time.Duration `yaml:"timeout"`
	// MaxConcurrent calls at once. Default 1024: a goroutine each.
	MaxConcurrent int `yaml:"max_concurrent"`
	// QueueLength and QueueTimeout are as an endpoint's. Defaults 8192 and 1s.
	QueueLength  int           `yaml:"queue_length"`
	QueueTimeout time.Duration `yaml:"queue_timeout"`
}

// DefaultConfig asks nobody.
func DefaultConfig() Config {
	return Config{
		RefreshRetry: time.Minute,
		Service:      ServiceConfig{Timeout: 3 * time.Second, MaxConcurrent: 1024, QueueLength: 8192, QueueTimeout: time.Second},
	}
}

func (e *EndpointConfig) setDefaults() {
	set(&e.Timeout, time.Second)
	set(&e.MaxConcurrent, 256)
	set(&e.QueueLength, 8192)
	set(&e.QueueTimeout, 3*time.Second)
	set(&e.MaxBodyBytes, 256<<10)
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// byHook lists the endpoints that are set directly.
func (c *Config) byHook() [numHooks]*EndpointConfig {
	return [numHooks]*EndpointConfig{c.Connect, c.Refresh, c.Subscribe, c.SubRefresh, c.Publish, c.RPC}
}

// mostConcurrent is the largest MaxConcurrent of all endpoints.
func (c *Config) mostConcurrent() int {
	most := 0
	count := func(e EndpointConfig) {
		e.setDefaults()
		most = max(most, e.MaxConcurrent)
	}
	for _, e := range c.byHook() {
		if e != nil {
			count(*e)
		}
	}
	for _, n := range c.Named {
		count(n.EndpointConfig)
	}
	return most
}

// Check returns every mistake of c as joined *channel.FieldError, with the path of each field.
func (c *Config) Check() error {
	k := &checker{}
	for hook, e := range c.byHook() {
		if e != nil {
			k.endpoint("proxy."+Hook(hook).String(), *e)
		}
	}
	names := map[string]bool{}
	for i, n := range c.Named {
		field := fmt.Sprintf("proxy.named[%d]", i)
		switch {
		case n.Name == "":
			k.fail(field+".name", "", "is empty: give the endpoint a name for rules to use")
		case n.Name == DefaultName:
			k.fail(field+".name", n.Name, "means the endpoints directly below proxy: choose another name")
		case names[n.Name]:
			k.fail(field+".name", n.Name, "is there twice: rename one")
		}
		names[n.Name] = true
		k.endpoint(field, n.EndpointConfig)
	}
	k.positive("proxy.refresh_retry", c.RefreshRetry)
	k.positive("proxy.service.timeout", c.Service.Timeout)
	k.positive("proxy.service.queue_timeout", c.Service.QueueTimeout)
	k.count("proxy.service.max_concurrent", int64(c.Service.MaxConcurrent))
	k.count("proxy.service.queue_length", int64(c.Service.QueueLength))
	return errors.Join(k.errs...)
}

// checker gathers everything that is wrong.
type checker struct{ errs []error }

func (k *checker) fail(field, value, fix string) {
	if value != "" {
		value = fmt.Sprintf("%.80q", value)
	}
	k.errs = append(k.errs, &channel.FieldError{Field: field, Value: value, Fix: fix})
}

func (k *checker) positive(field string, d time.Duration) {
	if d <= 0 {
		k.fail(field, d.String(), `must be a positive duration, such as "1s"`)
	}
}

func (k *checker) count(field string, n int64) {
	if n <= 0 {
		k.fail(field, fmt.Sprint(n), "must be a positive number")
	}
}

func (k *checker) endpoint(field string, e EndpointConfig) {
	e.setDefaults()
	k.url(field+".endpoint", e.Endpoint)
	k.positive(field+".timeout", e.Timeout)
	k.positive(field+".queue_timeout", e.QueueTimeout)
	k.count(field+".max_concurrent", int64(e.MaxConcurrent))
	k.count(field+".queue_length", int64(e.QueueLength))
	k.count(field+".max_body_bytes", e.MaxBodyBytes)
	for _, h := range e.HTTPHeaders {
		k.header(field+".http_headers", h)
	}
	for _, h := range e.EmulatedHeaders {
		k.header(field+".emulated_headers", h)
	}
	for h, value := range e.StaticHeaders {
		k.header(field+".static_headers", h)
		if !cleanValue(string(value)) {
			k.fail(field+".static_headers."+h, "", "holds a control character: headers are one line")
		}
	}
	seen := map[int]bool{}
	for i, t := range e.StatusTransforms {
		k.transform(fmt.Sprintf("%s.status_to_code_transforms[%d]", field, i), t)
		if seen[t.StatusCode] {
			k.fail(fmt.Sprintf("%s.status_to_code_transforms[%d].status_code", field, i), fmt.Sprint(t.StatusCode), "is there twice: keep one")
		}
		seen[t.StatusCode] = true
	}
}

func (k *checker) url(field, raw string) {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		k.fail(field, "", `is empty: give the URL of the backend, such as "http://127.0.0.1:3000/connect"`)
	case err != nil:
		k.fail(field, redact(raw), `is no URL: write it as "http://host:port/path"`)
	case u.Scheme == "grpc":
		k.fail(field, redact(raw), "gRPC backends are not served: give an http or https URL")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		k.fail(field, redact(raw), `must be an absolute URL: write it as "http://host:port/path"`)
	}
}

// redact hides what stands before an @.
func redact(raw string) string {
	if at := strings.LastIndexByte(raw, '@'); at >= 0 {
		return "***" + raw[at:]
	}
	return raw
}

// hopByHop are headers that describe one connection or message and would break another one.
var hopByHop = []string{
	"Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host", "Keep-Alive", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
}

func (k *checker) header(field, name string) {
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	switch {
	case !token(name):
		k.fail(field, name, "is no header name")
	case slices.Contains(hopByHop, canonical) || strings.HasPrefix(canonical, "Sec-Websocket-"):
		k.fail(field, name, "belongs to the client's own connection and cannot be sent on")
	}
}

// token says whether s is one word as RFC 9110, 5.6.2, has it.
func token(s string) bool {
	for i := range len(s) {
		b := s[i]
		letter := b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(b)) {
			return false
		}
	}
	return s != ""
}

// cleanValue says whether v can be the value of a header.
func cleanValue(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' && v[i] != '\t' || v[i] == 0x7f {
			return false
		}
	}
	return true
}

func (k *checker) transform(field string, t StatusTransform) {
	if t.StatusCode < 100 || t.StatusCode > 599 || t.StatusCode == 200 {
		k.fail(field+".status_code", fmt.Sprint(t.StatusCode), "must be an HTTP status other than 200, such as 404")
	}
	switch {
	case (t.ToError == nil) == (t.ToDisconnect == nil):
		k.fail(field, "", "needs exactly one of to_error and to_disconnect")
	case t.ToError != nil && !t.ToError.valid():
		k.fail(field+".to_error.code", fmt.Sprint(t.ToError.Code), "must be 100 to 1999; 400 and above are the application's own")
	case t.ToDisconnect != nil && !t.ToDisconnect.valid():
		k.fail(field+".to_disconnect.code", fmt.Sprint(t.ToDisconnect.Code), "must be 3000 to 4999; 4000 and above are the application's own")
	}
}

// valid says whether the code may go to clients: SDKs take what is below 100 for their own, and 3000 and above for a
// disconnect.
func (e *ErrorBody) valid() bool { return e.Code >= 100 && e.Code <= 1999 }

// valid says whether the code may close a connection; browsers and SDKs know no others (centrifuge-protocol.md, 22.11).
func (d *DisconnectBody) valid() bool { return d.Code >= 3000 && d.Code <= 4999 }
