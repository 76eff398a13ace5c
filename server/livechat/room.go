package livechat

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Channels of the rooms. The default room's is fixed, so that `nats pub throng.live.livechat hello` reaches it whatever its name.
const (
	defaultChannel = "livechat"
	channelPrefix  = "livechat:"
)

// What can be wrong with a room name; the texts are fit for the answer to a client. ErrRoomTooLong comes wrapped with the limit.
var (
	ErrRoomTooLong = errors.New("room name is too long")
	ErrRoomNotUTF8 = errors.New("room name is not valid UTF-8")
	ErrRoomControl = errors.New("room name contains a control character")
)

// channelOf is the channel of a room, "" and the default room's name being the same room.
func (c *Config) channelOf(room string) (string, error) {
	if room == "" || room == c.DefaultRoom {
		return defaultChannel, nil
	}
	if err := checkRoom(room, c.RoomMaxLen); err != nil {
		return "", err
	}
	return channelPrefix + room, nil
}

// Owns tells whether channel is a room's: whatever else the node does with channels, these are open to everybody.
func Owns(channel string) bool {
	return channel == defaultChannel || strings.HasPrefix(channel, channelPrefix)
}

func checkRoom(room string, maxLen int) error {
	if len(room) > maxLen {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrRoomTooLong, len(room), maxLen)
	}
	if !utf8.ValidString(room) {
		return ErrRoomNotUTF8
	}
	for _, r := range room {
		// Direction controls make one name look like another.
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return ErrRoomControl
		}
	}
	return nil
}
