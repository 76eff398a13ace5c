package members

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"throng/server/wire"
)

// Question and answer between nodes. Nodes of different versions talk to each other: never change what a field means.
//
// The question is JSON. The answer has for each channel, in order, a line with a number and as many lines as that says, each a
// member as wire.AppendClientInfo writes it. Instead of a number of members: -1, there are more than may be told; -2, no room
// was left, ask again.

type question struct {
	Node     string   `json:"node"`  // who asks
	Limit    int      `json:"limit"` // members of a channel
	Channels []string `json:"channels"`
}

// maxAnswer is the size in bytes from which an answer leaves out further channels, maxPart that of one channel. A node asks all
// others at once and takes 32 MiB together by default.
const (
	maxAnswer = 1 << 20
	maxPart   = 8 << 20
)

// maxQuestion bounds the channels of one question.
const maxQuestion = 4096

const (
	crowdMark  = "-1\n"
	untoldMark = "-2\n"
)

var errQuestion = errors.New("members: this version does not understand the question")

func (t *Table) question(names []string) []byte {
	q, err := json.Marshal(question{Node: t.self, Limit: t.cfg.MaxChannel, Channels: names})
	if err != nil { // strings and numbers always can be said
		panic(err)
	}
	return q
}

// Answer answers another node's question, or this one's; the handler of the survey by which Cluster.Survey asks. It may be
// called by any goroutine but pollers: it takes milliseconds for thousands of members.
func (t *Table) Answer(asked []byte) ([]byte, error) {
	var q question
	if err := json.Unmarshal(asked, &q); err != nil || q.Limit <= 0 || len(q.Channels) > maxQuestion {
		return nil, errQuestion
	}
	if q.Node == t.self {
		return nil, nil // what is here needs no roster
	}
	var out []byte
	for _, name := range q.Channels {
		if len(out) >= maxAnswer {
			out = append(out, untoldMark...)
			continue
		}
		out = t.appendPart(out, name, q.Limit)
	}
	return out, nil
}

func (t *Table) appendPart(out []byte, name string, limit int) []byte {
	start := len(out)
	infos, all := t.parts.Local(name, limit)
	if all > len(infos) {
		return append(out, crowdMark...)
	}
	out = append(strconv.AppendInt(out, int64(len(infos)), 10), '\n')
	for i := range infos {
		out = append(wire.AppendClientInfo(out, &infos[i]), '\n')
		if len(out)-start > maxPart {
			return append(out[:start], crowdMark...)
		}
	}
	return out
}

// part is an answer about one channel.
type part struct {
	infos         []*wire.ClientInfo
	crowd, untold bool
}

// readPart reads the first part of p and returns what follows it. The result does not alias p.
func readPart(p []byte) (one part, rest []byte, ok bool) {
	line, rest, ok := bytes.Cut(p, []byte("\n"))
	if !ok {
		return part{}, nil, false
	}
	n, err := strconv.Atoi(string(line))
	switch {
	case err != nil || n < -2 || n > len(rest)/2:
		return part{}, nil, false
	case n == -1:
		return part{crowd: true}, rest, true
	case n == -2:
		return part{untold: true}, rest, true
	}
	one.infos = make([]*wire.ClientInfo, 0, n)
	for range n {
		if line, rest, ok = bytes.Cut(rest, []byte("\n")); !ok {
			return part{}, nil, false
		}
		info, ok := wire.ParseClientInfo(line)
		if !ok {
			return part{}, nil, false
		}
		one.infos = append(one.infos, info)
	}
	return one, rest, true
}
