package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"

	"throng/server/wire"
)

// The survey of presence: the first byte of a question says what is asked, then the asking node's uid, a line break, and the
// channel. The asking node itself answers nothing: what it knows is newer when it is needed.
const (
	presenceOp = "presence"
	askWho     = 'W' // answer: one line of JSON for each client, as wire.AppendClientInfo writes it
	askCount   = 'C' // answer: number of clients as uvarint, then the hashes of their users, 8 bytes each, none twice

	crowdAnswer = "+" // there are more than an answer may hold
)

// maxUserHashes bounds an answer to askCount: 8 MiB. A survey takes 32 MiB of answers by default.
const maxUserHashes = 1 << 20

var (
	errQuestion = errors.New("session: this version does not know the question")
	errCrowd    = errors.New("session: more clients than a presence answer may hold")
	errSilent   = errors.New("session: a node did not answer")
)

// PresenceOp is the name of the survey that AnswerPresence answers.
const PresenceOp = presenceOp

// AnswerPresence answers another node's, or this one's, question about presence: the handler of the survey PresenceOp. It may
// be called by any goroutine but pollers: it takes milliseconds for thousands of clients.
func (v *Service) AnswerPresence(question []byte) ([]byte, error) {
	asker, name, ok := bytes.Cut(question, []byte("\n"))
	if !ok || len(asker) == 0 {
		return nil, errQuestion
	}
	kind := asker[0]
	switch {
	case kind != askWho && kind != askCount:
		return nil, errQuestion
	case string(asker[1:]) == v.parts.UID:
		return nil, nil
	case kind == askWho:
		return v.answerWho(string(name)), nil
	}
	return v.answerCount(string(name)), nil
}

func (v *Service) answerWho(name string) []byte {
	list, n := v.presence.snapshot(name, inPresence, v.cfg.MaxPresence)
	if n > len(list) {
		return []byte(crowdAnswer)
	}
	var out []byte
	for _, info := range infosOf(list) {
		out = append(wire.AppendClientInfo(out, &info), '\n')
	}
	return out
}

func (v *Service) answerCount(name string) []byte {
	n, users := v.countUsers(name)
	if len(users) > maxUserHashes {
		return []byte(crowdAnswer)
	}
	out := binary.AppendUvarint(nil, uint64(n))
	for sum := range users {
		out = binary.BigEndian.AppendUint64(out, sum)
	}
	return out
}

// countUsers counts the clients of a channel on this node, and tells their users apart by hashes.
func (v *Service) countUsers(name string) (clients int, users map[uint64]struct{}) {
	list, n := v.presence.snapshot(name, inPresence, 1<<30)
	users = make(map[uint64]struct{}, len(list))
	for i := range list {
		h := fnv.New64a()
		_, _ = h.Write([]byte(list[i].user))
		users[h.Sum64()] = struct{}{}
	}
	return n, users
}

// others is what the other nodes said of a channel. Immutable.
type others struct {
	who     []shownInfo
	clients uint32
	users   map[uint64]struct{}
}

// shownInfo is a client as clients of both encodings may be shown it.
type shownInfo struct{ whole, json *wire.PresenceInfo }

func shown(info *wire.ClientInfo) shownInfo {
	whole := &wire.PresenceInfo{User: info.User, Client: info.Client, ConnInfo: info.ConnInfo, ChanInfo: info.ChanInfo}
	conn, ch := jsonOnly(info.ConnInfo), jsonOnly(info.ChanInfo)
	if (conn == nil) == (info.ConnInfo == nil) && (ch == nil) == (info.ChanInfo == nil) {
		return shownInfo{whole, whole}
	}
	return shownInfo{whole, &wire.PresenceInfo{User: info.User, Client: info.Client, ConnInfo: conn, ChanInfo: ch}}
}

// jsonOnly is nil for what JSON clients cannot be shown.
func jsonOnly(info []byte) []byte {
	if info == nil || !wire.ValidJSON(info) {
		return nil
	}
	return info
}

// readAnswers puts the other nodes' answers together.
func (v *Service) readAnswers(kind byte, answers [][]byte) (*others, error) {
	o := &others{}
	for _, a := range answers {
		switch {
		case string(a) == crowdAnswer:
			return nil, errCrowd
		case kind == askWho:
			o.addWho(a)
		default:
			o.addCount(a)
		}
	}
	if len(o.who) > v.cfg.MaxPresence {
		return nil, errCrowd
	}
	return o, nil
}

func (o *others) addWho(answer []byte) {
	for line := range bytes.Lines(answer) {
		if info, ok := wire.ParseClientInfo(line); ok {
			o.who = append(o.who, shown(info))
		}
	}
}

func (o *others) addCount(answer []byte) {
	n, size := binary.Uvarint(answer)
	if size <= 0 {
		return
	}
	o.clients += uint32(n)
	for answer = answer[size:]; len(answer) >= 8; answer = answer[8:] {
		if o.users == nil {
			o.users = make(map[uint64]struct{})
		}
		o.users[binary.BigEndian.Uint64(answer)] = struct{}{}
	}
}
