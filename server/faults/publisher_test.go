package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const apiKey = "api-key-of-the-faults"

// requestTimeout is what an application allows a publish: more than the 2 s after which a node gives up on NATS, less than
// the 5 s of reliability.md, F4.
const requestTimeout = 5 * time.Second

// publisher sends numbered publications to its channels in turn, each again with its idempotency key until it is
// acknowledged, and never a later one to the same channel before. For one goroutine.
type publisher struct {
	l        *ledger
	name     string
	nodes    []*node // asked in turn, the next after a failure
	channels []string
	client   *http.Client
	turn     int
	at       int
}

// named keeps the keys of one publisher from being the repetition of another's, in a stream that several scenes share.
var named atomic.Int64

func newPublisher(l *ledger, name string, nodes []*node, channels []string) *publisher {
	name = fmt.Sprintf("%s#%d", name, named.Add(1))
	transport := &http.Transport{MaxIdleConnsPerHost: 2}
	return &publisher{l: l, name: name, nodes: nodes, channels: channels, client: &http.Client{Transport: transport, Timeout: requestTimeout}}
}

// apiAnswer is what publish answers.
type apiAnswer struct {
	Result *struct {
		Offset uint64 `json:"offset"`
		Epoch  string `json:"epoch"`
	} `json:"result"`
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// publish asks one node once.
func (p *publisher) publish(ctx context.Context, n *node, channel, id string) (ack, error) {
	command := map[string]any{"channel": channel, "data": map[string]string{"id": id}}
	if id != "" {
		command["idempotency_key"] = id
	}
	body, err := json.Marshal(command)
	if err != nil {
		return ack{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, n.admin+"/api/publish", bytes.NewReader(body))
	if err != nil {
		return ack{}, err
	}
	request.Header.Set("X-API-Key", apiKey)
	answer, err := p.client.Do(request)
	if err != nil {
		return ack{}, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		return ack{}, err
	}
	var a apiAnswer
	if err := json.Unmarshal(raw, &a); err != nil {
		return ack{}, fmt.Errorf("%s %q: %w", answer.Status, raw, err)
	}
	if a.Error != nil {
		return ack{}, fmt.Errorf("error %d %s", a.Error.Code, a.Error.Message)
	}
	if a.Result == nil || answer.StatusCode != http.StatusOK {
		return ack{}, fmt.Errorf("%s %s", answer.Status, raw)
	}
	return ack{id: id, offset: a.Result.Offset, epoch: a.Result.Epoch}, nil
}

// next sends the next publication until it is acknowledged or ctx ends.
func (p *publisher) next(ctx context.Context) {
	channel := p.channels[p.turn%len(p.channels)]
	id := fmt.Sprintf("%s-%d", p.name, p.turn)
	p.turn++
	p.l.send(id, channel)
	for {
		began := time.Now()
		a, err := p.publish(ctx, p.nodes[p.at%len(p.nodes)], channel, id)
		if err == nil {
			p.l.confirm(channel, a)
			return
		}
		if ctx.Err() == nil { // else it is us who gave up
			p.l.refused(began, err.Error())
		}
		p.at++
		select {
		case <-ctx.Done():
			p.l.giveUp(id, err.Error())
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// said is the last publication.
func (p *publisher) said() string { return fmt.Sprintf("%s-%d", p.name, p.turn-1) }

// load is publishers that go on until they are stopped.
type load struct {
	t    testing.TB
	stop context.CancelFunc
	hard context.CancelFunc
	wg   sync.WaitGroup
}

// startLoad runs publishers, each with a pause after every acknowledgement.
func startLoad(t testing.TB, pause time.Duration, publishers ...*publisher) *load {
	// Soft ends the sending of new ones; hard gives up what is under way.
	soft, stop := context.WithCancel(context.Background())
	hard, giveUp := context.WithCancel(context.Background())
	d := &load{t: t, stop: stop, hard: giveUp}
	for _, p := range publishers {
		d.wg.Go(func() {
			defer p.client.CloseIdleConnections()
			for soft.Err() == nil {
				p.next(hard)
				select {
				case <-soft.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	t.Cleanup(d.end)
	return d
}

// finish lets every publication that was begun be acknowledged.
func (d *load) finish() {
	d.t.Helper()
	d.stop()
	done := make(chan struct{})
	go func() { d.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		d.end()
		d.t.Fatal("publishers are still refused")
	}
}

func (d *load) end() {
	d.stop()
	d.hard()
	d.wg.Wait()
}

var errStopped = errors.New("stopped")
