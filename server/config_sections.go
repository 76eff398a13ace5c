package main

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"throng/server/auth"
	"throng/server/channel"
	"throng/server/httpapi"
	"throng/server/proxy"
)

// Sections are the parts of the configuration that are too deep for flags; the file alone has them. Their names and those of
// their options are Centrifugo's where it has them, so that a configuration can be carried over.
type Sections struct {
	Client  ClientConfig      // client: who may connect, and limits
	Auth    auth.Config       // auth: keys and rules of tokens
	Channel channel.Config    // channel: names, namespaces, permissions
	RPC     channel.RPCConfig // rpc: who answers which method
	Proxy   proxy.Config      // proxy: the application backend
	HTTPAPI httpapi.Config    // http_api: the server API
	History HistoryConfig     // history: how NATS keeps what is published
}

func defaultSections() Sections {
	return Sections{Client: ClientConfig{MaxRequests: defaultMaxRequests}, Auth: auth.DefaultConfig(), Channel: channel.DefaultConfig(), RPC: channel.DefaultRPCConfig(), Proxy: proxy.DefaultConfig(), HTTPAPI: httpapi.DefaultConfig(), History: defaultHistory()}
}

// section returns what the section of that name is decoded into.
func (s *Sections) section(name string) (into any, is bool) {
	switch name {
	case "client":
		return &s.Client, true
	case "auth":
		return &s.Auth, true
	case "channel":
		return &s.Channel, true
	case "rpc":
		return &s.RPC, true
	case "proxy":
		return &s.Proxy, true
	case "http_api":
		return &s.HTTPAPI, true
	case "history":
		return &s.History, true
	}
	return nil, false
}

// secretsFrom lets the environment set what does not belong into a file that is under version control. It wins over the file.
func (s *Sections) secretsFrom(getenv func(string) string) {
	if key := getenv("THRONG_TOKEN_HMAC_SECRET_KEY"); key != "" {
		s.Auth.Token.HMACSecretKey = auth.Secret(key)
	}
	if key := getenv("THRONG_API_KEY"); key != "" {
		s.HTTPAPI.Key = auth.Secret(key)
	}
}

func decodeSection(node *yaml.Node, into any, path, name string) error {
	return sectionError(path, channel.Decode(node, into, name))
}

// sectionError turns errors of sections into those of options, each with its line.
func sectionError(path string, err error) error {
	if err == nil {
		return nil
	}
	if joined, is := err.(interface{ Unwrap() []error }); is {
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, sectionError(path, e))
		}
		return errors.Join(errs...)
	}
	fe, is := errors.AsType[*channel.FieldError](err)
	if !is {
		return err
	}
	field := fmt.Sprintf("%s: %s", path, fe.Field)
	if fe.Line > 0 {
		field = fmt.Sprintf("%s:%d: %s", path, fe.Line, fe.Field)
	}
	problem, fix, both := strings.Cut(fe.Fix, "; ")
	if !both {
		problem, fix = "is not right", fe.Fix
	}
	return &configError{field, fe.Value, problem, fix}
}
