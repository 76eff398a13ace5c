package main

import (
	"net/http"
	"slices"
	"time"

	"throng/server/auth"
	"throng/server/channel"
	"throng/server/demo"
	"throng/server/web"
)

// The demonstration: a chat with rooms, names and presence for people without an account, so that a node that was just
// started shows what it can do.

const (
	chatPath  = "/chat"       // the page
	tokenPath = "/chat/token" // demo.Desk
)

func demoOptions(c *Config) []option {
	return []option{
		{name: "demo", def: "auto", unit: "mode", value: enumValue{&c.Demo, []string{"auto", "on", "off"}},
			why: "Chat with rooms at " + chatPath + ", where everybody who opens the page is a guest. auto: until it is configured who may do what (sections auth, channel or proxy, a token key, --insecure, anonymous clients)."},
		{name: "demo-token-rate", def: "50", unit: "tokens/s", value: intValue{&c.DemoTokenRate, span{1, 1_000_000, false}},
			why: "Guests let in per second by this node, twice as many at once; above it 429. Against scripts."},
		{name: "demo-token-ttl", def: "1h", unit: "duration", value: durationValue{&c.DemoTokenTTL, span{10 * sec, day, false}, time.Second},
			why: "How long a guest's token is good; the page renews it in time."},
	}
}

// DemoOn tells whether guests are let in. Auto is off as soon as anything says who may do what: whoever writes that down does
// not expect that strangers come in by another door.
func (c *Config) DemoOn() bool {
	if c.Demo != "auto" {
		return c.Demo == "on"
	}
	decided := c.given["auth"] || c.given["channel"] || c.given["proxy"] || c.Auth.Token.HMACSecretKey != ""
	return !decided && !c.Client.Insecure && !c.Client.AllowAnonymous
}

// withDemo adds the namespace of the demonstration, unless there is one of that name, which then holds.
func withDemo(c *Config, env channel.Environment) channel.Config {
	cfg := c.Channel
	has := slices.ContainsFunc(cfg.Namespaces, func(ns channel.NamespaceConfig) bool { return ns.Name == demo.Namespace })
	if c.DemoOn() && !has {
		cfg.Namespaces = append(slices.Clip(cfg.Namespaces), demo.Rooms(env.History))
	}
	return cfg
}

// demoNotes tells what strangers may do beyond the rooms, where the demonstration is on beside namespaces of the operator's:
// a guest is a user with an id, and what a namespace allows to every client it allows to guests.
func demoNotes(c *Config) (notes []string) {
	if !c.DemoOn() {
		return nil
	}
	open := func(field string, o *channel.Options) {
		if o.AllowSubscribeForClient || o.AllowPublishForClient || o.AllowPresenceForClient || o.AllowHistoryForClient {
			notes = append(notes, "demo: guests count as clients in "+field+", which allows something to every client; switch demo off, or ask for tokens there")
		}
	}
	open("channel.without_namespace", &c.Channel.WithoutNamespace)
	for i := range c.Channel.Namespaces {
		if ns := &c.Channel.Namespaces[i]; ns.Name != demo.Namespace {
			open("namespace "+ns.Name, &ns.Options)
		}
	}
	return notes
}

// startDemo comes before tokens are verified. What is made here is there also while the demonstration is off: a reload may
// switch it on.
func (n *node) startDemo() {
	n.guests = auth.NewGuests(nil)
	n.guests.Enable(n.cfg.DemoOn())
	n.demo = demo.New(demo.Config{TokenTTL: n.cfg.DemoTokenTTL, Rate: n.cfg.DemoTokenRate}, n.guests)
}

// pages are the pages of the public port, with or without the demonstration.
func (n *node) pages() http.Handler {
	cfg := web.Config{MaxMessageBytes: n.cfg.MaxMessage, DefaultRoom: defaultRoom, MaxRoomBytes: maxRoomBytes}
	plain := web.Handler(cfg)
	cfg.ChatPath, cfg.TokenPath, cfg.ChannelPrefix = chatPath, tokenPath, demo.Namespace+n.cfg.Channel.NamespaceBoundary
	with := web.Handler(cfg)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !n.guests.Enabled():
			plain.ServeHTTP(w, r)
		case r.URL.Path == tokenPath:
			n.demo.ServeHTTP(w, r)
		default:
			with.ServeHTTP(w, r)
		}
	})
}
