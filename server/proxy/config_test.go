package proxy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestConfigurationReadsAsWritten(t *testing.T) {
	cfg, err := parse(t, `
connect:
  endpoint: http://127.0.0.1:3000/connect
  timeout: 2s
  http_headers: [Cookie, x-request-id]
  emulated_headers: [Authorization]
  static_headers: {X-Key: hunter2}
  include_connection_meta: true
  status_to_code_transforms:
    - {status_code: 404, to_error: {code: 404, message: not found, temporary: true}}
    - {status_code: 403, to_disconnect: {code: 4504, reason: go away}}
rpc: {endpoint: "https://backend.test/rpc", binary_encoding: true}
named:
  - name: crm
    endpoint: http://127.0.0.1:3001/
    max_concurrent: 7
    http_headers: [X-Other]
refresh_retry: 10s
service: {timeout: 1s}
`)
	if err != nil {
		t.Fatal(err)
	}
	c := cfg.Connect
	if c.Timeout != 2*time.Second || c.StaticHeaders["X-Key"] != "hunter2" || c.StatusTransforms[1].ToDisconnect.Code != 4504 || !c.StatusTransforms[0].ToError.Temporary {
		t.Errorf("%+v", c)
	}
	if cfg.Subscribe != nil || cfg.Named[0].MaxConcurrent != 7 || cfg.RefreshRetry != 10*time.Second || cfg.Service.MaxConcurrent != 1024 {
		t.Errorf("%+v", cfg)
	}
	p := start(t, cfg, Deps{})
	if got := p.Names(); !slices.Equal(got, []string{"crm", "default"}) {
		t.Errorf("names %q", got)
	}
	if got := p.Headers(); !slices.Equal(got, []string{"Cookie", "X-Other", "X-Request-Id"}) || !p.Emulates() {
		t.Errorf("headers %q", got)
	}
	if !p.Has(Connect, "") || p.Has(Refresh, "") || !p.Has(RPC, "default") || p.Has(Publish, "default") || !p.Has(Publish, "crm") || p.Has(Publish, "x") {
		t.Error("Has is wrong")
	}
}

func TestConfigurationMistakesAreNamed(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`conect: {endpoint: x}`, "proxy.conect (line 1): unknown option; did you mean connect?"},
		{`connect: {endpont: x}`, "proxy.connect.endpont (line 1): unknown option; did you mean endpoint?"},
		{`named: [{name: a, endpoint: "http://x", time_out: 1s}]`, "unknown option; did you mean timeout?"},
		{`connect: {endpoint: "http://x", timeout: 5}`, "has no unit"},
		{`connect: {}`, "proxy.connect.endpoint: is empty"},
		{`connect: {endpoint: "grpc://x:1"}`, "gRPC backends are not served"},
		{`connect: {endpoint: "ftp://x"}`, "must be an absolute URL"},
		{`connect: {endpoint: "/x"}`, "must be an absolute URL"},
		{`connect: {endpoint: "http://bob:hunter2@:x"}`, `"***@:x"`},
		{`connect: {endpoint: "http://x", timeout: -1s}`, "must be a positive duration"},
		{`connect: {endpoint: "http://x", max_concurrent: -1}`, "must be a positive number"},
		{`connect: {endpoint: "http://x", http_headers: ["a b"]}`, "is no header name"},
		{`connect: {endpoint: "http://x", http_headers: [host]}`, "belongs to the client's own connection"},
		{`connect: {endpoint: "http://x", emulated_headers: [sec-websocket-key]}`, "belongs to the client's own connection"},
		{`connect: {endpoint: "http://x", static_headers: {a: "b\nc"}}`, "control character"},
		{`connect: {endpoint: "http://x", status_to_code_transforms: [{status_code: 404}]}`, "exactly one of to_error and to_disconnect"},
		{`connect: {endpoint: "http://x", status_to_code_transforms: [{status_code: 200, to_error: {code: 400}}]}`, "other than 200"},
		{`connect: {endpoint: "http://x", status_to_code_transforms: [{status_code: 404, to_error: {code: 4000}}]}`, "must be 100 to 1999"},
		{`connect: {endpoint: "http://x", status_to_code_transforms: [{status_code: 404, to_disconnect: {code: 5000}}]}`, "must be 3000 to 4999"},
		{`connect: {endpoint: "http://x", status_to_code_transforms: [{status_code: 404, to_error: {code: 400}}, {status_code: 404, to_error: {code: 400}}]}`, "is there twice"},
		{`named: [{endpoint: "http://x"}]`, "proxy.named[0].name: is empty"},
		{`named: [{name: default, endpoint: "http://x"}]`, "choose another name"},
		{`named: [{name: a, endpoint: "http://x"}, {name: a, endpoint: "http://x"}]`, "proxy.named[1].name = \"a\": is there twice"},
		{`refresh_retry: 0s`, "must be a positive duration"},
		{`service: {max_concurrent: 0}`, "must be a positive number"},
	} {
		_, err := parse(t, c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n got %v\nwant %s", c.text, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret is shown: %v", err)
		}
	}
	if _, err := New(Config{Connect: &EndpointConfig{}}, Deps{}); err == nil {
		t.Error("New took what Check refuses")
	}
}
