package history

import (
	"time"

	"throng/server/hub"
)

// Stream is how a namespace keeps history; given with each call, because rules may be reloaded.
type Stream struct {
	Namespace string
	Size      int           // publications per channel; 0: the namespace keeps none
	TTL       time.Duration // older ones are not shown; 0: all are
}

// Position is a place in the stream of a channel.
type Position struct {
	Offset uint64
	Epoch  string
}

// Message is a message as the broker's reader has it. Data is kept and must not change any more.
type Message struct {
	Channel   string
	Namespace string // of the stream
	Data      []byte
	Meta      string // the line that travelled with it, "" for none
	Binary    bool
	Offset    uint64 // 0: not stored
	Previous  uint64 // offset of the channel's message before, 0: none was stored then
	Time      time.Time
}

// Request is what a subscriber asks of a line.
type Request struct {
	Recover bool // false: only the position is wanted
	Cache   bool // the newest publication is the state (centrifuge-protocol.md, 10.4)
	Offset  uint64
	Epoch   string // "" matches any
	Limit   int    // publications at most; 0: Config.RecoverLimit
}

// Recovered is the answer to a Request.
type Recovered struct {
	Epoch     string
	Top       uint64 // for hub.Open: what is at or below it is in Publications or was seen before; all else comes live
	Recovered bool
	// Publications that were missed, oldest first; shared with others, read only. Delta is not set.
	Publications []hub.Publication
	Err          error // the store did not answer, or lags; nothing else is set
}
