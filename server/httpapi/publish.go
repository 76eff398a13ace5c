package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"

	"throng/server/channel"
)

// content is what publish and broadcast have in common.
type content struct {
	Data           json.RawMessage   `json:"data"`
	B64Data        string            `json:"b64data"`
	SkipHistory    bool              `json:"skip_history"`
	Tags           map[string]string `json:"tags"`
	IdempotencyKey string            `json:"idempotency_key"`
	Delta          bool              `json:"delta"`
	Version        uint64            `json:"version"`
	VersionEpoch   string            `json:"version_epoch"`
}

type publishRequest struct {
	Channel string `json:"channel"`
	content
}

type broadcastRequest struct {
	Channels []string `json:"channels"`
	content
}

type broadcastResult struct {
	Responses []publishResponse `json:"responses"`
}

type publishResponse struct {
	Result *Position `json:"result,omitempty"`
	Error  *Error    `json:"error,omitempty"`
}

func (a *API) publish(c *call, q *publishRequest) (any, *Error) {
	p, failure := q.publication()
	if failure != nil {
		return nil, failure
	}
	return a.publishTo(c, q.Channel, p)
}

func (a *API) broadcast(c *call, q *broadcastRequest) (any, *Error) {
	if len(q.Channels) == 0 || len(q.Channels) > a.cfg.MaxChannels {
		return nil, ErrBadRequest
	}
	p, failure := q.publication()
	if failure != nil {
		return nil, failure
	}
	result := broadcastResult{Responses: make([]publishResponse, len(q.Channels))}
	for i, name := range q.Channels {
		each := p
		each.Data, each.Tags = bytes.Clone(p.Data), maps.Clone(p.Tags)
		position, failure := a.publishTo(c, name, each)
		if failure != nil {
			result.Responses[i].Error = failure
			a.count.command("broadcast_publish", failure)
			continue
		}
		result.Responses[i].Result = position
	}
	return result, nil
}

// publication makes what is published, but for the channel.
func (q *content) publication() (Publication, *Error) {
	p := Publication{
		Tags: q.Tags, SkipHistory: q.SkipHistory, IdempotencyKey: q.IdempotencyKey,
		Delta: q.Delta, Version: q.Version, VersionEpoch: q.VersionEpoch,
	}
	var failure *Error
	p.Data, p.Binary, failure = payload(q.Data, q.B64Data)
	return p, failure
}

// payload returns bytes of their own: base64 wins, JSON is made one line where it is not, since a line is a message to
// clients, and null is nothing.
func payload(raw json.RawMessage, b64 string) (data []byte, binary bool, failure *Error) {
	if b64 != "" {
		data, err := base64.StdEncoding.DecodeString(b64)
		if err != nil {
			return nil, false, ErrBadRequest
		}
		return data, true, nil
	}
	if string(raw) == "null" {
		return nil, false, nil
	}
	if bytes.ContainsAny(raw, "\r\n") {
		var line bytes.Buffer
		if err := json.Compact(&line, raw); err != nil {
			return nil, false, ErrBadRequest
		}
		return line.Bytes(), false, nil
	}
	return raw, false, nil
}

func (a *API) publishTo(c *call, name string, p Publication) (*Position, *Error) {
	ch, code := a.deps.Rules().Lookup(name)
	if code == channel.Allowed {
		code = ch.CheckPublication(p.Data)
	}
	if code != channel.Allowed {
		return nil, errorOf(code)
	}
	p.Channel = ch
	position, err := a.deps.Node.Publish(c.ctx, p)
	if err != nil {
		return nil, a.failure("publish", err)
	}
	return &position, nil
}

// failure is what the caller is told of an error; the log is told the rest.
func (a *API) failure(what string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	a.deps.Log.Warn("API command failed", "command", what, "error", err)
	return ErrInternal
}

type historyRequest struct {
	Channel string    `json:"channel"`
	Limit   int32     `json:"limit"`
	Since   *Position `json:"since"`
	Reverse bool      `json:"reverse"`
}

type historyRemoveRequest struct {
	Channel string `json:"channel"`
}

// publishedOut is a publication of the past as callers see it.
type publishedOut struct {
	Data   json.RawMessage   `json:"data"`
	Info   *shownInfo        `json:"info,omitempty"`
	Offset uint64            `json:"offset"`
	Tags   map[string]string `json:"tags,omitempty"`
}

type historyResult struct {
	Publications []publishedOut `json:"publications"`
	Offset       uint64         `json:"offset"`
	Epoch        string         `json:"epoch"`
}

// history has no cap of its own, unlike that of clients: -1 is all there is.
func (a *API) history(c *call, q *historyRequest) (any, *Error) {
	ch, failure := a.kept(q.Channel)
	switch {
	case failure != nil:
		return nil, failure
	case q.Limit < -1:
		return nil, ErrBadRequest
	}
	h, err := a.deps.Node.History(c.ctx, ch, HistoryQuery{Limit: int(q.Limit), Since: q.Since, Reverse: q.Reverse})
	if err != nil {
		return nil, a.failure("history", err)
	}
	result := historyResult{Publications: make([]publishedOut, len(h.Publications)), Offset: h.Position.Offset, Epoch: h.Position.Epoch}
	for i := range h.Publications {
		p := &h.Publications[i]
		out := publishedOut{Data: shown(p.Data), Offset: p.Offset, Tags: p.Tags}
		if p.Info != nil {
			out.Info = &shownInfo{User: p.Info.User, Client: p.Info.Client, ConnInfo: shown(p.Info.ConnInfo), ChanInfo: shown(p.Info.ChanInfo)}
		}
		if out.Data == nil {
			out.Data = json.RawMessage("null")
		}
		result.Publications[i] = out
	}
	return &result, nil
}

func (a *API) historyRemove(c *call, q *historyRemoveRequest) (any, *Error) {
	ch, failure := a.kept(q.Channel)
	if failure != nil {
		return nil, failure
	}
	if err := a.deps.Node.RemoveHistory(c.ctx, ch); err != nil {
		return nil, a.failure("history_remove", err)
	}
	return struct{}{}, nil
}

// kept finds a channel that keeps history.
func (a *API) kept(name string) (channel.Channel, *Error) {
	rules := a.deps.Rules()
	ch, code := rules.Lookup(name)
	switch {
	case code != channel.Allowed:
		return ch, errorOf(code)
	case !rules.KeepsHistory(&ch):
		return ch, ErrNotAvailable
	}
	return ch, nil
}

type rpcRequest struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

type rpcResult struct {
	Data json.RawMessage `json:"data,omitempty"`
}

func (a *API) callRPC(c *call, q *rpcRequest) (any, *Error) {
	if q.Method == "" {
		return nil, ErrBadRequest
	}
	a.mu.RLock()
	fn := a.rpc[q.Method]
	a.mu.RUnlock()
	if fn == nil {
		return nil, ErrNotFound
	}
	data, err := fn(c.ctx, q.Params)
	if err != nil {
		return nil, a.failure("rpc", err)
	}
	return rpcResult{Data: data}, nil
}
