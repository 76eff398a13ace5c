package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"throng/server/auth"
)

// tokenUsage is the help of throng token.
const tokenUsage = `Makes a token for trying things out, signed with the HMAC key that the node verifies with.

Usage:
  throng token --user ann                    a connection token
  throng token --user ann --channel $room    a subscription token for that channel

The key is auth.token.hmac_secret_key of --config, or THRONG_TOKEN_HMAC_SECRET_KEY.

`

// tokenCommand answers throng token.
func tokenCommand(args []string, getenv func(string) string, out io.Writer) error {
	set := pflag.NewFlagSet("throng token", pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	user := set.String("user", "", "user id; empty = anonymous")
	channel := set.String("channel", "", "make a subscription token for this channel")
	channels := set.StringSlice("channels", nil, "server-side subscriptions of a connection token")
	info := set.String("info", "", "JSON that other clients see with the user")
	ttl := set.Duration("ttl", time.Hour, "how long it is valid; 0 = for ever")
	file := set.String("config", "", "the node's YAML file")
	err := set.Parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return printTo(out, tokenUsage+set.FlagUsages())
	case err != nil:
		return &configError{Field: "throng token", Problem: err.Error(), Fix: "see throng token -h"}
	case set.NArg() > 0:
		return &configError{Field: "argument", Value: set.Arg(0), Problem: "not expected", Fix: "see throng token -h"}
	case *info != "" && !json.Valid([]byte(*info)):
		return &configError{Field: "--info", Value: *info, Problem: "is not JSON", Fix: `write --info '{"name":"Ann"}'`}
	}
	c, err := loadConfig(slices.DeleteFunc([]string{"--config=" + *file}, func(string) bool { return *file == "" }), getenv)
	if err != nil {
		return err
	}
	r := auth.TokenRequest{User: *user, Channel: *channel, Channels: *channels, TTL: *ttl}
	if *info != "" {
		r.Info = json.RawMessage(*info)
	}
	make := auth.MakeConnectionToken
	if *channel != "" {
		make = auth.MakeSubscriptionToken
	}
	token, err := make(c.Auth, r, time.Now())
	if err != nil {
		return &configError{Field: "throng token", Problem: err.Error(), Fix: "give --config, or set THRONG_TOKEN_HMAC_SECRET_KEY"}
	}
	_, err = fmt.Fprintln(out, token)
	return err
}
