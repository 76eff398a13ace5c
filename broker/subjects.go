package broker

import "hash/maphash"

// subjects finds the subject of a channel for the publisher, and saves building it for channels published on again and
// again. Direct-mapped and small: it is bounded by size times the longest name, about 0.5 MiB at worst and 30 KiB usually.
type subjects struct {
	codec  codec
	prefix string
	native Native // nil = none
	seed   maphash.Seed
	slots  []subjectSlot
}

type subjectSlot struct {
	channel string
	subject subject
}

// subject is where a channel's publications travel.
type subject struct {
	text     string // "" where the channel may have none
	native   bool
	wildcard bool
}

const subjectCacheSize = 512 // a power of two

func newSubjects(c codec, prefix string, native Native) subjects {
	return subjects{codec: c, prefix: prefix, native: native, seed: maphash.MakeSeed(), slots: make([]subjectSlot, subjectCacheSize)}
}

// of is make with a memory.
func (s *subjects) of(channel string) subject {
	slot := &s.slots[maphash.String(s.seed, channel)%subjectCacheSize]
	if slot.channel != channel {
		*slot = subjectSlot{channel, s.make(channel)}
	}
	return slot.subject
}

func (s *subjects) make(channel string) subject {
	if s.native != nil {
		if text, native := s.native.Subject(channel); native {
			wildcard, ok := checkNative(text, s.prefix)
			if !ok {
				return subject{}
			}
			return subject{text, true, wildcard}
		}
	}
	return subject{text: s.codec.subject(channel)}
}

func (s subject) refused() bool { return s.text == "" }

// takes says whether it may be published there. Subjects of others take data: no joins and leaves, which are a meta line
// without data and may come late, from clients that were there before the channel became native.
func (s subject) takes(it *item) bool {
	return !s.refused() && !s.wildcard && !(s.native && it.meta > 0 && len(it.data) == it.meta)
}
