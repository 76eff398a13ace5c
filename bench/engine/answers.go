package engine

import (
	"bytes"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"throng/server/wire"
)

// Hello is what a connection says first: which channel it wants, and how.
type Hello struct {
	Channel    string
	Positioned bool // keep the subscription's position, so that it can be recovered
	Recover    bool // come back to where it was:
	Offset     uint64
	Epoch      string
}

// AnsweringDialect is a dialect whose commands are answered one by one and whose
// subscriptions have positions.
type AnsweringDialect interface {
	Dialect
	// AppendCommand appends a publish command behind others of the same frame.
	AppendCommand(dst []byte, id uint32, channel string, payload []byte) []byte
	// AppendCommands appends the frame that holds the commands.
	AppendCommands(dst, commands []byte) []byte
	// NextReply reads the first reply or push of a message into r and returns the rest.
	NextReply(p []byte, r *Reply) (rest []byte)
}

// Reply is what one reply or push says. It is good until the next is read.
type Reply struct {
	ID         uint32 // of the command; 0 of a push
	Code       uint32 // of an error, or of the push that ends a subscription; 0 = none
	Subscribed bool   // answers a subscribe command
	Published  bool   // answers a publish command
	Recovering bool   // the subscription asked to come back,
	Recovered  bool   // and has missed nothing
	Attached   int    // publications that came with it
	Offset     uint64 // the highest named, 0 = none
	Epoch      []byte
}

// answers says whether every given dialect is an AnsweringDialect.
func answers(dialects ...Dialect) bool {
	for _, d := range dialects {
		if _, ok := d.(AnsweringDialect); d != nil && !ok {
			return false
		}
	}
	return true
}

// positions are where the rows' subscriptions stand, 12 bytes each. Owned by the loop.
type positions struct {
	offset []uint64
	epoch  []uint32 // index into epochs, 0 = not known
	epochs []string
	index  map[string]uint32 // into epochs
}

func (t *positions) init(cfg *Config) {
	if cfg.Positioned {
		t.offset, t.epoch = make([]uint64, cfg.Count), make([]uint32, cfg.Count)
		t.epochs, t.index = []string{""}, map[string]uint32{}
	}
}

// set takes the position of a subscribe reply.
func (t *positions) set(i int, r *Reply) {
	t.offset[i] = r.Offset
	n, known := t.index[string(r.Epoch)]
	if !known {
		n = uint32(len(t.epochs))
		t.epochs = append(t.epochs, string(r.Epoch))
		t.index[string(r.Epoch)] = n
	}
	t.epoch[i] = n
}

// hello is what row i says when it is opened.
func (e *Engine) hello(i int) Hello {
	h := Hello{Channel: e.names[e.conns[i].channel]}
	if !e.cfg.Positioned || e.isPublisher(i) {
		return h
	}
	h.Positioned = true
	if t := &e.positions; t.epoch[i] != 0 {
		h.Recover, h.Offset, h.Epoch = true, t.offset[i], t.epochs[t.epoch[i]]
	}
	return h
}

// listen follows the replies and pushes of a message. False: the connection is gone.
func (e *Engine) listen(i int, p []byte) bool {
	d := e.dialectOf(i).(AnsweringDialect) // New has looked
	gen := e.conns[i].gen
	e.recovering = false
	var r Reply
	for len(p) > 0 && e.conns[i].gen == gen {
		p = d.NextReply(p, &r)
		e.heed(i, &r)
	}
	return e.conns[i].gen == gen
}

func (e *Engine) heed(i int, r *Reply) {
	positioned := e.cfg.Positioned && !e.isPublisher(i)
	switch {
	case r.Code != 0:
		e.codes[r.Code]++
		if r.ID == 0 {
			e.fail(i, KindUnsubscribed)
			return
		}
		if e.conns[i].state == stateReady {
			e.n.Rejections++
		}
		e.acks.take(e, i, r)
	case r.Published:
		e.n.Acked++
		e.acks.take(e, i, r)
	case r.Subscribed && positioned:
		e.positions.set(i, r)
		if len(r.Epoch) == 0 {
			e.n.Unpositioned++
		}
		e.n.Attached += uint64(r.Attached)
		e.recovering = r.Attached > 0
		if r.Recovering && r.Recovered {
			e.n.Recovered++
		} else if r.Recovering {
			e.n.Unrecovered++
		}
	case r.ID == 0 && positioned:
		e.positions.offset[i] = max(e.positions.offset[i], r.Offset)
	}
}

func (centrifugeJSON) AppendCommand(dst []byte, id uint32, channel string, payload []byte) []byte {
	if len(dst) > 0 {
		dst = append(dst, '\n')
	}
	dst = append(dst, `{"id":`...)
	dst = strconv.AppendUint(dst, uint64(id), 10)
	dst = append(dst, `,"publish":{"channel":"`...)
	dst = append(dst, channel...)
	dst = append(dst, `","data":"`...)
	dst = append(dst, payload...)
	return append(dst, `"}}`...)
}

func (centrifugeJSON) AppendCommands(dst, commands []byte) []byte {
	return appendFrame(dst, wire.OpText, commands)
}

