package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"throng/server/auth"
)

func TestTokenCommandMakesTokensTheNodeTakes(t *testing.T) {
	key := strings.Repeat("k", 32)
	env := func(name string) string {
		return map[string]string{"THRONG_TOKEN_HMAC_SECRET_KEY": key, "HOME": "/home/ann"}[name]
	}
	cfg := auth.DefaultConfig()
	cfg.Token.HMACSecretKey = auth.Secret(key)
	tokens, err := auth.NewTokens(cfg, auth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.Close()
	for _, tc := range []struct {
		args     []string
		verifier *auth.Verifier
		channel  string
	}{
		{[]string{"token", "--user", "ann", "--ttl", "1h"}, tokens.Connection, ""},
		{[]string{"token", "--user", "ann", "--channel", "$room"}, tokens.Subscription, "$room"},
	} {
		var out bytes.Buffer
		if c, err := configure(tc.args, env, &out); c != nil || err != nil {
			t.Fatalf("%v: %v", tc.args, err)
		}
		claims, err := tc.verifier.Verify(strings.TrimSpace(out.String()))
		if err != nil || claims.User != "ann" || claims.Channel != tc.channel {
			t.Errorf("%v: %+v, %v", tc.args, claims, err)
		}
	}
	for _, tc := range []struct{ args, want string }{
		{"token --user ann --usr x", "unknown flag: --usr"},
		{"token ann", `argument "ann": not expected`},
		{"token --info {", "is not JSON"},
		{"token --ttl -1h", "THRONG_TOKEN_HMAC_SECRET_KEY"},
	} {
		if _, err := configure(strings.Fields(tc.args), env, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.args, err, tc.want)
		}
	}
	if _, err := configure([]string{"token", "--config="}, os.Getenv, &bytes.Buffer{}); err == nil {
		t.Error("a token without a key")
	}
}
