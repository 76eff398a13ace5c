package main

import (
	"strings"

	"throng/broker"
	"throng/server/channel"
	"throng/server/livechat"
	"throng/server/wire"
)

// nativeChannels says for the broker which channels stand for NATS subjects of others, by one version of the rules.
type nativeChannels struct{ rules *channel.Rules }

var _ broker.Native = nativeChannels{}

// Subject implements broker.Native. Rooms of the raw chat are never bridged: whoever reaches the port may talk there.
func (m nativeChannels) Subject(name string) (string, bool) {
	if livechat.Owns(name) {
		return "", false
	}
	ch, code := m.rules.Lookup(name)
	if code != channel.Allowed {
		return "", false
	}
	return ch.NativeSubject()
}

// Channel implements broker.Native.
func (m nativeChannels) Channel(subject string) (string, bool) { return m.rules.ChannelOf(subject) }

// concreteMeta tells subscribers of a wildcard which channel a publication is of: as pub.channel, which is the protocol's way and
// which no SDK shows to its application yet, and as the tag "channel", which all of them do.
func concreteMeta(concrete string) *wire.Meta {
	return &wire.Meta{Channel: concrete, Tags: []wire.Tag{{Key: "channel", Value: concrete}}}
}

// bridge has the broker follow the rules on native channels, also for channels in use.
func (n *node) bridge(rules *channel.Rules) {
	subjects := rules.NativeSubjects()
	if len(subjects) == 0 {
		n.broker.SetNative(nil)
		return
	}
	n.log.Info("channels of NATS subjects", "subjects", strings.Join(subjects, " "))
	n.broker.SetNative(nativeChannels{rules})
}
