package broker

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// collector gathers the answers to one survey.
type collector struct {
	limit   int
	changed chan struct{} // capacity 1: something came

	mu       sync.Mutex // leaf
	carried  bool       // NATS has brought our own request back
	bytes    int
	expected map[string]Node
	answers  map[string]*partial
	alive    map[string]bool // what probes found
}

func (k *collector) echo() {
	k.mu.Lock()
	k.carried = true
	k.mu.Unlock()
	trySignal(k.changed)
}

// partial is a node's answer as it grows.
type partial struct {
	answer Answer
	parts  int
	done   bool
}

// take implements waiter.
func (k *collector) take(m *nats.Msg) {
	uid := header(m, headerFrom)
	k.mu.Lock()
	defer k.mu.Unlock()
	defer trySignal(k.changed)
	p := k.answers[uid]
	if p == nil {
		node, ok := k.expected[uid]
		if !ok { // it joined a moment ago
			if len(k.answers) > len(k.expected)+maxNeighbours {
				return
			}
			node = Node{UID: uid, Name: header(m, headerName)}
		}
		p = &partial{answer: Answer{Node: node}}
		k.answers[uid] = p
	}
	if p.done {
		return
	}
	if header(m, headerKind) == kindError {
		p.finish(&RemoteError{Text: string(m.Data)})
		return
	}
	k.grow(p, m)
}

func (p *partial) finish(err error) {
	p.done = true
	if p.answer.Err = err; err != nil {
		p.answer.Data = nil
	}
}

// grow adds a part. One that is missing leaves the answer unfinished and the node silent.
func (k *collector) grow(p *partial, m *nats.Msg) {
	if part, err := strconv.Atoi(header(m, headerPart)); err != nil || part != p.parts {
		return
	}
	p.parts++
	k.bytes += len(m.Data)
	if k.bytes > k.limit {
		p.finish(k.tooBig())
		return
	}
	more := header(m, headerMore) != ""
	if p.parts == 1 && !more {
		p.answer.Data = m.Data
	} else {
		p.answer.Data = append(p.answer.Data, m.Data...)
	}
	if !more {
		p.finish(nil)
	}
}

func (k *collector) tooBig() error {
	return fmt.Errorf("%w: answers of more than %d bytes", ErrTooBig, k.limit)
}

// missing are the nodes that may still answer, and whether NATS is known to have carried the question.
func (k *collector) missing(gone map[string]bool) (uids []string, carried bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for uid := range k.expected {
		if p := k.answers[uid]; (p == nil || !p.done) && !gone[uid] {
			uids = append(uids, uid)
		}
	}
	return uids, k.carried
}

// result is the survey as it stands.
func (k *collector) result(gone map[string]bool) (s Survey) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.answers {
		if p.done {
			s.Answers = append(s.Answers, p.answer)
		}
	}
	for uid, node := range k.expected {
		if p := k.answers[uid]; p == nil || !p.done {
			s.Silent = append(s.Silent, Silent{Node: node, Unreachable: gone[uid]})
		}
	}
	slices.SortFunc(s.Answers, func(a, b Answer) int { return strings.Compare(a.Node.UID, b.Node.UID) })
	slices.SortFunc(s.Silent, func(a, b Silent) int { return strings.Compare(a.Node.UID, b.Node.UID) })
	return s
}
