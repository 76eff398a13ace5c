package livechat

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Config is the chat's set-up. A zero field takes its default, NodeID has none.
type Config struct {
	// NodeID is this node's name as clients see it, in the greeting and before every text. UTF-8, 1 to 64 bytes.
	NodeID string

	// GreetDelay is the time from the upgrade to the greeting. Default 0: the greeting is the first thing sent.
	// With a delay, messages of the room may come before it.
	GreetDelay time.Duration

	// MaxGreetings is how many greetings may wait for their delay; beyond that a client is greeted at once.
	// Default 262,144, which is 6 MiB.
	MaxGreetings int

	// DefaultRoom is the room of clients that name none. Default "livechat".
	DefaultRoom string

	// RoomMaxLen is the longest room name, in bytes. Default 128: with "livechat:" before it the broker's limit on channel
	// names (255 by default) has to take it.
	RoomMaxLen int

	// CloseOnLoss closes a client whose message was lost with 1013 (try again later), so that it can know. Default false:
	// a busy moment must not become a reconnect storm.
	CloseOnLoss bool
}

const (
	defaultMaxGreetings = 1 << 18
	defaultRoom         = "livechat"
	defaultRoomMaxLen   = 128
	maxNodeID           = 64
)

func (c Config) withDefaults() Config {
	if c.MaxGreetings <= 0 {
		c.MaxGreetings = defaultMaxGreetings
	}
	if c.DefaultRoom == "" {
		c.DefaultRoom = defaultRoom
	}
	if c.RoomMaxLen <= 0 {
		c.RoomMaxLen = defaultRoomMaxLen
	}
	return c
}

// Validate says what is wrong with c, all of it, or returns nil.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if n := len(c.NodeID); n == 0 || n > maxNodeID || !utf8.ValidString(c.NodeID) {
		errs = append(errs, fmt.Errorf("livechat: NodeID %q: must be UTF-8 of 1 to %d bytes", c.NodeID, maxNodeID))
	}
	if c.GreetDelay < 0 {
		errs = append(errs, fmt.Errorf("livechat: GreetDelay %v: must not be negative", c.GreetDelay))
	}
	if err := checkRoom(c.DefaultRoom, c.RoomMaxLen); err != nil {
		errs = append(errs, fmt.Errorf("livechat: DefaultRoom %q: %w", c.DefaultRoom, err))
	}
	return errors.Join(errs...)
}
