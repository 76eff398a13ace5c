package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
)

// method is one entry of the API.
type method struct {
	name    string
	number  int  // in the legacy API; -1 where it has none
	bare    bool // its answer has no "result" around it
	prepare func(params []byte) (performer, error)
}

// performer is a command whose parameters have been read.
type performer func(a *API, c *call) (any, *Error)

// methods by name. The legacy numbers are those of Centrifugo's enum.
var methods = make(map[string]*method)

// inOrder lists the methods a batch may hold; the first that is set in a command counts.
var inOrder []*method

func register[Q any](name string, number int, do func(a *API, c *call, q *Q) (any, *Error)) {
	m := &method{name: name, number: number, prepare: func(params []byte) (performer, error) {
		q := new(Q)
		if err := decodeObject(params, q); err != nil {
			return nil, err
		}
		return func(a *API, c *call) (any, *Error) { return do(a, c, q) }, nil
	}}
	methods[name] = m
	inOrder = append(inOrder, m)
}

func init() {
	register("publish", 0, (*API).publish)
	register("broadcast", 1, (*API).broadcast)
	register("subscribe", 11, (*API).subscribe)
	register("unsubscribe", 2, (*API).unsubscribe)
	register("disconnect", 3, (*API).disconnect)
	register("history", 6, (*API).history)
	register("history_remove", 7, (*API).historyRemove)
	register("presence", 4, (*API).presence)
	register("presence_stats", 5, (*API).presenceStats)
	register("info", 9, (*API).info)
	register("rpc", 10, (*API).callRPC)
	register("refresh", 12, (*API).refresh)
	register("channels", 8, (*API).channels)
	methods["batch"] = &method{name: "batch", number: -1, bare: true, prepare: prepareBatch}
}

// Methods are the names of all methods, for registering metrics.
func Methods() []string {
	names := []string{"batch"}
	for _, m := range inOrder {
		names = append(names, m.name)
	}
	return names
}

var errNoObject = errors.New("not a JSON object")

// decodeObject is decode for a JSON object.
func decodeObject(data []byte, into any) error {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) {
		return errNoObject
	}
	return decode(data, into)
}

// pro are fields that only Centrifugo PRO knows. Ignoring them would make a request mean more connections than it says.
type pro struct {
	LabelFilter json.RawMessage `json:"label_filter"`
	AllUsers    json.RawMessage `json:"all_users"`
}

// wanted says that one of them is used.
func (p *pro) wanted() bool {
	for _, raw := range []json.RawMessage{p.LabelFilter, p.AllUsers} {
		switch string(raw) {
		case "", "null", "false", `""`, "{}":
		default:
			return true
		}
	}
	return false
}