// NextReply looks for the few members that matter instead of parsing: the bench's
// own publications hold none of these texts.
func (centrifugeJSON) NextReply(p []byte, r *Reply) (rest []byte) {
	line := p
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		line, rest = p[:i], p[i+1:]
	}
	*r = Reply{}
	if bytes.HasPrefix(line, jsonPush) {
		r.Offset = highest(line)
		if at := bytes.Index(line, jsonUnsubscribe); at >= 0 {
			r.Code = uint32(after(line[at:], jsonCode))
		}
		return rest
	}
	r.ID = uint32(after(line, jsonID))
	switch {
	case bytes.Contains(line, jsonError):
		r.Code = uint32(after(line, jsonCode))
	case bytes.Contains(line, jsonSub):
		r.Subscribed = true
		r.Recovering, r.Recovered = bytes.Contains(line, jsonRecovering), bytes.Contains(line, jsonRecovered)
		r.Attached = bytes.Count(line, stampMarker)
		r.Offset = highest(line)
		if at := bytes.Index(line, jsonEpoch); at >= 0 {
			r.Epoch, _, _ = bytes.Cut(line[at+len(jsonEpoch):], []byte{'"'})
		}
	case bytes.Contains(line, jsonPublish):
		r.Published = true
	}
	return rest
}

var (
	jsonID          = []byte(`"id":`)
	jsonCode        = []byte(`"code":`)
	jsonOffset      = []byte(`"offset":`)
	jsonEpoch       = []byte(`"epoch":"`)
	jsonPublish     = []byte(`"publish":{`)
	jsonUnsubscribe = []byte(`"unsubscribe":{`)
	jsonRecovering  = []byte(`"was_recovering":true`)
	jsonRecovered   = []byte(`"recovered":true`)
)

// after is the number behind the first occurrence of key, 0 without one.
func after(p, key []byte) (v uint64) {
	at := bytes.Index(p, key)
	if at < 0 {
		return 0
	}
	for _, b := range p[at+len(key):] {
		if b < '0' || b > '9' {
			break
		}
		v = v*10 + uint64(b-'0')
	}
	return v
}

// highest is the largest offset that stands in p.
func highest(p []byte) (v uint64) {
	for {
		at := bytes.Index(p, jsonOffset)
		if at < 0 {
			return v
		}
		p = p[at:]
		v = max(v, after(p, jsonOffset))
		p = p[len(jsonOffset):]
	}
}

func (centrifugeProtobuf) AppendCommand(dst []byte, id uint32, channel string, payload []byte) []byte {
	body := make([]byte, 0, len(channel)+len(payload)+16)
	body = protowire.AppendTag(body, requestChannel, protowire.BytesType)
	body = protowire.AppendString(body, channel)
	body = protowire.AppendTag(body, publishData, protowire.BytesType)
	body = protowire.AppendBytes(body, payload)
	return appendCommand(dst, uint64(id), commandPublish, body)
}

func (centrifugeProtobuf) AppendCommands(dst, commands []byte) []byte {
	return appendFrame(dst, wire.OpBinary, commands)
}

// Field numbers of client.proto inside replies.
const (
	errorCode         = 1
	pushPub           = 4
	pushUnsubscribe   = 7
	unsubscribeCode   = 2
	publicationOffset = 6
	resultEpoch       = 6
	resultPublication = 7
	resultRecovered   = 8
	resultOffset      = 9
	resultRecovering  = 12
)

func (centrifugeProtobuf) NextReply(p []byte, r *Reply) (rest []byte) {
	*r = Reply{}
	record, n := protowire.ConsumeBytes(p)
	if n < 0 {
		return nil // Inspect counts it
	}
	fields(record, func(field protowire.Number, v uint64, body []byte) {
		switch field {
		case replyID:
			r.ID = uint32(v)
		case replyError:
			fields(body, func(f protowire.Number, v uint64, _ []byte) {
				if f == errorCode {
					r.Code = uint32(v)
				}
			})
		case replyPush:
			fields(body, r.readPush)
		case replySubscribe:
			r.Subscribed = true
			fields(body, r.readResult)
		case replyPublish:
			r.Published = true
		}
	})
	return p[n:]
}

func (r *Reply) readPush(field protowire.Number, _ uint64, body []byte) {
	switch field {
	case pushPub:
		fields(body, r.readOffset)
	case pushUnsubscribe:
		fields(body, func(f protowire.Number, v uint64, _ []byte) {
			if f == unsubscribeCode {
				r.Code = uint32(v)
			}
		})
	}
}

func (r *Reply) readOffset(field protowire.Number, v uint64, _ []byte) {
	if field == publicationOffset {
		r.Offset = max(r.Offset, v)
	}
}

func (r *Reply) readResult(field protowire.Number, v uint64, body []byte) {
	switch field {
	case resultEpoch:
		r.Epoch = body
	case resultPublication:
		r.Attached++
		fields(body, r.readOffset)
	case resultRecovered:
		r.Recovered = v != 0
	case resultOffset:
		r.Offset = max(r.Offset, v)
	case resultRecovering:
		r.Recovering = v != 0
	}
}

// fields calls f for each field of a message up to the first that is broken.
func fields(p []byte, f func(field protowire.Number, v uint64, body []byte)) {
	for len(p) > 0 {
		field, typ, n := protowire.ConsumeTag(p)
		if n < 0 {
			return
		}
		var v uint64
		var body []byte
		size := 0
		switch typ {
		case protowire.VarintType:
			v, size = protowire.ConsumeVarint(p[n:])
		case protowire.BytesType:
			body, size = protowire.ConsumeBytes(p[n:])
		default:
			size = protowire.ConsumeFieldValue(field, typ, p[n:])
		}
		if size < 0 {
			return
		}
		f(field, v, body)
		p = p[n+size:]
	}
}
