package broker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// pubAck is JetStream's answer to a publication.
type pubAck struct {
	seq       uint64
	duplicate bool
	err       error
}

// apiError is how JetStream says no, in acknowledgements and answers of its API.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("JetStream error %d: %s", e.ErrCode, e.Description)
}

// Error codes of nats-server 2.15.2 (server/errors.json).
const (
	codeAccountResources  = 10002
	codeClusterNotAvail   = 10008
	codeInsufficient      = 10023
	codeMemoryResources   = 10028
	codeNoMessage         = 10037
	codeNotEnabledAccount = 10039
	codeStorageResources  = 10047
	codeMessageTooBig     = 10054
	codeNameExists        = 10058
	codeStreamNotFound    = 10059
	codeOverlap           = 10065
	codeWrongLast         = 10071
	codeNoCluster         = 10074
	codeNotEnabled        = 10076
	codeStoreFailed       = 10077
	codeHeaderTooBig      = 10097
	codeStreamOffline     = 10118
	codeStreamMaxBytes    = 10122
	codeDuplicateInWork   = 10158
	codeLastNotReady      = 10163
	codeWrongLastConst    = 10164
	codeTooManyRequests   = 10167
)

// Unwrap gives the error of this package that fits.
func (e *apiError) Unwrap() error {
	switch e.ErrCode {
	case codeAccountResources, codeInsufficient, codeMemoryResources, codeStorageResources, codeStoreFailed, codeStreamMaxBytes:
		return ErrStoreFull
	case codeWrongLast, codeWrongLastConst:
		return ErrConflict
	case codeMessageTooBig, codeHeaderTooBig:
		return ErrTooBig
	case codeLastNotReady, codeTooManyRequests:
		return ErrBusy
	case codeDuplicateInWork:
		return ErrUnconfirmed // the first one with this ID is still on its way
	}
	return ErrNoStream
}

var errNoResponders = fmt.Errorf("%w: nobody at NATS takes its publications", ErrNoStream)

// readAck reads an acknowledgement. prefix is how one of the expected stream begins: {"stream":"<name>"
// nats-server writes them always alike; what looks different goes through encoding/json.
func readAck(prefix []byte, m *nats.Msg) pubAck {
	if rest, ok := bytes.CutPrefix(m.Data, prefix); ok {
		if ack, ok := readFastAck(rest); ok {
			return ack
		}
	}
	if len(m.Data) == 0 && header(m, "Status") == "503" {
		return pubAck{err: errNoResponders}
	}
	var doc struct {
		Error     *apiError `json:"error"`
		Stream    string    `json:"stream"`
		Seq       uint64    `json:"seq"`
		Duplicate bool      `json:"duplicate"`
	}
	if err := json.Unmarshal(m.Data, &doc); err != nil {
		return pubAck{err: fmt.Errorf("%w: unintelligible acknowledgement", ErrUnconfirmed)}
	}
	switch {
	case doc.Error != nil:
		return pubAck{err: doc.Error}
	case doc.Seq == 0:
		return pubAck{err: fmt.Errorf("%w: acknowledgement without a sequence", ErrUnconfirmed)}
	case !bytes.Equal(prefix, ackPrefix(doc.Stream)):
		return pubAck{err: fmt.Errorf("%w: it went into the stream %q instead", ErrNoStream, doc.Stream)}
	}
	return pubAck{seq: doc.Seq, duplicate: doc.Duplicate}
}

func ackPrefix(stream string) []byte { return fmt.Appendf(nil, "{%q:%q", "stream", stream) }

// readFastAck reads `,"seq":12}` and `,"seq":12,"duplicate": true}`; false for everything else, also for good JSON.
func readFastAck(rest []byte) (pubAck, bool) {
	rest, ok := bytes.CutPrefix(rest, []byte(`,"seq":`))
	if !ok {
		return pubAck{}, false
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	seq, err := strconv.ParseUint(string(rest[:end]), 10, 64) // no allocation: does not escape
	if err != nil || seq == 0 || rest[0] == '0' {
		return pubAck{}, false
	}
	switch string(rest[end:]) {
	case "}":
		return pubAck{seq: seq}, true
	case `,"duplicate": true}`:
		return pubAck{seq: seq, duplicate: true}, true
	}
	return pubAck{}, false
}

// onAck is called by nats.go's goroutine of the acknowledgements, for each.
func (s *Streams) onAck(m *nats.Msg) {
	id, err := strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 36, 64)
	if err != nil {
		return
	}
	p := s.acks.take(id)
	if p == nil {
		s.count.strayAcks.Add(1) // too late: answered as unconfirmed
		return
	}
	if p.to.silent.Load() {
		p.to.silent.Store(false)
	}
	ack := readAck(p.to.ackPrefix, m)
	if ack.err != nil {
		s.blame(p.to, ack.err)
		s.answer(p, Stored{Err: ack.err})
		return
	}
	epoch := p.to.state.Load().epoch
	if epoch == "" && !p.to.once {
		s.answer(p, Stored{Err: fmt.Errorf("%w: the stream is being looked at anew", ErrUnconfirmed)})
		return
	}
	p.to.saw(ack.seq)
	s.answer(p, Stored{Offset: ack.seq, Epoch: epoch, Duplicate: ack.duplicate})
}

// answer tells the caller of Store. p has been taken out of the table.
func (s *Streams) answer(p *storing, r Stored) {
	s.count.stored(p, &r)
	if p.done != nil {
		p.done(r)
	}
}

func (s *Streams) answerAll(all []*storing, err error) {
	for _, p := range all {
		s.answer(p, Stored{Err: err})
	}
}
