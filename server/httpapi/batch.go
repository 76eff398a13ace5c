package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// batchRequest holds commands: {"publish": {...}}, {"broadcast": {...}} and so on.
type batchRequest struct {
	Commands []map[string]json.RawMessage `json:"commands"`
	Parallel bool                         `json:"parallel"`
}

type batchResult struct {
	Replies []map[string]any `json:"replies"`
}

// command is one of many, ready to run; without a method nobody knows it.
type command struct {
	id     uint32 // legacy
	method *method
	run    performer
	failed *Error // instead of run
}

// prepareBatch reads all commands before any is run: a mistake in one of them leaves everything undone.
func prepareBatch(params []byte) (performer, error) {
	var q batchRequest
	if err := decodeObject(params, &q); err != nil {
		return nil, err
	}
	commands := make([]command, len(q.Commands))
	for i, one := range q.Commands {
		c, err := prepareCommand(one)
		if err != nil {
			return nil, err
		}
		commands[i] = c
	}
	return func(a *API, c *call) (any, *Error) {
		if len(commands) > a.cfg.MaxCommands {
			return nil, ErrBadRequest
		}
		result := batchResult{Replies: make([]map[string]any, len(commands))}
		a.each(commands, q.Parallel, func(i int) {
			result.Replies[i] = a.reply(c, &commands[i])
		})
		return result, nil
	}, nil
}

func prepareCommand(one map[string]json.RawMessage) (command, error) {
	for _, m := range inOrder {
		params, there := one[m.name]
		if !there || string(params) == "null" {
			continue
		}
		run, err := m.prepare(params)
		return command{method: m, run: run}, err
	}
	return command{failed: ErrNotFound}, nil
}

// reply has the result directly under the method's name.
func (a *API) reply(c *call, one *command) map[string]any {
	if one.failed != nil {
		a.count.command("unknown", one.failed)
		return map[string]any{"error": one.failed}
	}
	result, failure := a.run(c, one.method, one.run)
	if failure != nil {
		return map[string]any{"error": failure}
	}
	return map[string]any{one.method.name: result}
}

// each calls f for every command, in order or some at once.
func (a *API) each(commands []command, parallel bool, f func(i int)) {
	if !parallel {
		for i := range commands {
			f(i)
		}
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, a.cfg.MaxParallel)
	for i := range commands {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}

// legacyCommand is one line of POST /api.
//
// Source: centrifuge-protocol.md, 19.1.
type legacyCommand struct {
	ID     uint32          `json:"id"`
	Method legacyMethod    `json:"method"`
	Params json.RawMessage `json:"params"`
}

type legacyReply struct {
	ID uint32 `json:"id,omitempty"`
	response
}

// legacyMethod is a name in any case or a number; left out it is publish, number 0.
type legacyMethod struct{ method *method }

// UnmarshalJSON implements json.Unmarshaler.
func (l *legacyMethod) UnmarshalJSON(data []byte) error {
	if name, err := strconv.Unquote(string(data)); err == nil {
		if m := methods[strings.ToLower(name)]; m != nil && m.number >= 0 {
			l.method = m
		} else {
			l.method = &method{number: -1}
		}
		return nil
	}
	number, err := strconv.Atoi(string(data))
	if err != nil {
		return err
	}
	l.method = &method{number: -1}
	for _, m := range inOrder {
		if m.number == number {
			l.method = m
		}
	}
	return nil
}

func (a *API) serveLegacy(w http.ResponseWriter, r *http.Request, body []byte) {
	commands, err := prepareLegacy(body)
	if err != nil || len(commands) == 0 || len(commands) > a.cfg.MaxCommands {
		a.refuse(w, http.StatusBadRequest, &a.count.malformed)
		return
	}
	c := &call{ctx: r.Context()}
	var out bytes.Buffer
	for i := range commands {
		one := &commands[i]
		reply := legacyReply{ID: one.id}
		if reply.Error = one.failed; one.failed == nil {
			reply.Result, reply.Error = a.run(c, one.method, one.run)
		} else {
			a.count.command("unknown", one.failed)
		}
		line, err := encode(reply)
		if err != nil {
			a.deps.Log.Error("API answer cannot be encoded", "error", err)
			a.refuse(w, http.StatusInternalServerError, nil)
			return
		}
		if i > 0 {
			out.WriteByte('\n')
		}
		out.Write(line)
	}
	c.report(w.Header())
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out.Bytes()) // a caller that has gone is no fault of ours
}

// prepareLegacy reads all commands before any is run.
func prepareLegacy(body []byte) (commands []command, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	for {
		var l legacyCommand
		if err := d.Decode(&l); errors.Is(err, io.EOF) {
			return commands, nil
		} else if err != nil {
			return nil, err
		}
		one := command{id: l.ID, method: l.Method.method}
		if one.method == nil {
			one.method = methods["publish"]
		}
		if len(l.Params) == 0 || string(l.Params) == "null" {
			l.Params = []byte("{}")
		}
		if one.method.number < 0 {
			one.failed = ErrNotFound
		} else if one.run, err = one.method.prepare(l.Params); err != nil {
			one.failed = ErrBadRequest
		}
		commands = append(commands, one)
	}
}
