package channel

import "slices"

// Switch is a boolean option that may be left unset: the `{"value": bool}` of an override.
type Switch uint8

// The three states of a Switch.
const (
	Unset Switch = iota
	Off
	On
)

func (s Switch) over(option bool) bool {
	if s == Unset {
		return option
	}
	return s == On
}

// Override replaces namespace options for one subscription. Tokens and proxies carry it. The zero value replaces nothing.
//
// Source: centrifuge-protocol.md, 7.1, claim override.
type Override struct {
	Presence           Switch
	JoinLeave          Switch
	ForceRecovery      Switch
	ForcePositioning   Switch
	ForcePushJoinLeave Switch
}

// Asked is what a subscribe command asks for beyond the channel.
type Asked struct {
	Delta       string // "" or a delta type
	Positioned  bool
	Recoverable bool
	JoinLeave   bool
}

// Features is what a subscription gets.
type Features struct {
	Presence          bool // the client appears in presence
	EmitJoinLeave     bool // its join and leave are published
	PushJoinLeave     bool // it is sent the joins and leaves of others
	Positioned        bool
	Recoverable       bool // implies Positioned
	CacheRecovery     bool // recovery hands out the newest publication instead of all missed ones
	AutoCacheRecover  bool
	Delta             bool
	AllowTagsFilter   bool
	ClientSideRefresh bool // the client renews the subscription with a token; otherwise the proxy is asked
	SubRefreshProxy   string
}

// Features works out what a subscription to ch gets: the namespace's options, replaced by the override of a token or proxy,
// joined with what the client asked for and may have. The code is Allowed, or CloseBadRequest for an unknown delta type.
//
// Source: centrifuge-protocol.md, 9 (recoverable, positioned, join_leave) and 13 (delta).
func (r *Rules) Features(ch *Channel, c Client, asked Asked, over Override) (Features, Code) {
	if asked.Delta != "" && asked.Delta != "fossil" {
		return Features{}, CloseBadRequest
	}
	ns := ch.Namespace
	c.Subscribed = true
	f := Features{
		Presence:          over.Presence.over(ns.Presence) && !ch.Wildcard,
		EmitJoinLeave:     over.JoinLeave.over(ns.JoinLeave) && ns.native == nil,
		AllowTagsFilter:   ns.AllowTagsFilter && r.env.TagsFilter,
		ClientSideRefresh: !ns.SubRefreshProxyEnabled,
	}
	if ns.SubRefreshProxyEnabled {
		f.SubRefreshProxy = ns.SubRefreshProxyName
	}
	if f.EmitJoinLeave {
		forced := over.ForcePushJoinLeave.over(ns.ForcePushJoinLeave)
		f.PushJoinLeave = forced || asked.JoinLeave && r.may(c, ns.presenceReaders)
	}
	if !r.historyOn(ns) {
		return f, Allowed
	}
	mayRead := r.may(c, ns.historyReaders)
	f.Recoverable = over.ForceRecovery.over(ns.ForceRecovery) || asked.Recoverable && (ns.AllowRecovery || mayRead)
	f.Positioned = f.Recoverable || over.ForcePositioning.over(ns.ForcePositioning) ||
		asked.Positioned && (ns.AllowPositioning || mayRead)
	f.CacheRecovery = f.Recoverable && ns.ForceRecoveryMode == "cache"
	f.AutoCacheRecover = f.CacheRecovery && ns.AutoCacheRecover
	f.Delta = asked.Delta != "" && f.Positioned && slices.Contains(ns.AllowedDeltaTypes, asked.Delta)
	return f, Allowed
}
