package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// JetStream's API: JSON requests, answered by the leader of the stream or of all streams. Only what Streams needs, as
// nats-server 2.15.2 has it. Settings this package does not know travel through unchanged.

const apiPrefix = "$JS.API."

var (
	errNoAPI    = fmt.Errorf("%w: JetStream does not answer at all", ErrNoStream)
	errNoAnswer = fmt.Errorf("%w: JetStream did not answer in time", ErrNoStream)
)

// jsConfig is a stream's configuration.
type jsConfig map[string]json.RawMessage

// jsInfo is the answer to INFO, CREATE and UPDATE.
type jsInfo struct {
	Config jsConfig `json:"config"`
	State  struct {
		Messages uint64            `json:"messages"`
		Bytes    uint64            `json:"bytes"`
		First    uint64            `json:"first_seq"`
		Last     uint64            `json:"last_seq"`
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
	Cluster *struct {
		Leader   string `json:"leader"`
		Replicas []struct {
			Name    string `json:"name"`
			Current bool   `json:"current"`
			Offline bool   `json:"offline"`
		} `json:"replicas"`
	} `json:"cluster"`
}

// jsMessage is the answer to MSG.GET.
type jsMessage struct {
	Message struct {
		Subject string    `json:"subject"`
		Seq     uint64    `json:"seq"`
		Data    []byte    `json:"data"`
		Time    time.Time `json:"time"`
	} `json:"message"`
}

// linkLife ends when the link it stands for is lost.
type linkLife struct {
	ctx context.Context
	end context.CancelFunc
}

// ask puts one question to the API and decodes the answer into out.
func (s *Streams) ask(ctx context.Context, verb string, question, out any) error {
	data, err := json.Marshal(question)
	if err != nil {
		return err
	}
	m, err := s.request(ctx, &nats.Msg{Subject: apiPrefix + verb, Data: data})
	if errors.Is(err, errNoResponders) {
		return errNoAPI
	}
	if err != nil {
		return err
	}
	var refusal struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &refusal); err != nil {
		return fmt.Errorf("%w: unintelligible answer of JetStream: %w", ErrNoStream, err)
	}
	if refusal.Error != nil {
		return refusal.Error
	}
	if err := json.Unmarshal(m.Data, out); err != nil {
		return fmt.Errorf("%w: unintelligible answer of JetStream: %w", ErrNoStream, err)
	}
	return nil
}

// request is one message and one answer, for as long as the link, ReadTimeout and ctx last.
func (s *Streams) request(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	link := s.link.Load()
	bounded, cancel := context.WithTimeout(ctx, s.cfg.ReadTimeout)
	defer cancel()
	defer context.AfterFunc(link.ctx, cancel)()
	answer, err := s.n.conn.RequestMsgWithContext(bounded, m)
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(err, nats.ErrNoResponders):
		return nil, errNoResponders
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case link.ctx.Err() != nil:
		return nil, ErrDisconnected
	case bounded.Err() != nil:
		return nil, errNoAnswer
	}
	return nil, fmt.Errorf("%w: %w", ErrDisconnected, err)
}

func (s *Streams) streamInfo(ctx context.Context, name string) (info jsInfo, err error) {
	err = s.ask(ctx, "STREAM.INFO."+name, struct{}{}, &info)
	return info, err
}

func (s *Streams) createStream(ctx context.Context, name string, c jsConfig) (info jsInfo, err error) {
	err = s.ask(ctx, "STREAM.CREATE."+name, c, &info)
	return info, err
}

func (s *Streams) updateStream(ctx context.Context, name string, c jsConfig) (info jsInfo, err error) {
	err = s.ask(ctx, "STREAM.UPDATE."+name, c, &info)
	return info, err
}

// purgeStream removes the messages of a subject that purge names.
func (s *Streams) purgeStream(ctx context.Context, name string, purge jsPurge) error {
	var done struct{}
	return s.ask(ctx, "STREAM.PURGE."+name, purge, &done)
}

type jsPurge struct {
	Filter string `json:"filter"`
	Seq    uint64 `json:"seq,omitempty"`  // up to, not including
	Keep   uint64 `json:"keep,omitempty"` // newest that stay
}

// leaderMessage asks the stream's leader for one message.
func (s *Streams) leaderMessage(ctx context.Context, name string, get jsGet) (m jsMessage, err error) {
	err = s.ask(ctx, "STREAM.MSG.GET."+name, get, &m)
	return m, err
}

// jsGet asks for messages.
type jsGet struct {
	Seq       uint64   `json:"seq,omitempty"`
	LastFor   string   `json:"last_by_subj,omitempty"`
	NextFor   string   `json:"next_by_subj,omitempty"`
	Batch     int      `json:"batch,omitempty"`
	MaxBytes  int      `json:"max_bytes,omitempty"`
	MultiLast []string `json:"multi_last,omitempty"`
	UpTo      uint64   `json:"up_to_seq,omitempty"`
}

// overlapping names the other streams that take a subject.
func (s *Streams) overlapping(ctx context.Context, subject string) string {
	var found struct {
		Streams []string `json:"streams"`
	}
	ask := map[string]string{"subject": subject}
	if err := s.ask(ctx, "STREAM.NAMES", ask, &found); err != nil || len(found.Streams) == 0 {
		return "another stream"
	}
	return "the stream " + strings.Join(found.Streams, ", ")
}

func isCode(err error, code int) bool {
	var refusal *apiError
	return errors.As(err, &refusal) && refusal.ErrCode == code
}
