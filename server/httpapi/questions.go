package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"throng/server/channel"
)

// Questions are what all nodes are asked, and how their answers become one.

// survey asks all nodes. Whatever is missing is an error, and noted for the header.
func (a *API) survey(c *call, op string, payload any) ([]Answer, *Error) {
	answers, missing, err := a.ask(c, op, payload)
	switch {
	case err != nil:
		return nil, &Error{ErrInternal.Code, ErrInternal.Message + ": not all nodes could be asked"}
	case len(missing) > 0:
		return nil, &Error{ErrInternal.Code, fmt.Sprintf("%s: no answer from %d of %d nodes", ErrInternal.Message, len(missing), len(missing)+len(answers))}
	}
	return answers, nil
}

// ask is survey for who can make do with less: the answers there are, the nodes without one, and why it may be more.
func (a *API) ask(c *call, op string, payload any) (answers []Answer, missing []string, err error) {
	data, err := encode(payload)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(c.ctx, a.cfg.SurveyTimeout)
	defer cancel()
	s, err := a.deps.Cluster.Survey(ctx, op, data)
	missing = s.Silent
	var reasons []error
	for _, answer := range s.Answers {
		if answer.Err != nil {
			missing = append(missing, answer.Node)
			reasons = append(reasons, fmt.Errorf("%s: %w", answer.Node, answer.Err))
			continue
		}
		answers = append(answers, answer)
	}
	c.missed(missing)
	if err != nil || len(missing) > 0 {
		a.count.incomplete.Add(1)
		a.count.unanswered.Add(uint64(len(missing)))
		a.deps.Log.Warn("not all nodes answered", "op", op, "missing", missing, "error", errors.Join(append(reasons, err)...))
	}
	return answers, missing, err
}

// gather reads the answers of all nodes.
func gather[T any](a *API, answers []Answer, each func(T)) *Error {
	for _, answer := range answers {
		var one T
		if err := json.Unmarshal(answer.Data, &one); err != nil {
			return a.failure("answer of node "+answer.Node, err)
		}
		each(one)
	}
	return nil
}

type channelQuestion struct {
	Channel string `json:"channel"`
}

// shownInfo is a ClientInfo as callers see it.
type shownInfo struct {
	User     string          `json:"user"`
	Client   string          `json:"client"`
	ConnInfo json.RawMessage `json:"conn_info,omitempty"`
	ChanInfo json.RawMessage `json:"chan_info,omitempty"`
}

type presenceResult struct {
	Presence map[string]shownInfo `json:"presence"`
}

type presenceStatsResult struct {
	NumClients uint32 `json:"num_clients"`
	NumUsers   uint32 `json:"num_users"`
}

// shown embeds info as it is where it is JSON, and as text or base64 where a token or proxy made it binary.
func shown(info []byte) json.RawMessage {
	if len(info) == 0 || json.Valid(info) {
		return info
	}
	var text any = info // []byte: base64
	if utf8.Valid(info) {
		text = string(info)
	}
	data, err := encode(text)
	if err != nil {
		return nil
	}
	return data
}

// canPresence decides what the rules say of presence for the API: no permissions, only whether there is any.
func (a *API) canPresence(name string) *Error {
	ch, code := a.deps.Rules().Lookup(name)
	switch {
	case code != channel.Allowed:
		return errorOf(code)
	case !ch.Namespace.Presence || ch.Wildcard:
		return ErrNotAvailable
	}
	return nil
}

func (a *API) presence(c *call, q *channelQuestion) (any, *Error) {
	if failure := a.canPresence(q.Channel); failure != nil {
		return nil, failure
	}
	answers, failure := a.survey(c, opPresence, q)
	if failure != nil {
		return nil, failure
	}
	result := presenceResult{Presence: make(map[string]shownInfo)}
	failure = gather(a, answers, func(infos []ClientInfo) {
		for _, i := range infos {
			result.Presence[i.Client] = shownInfo{User: i.User, Client: i.Client, ConnInfo: shown(i.ConnInfo), ChanInfo: shown(i.ChanInfo)}
		}
	})
	return result, failure
}

// usersAnswer is one node's part of presence_stats: the users are sent, because one may be on several nodes.
type usersAnswer struct {
	Clients int      `json:"clients"`
	Users   []string `json:"users"`
}

func usersOn(node Node, name string) (usersAnswer, error) {
	infos, err := node.Presence(name)
	users := make([]string, len(infos))
	for i := range infos {
		users[i] = infos[i].User
	}
	slices.Sort(users)
	return usersAnswer{Clients: len(infos), Users: slices.Compact(users)}, err
}

func (a *API) presenceStats(c *call, q *channelQuestion) (any, *Error) {
	if failure := a.canPresence(q.Channel); failure != nil {
		return nil, failure
	}
	answers, failure := a.survey(c, opUsers, q)
	if failure != nil {
		return nil, failure
	}
	var result presenceStatsResult
	users := make(map[string]struct{})
	failure = gather(a, answers, func(one usersAnswer) {
		result.NumClients += uint32(one.Clients)
		for _, u := range one.Users {
			users[u] = struct{}{}
		}
	})
	result.NumUsers = uint32(len(users))
	return result, failure
}

type channelsRequest struct {
	Pattern string `json:"pattern"`
}

type channelInfo struct {
	NumClients uint32 `json:"num_clients"`
}

type channelsResult struct {
	Channels map[string]channelInfo `json:"channels"`
}

func (a *API) channels(c *call, q *channelsRequest) (any, *Error) {
	if _, err := compileGlob(q.Pattern); err != nil {
		return nil, ErrBadRequest
	}
	answers, failure := a.survey(c, opChannels, q)
	if failure != nil {
		return nil, failure
	}
	result := channelsResult{Channels: make(map[string]channelInfo)}
	failure = gather(a, answers, func(counts map[string]uint32) {
		for name, n := range counts {
			result.Channels[name] = channelInfo{NumClients: result.Channels[name].NumClients + n}
		}
	})
	return result, failure
}

func channelsOn(node Node, pattern string) (map[string]uint32, error) {
	glob, err := compileGlob(pattern)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]uint32)
	node.Channels(func(name string, clients int) bool {
		if glob == nil || glob.MatchString(name) {
			counts[name] = uint32(clients)
		}
		return true
	})
	return counts, nil
}

const maxPattern = 1024 // bytes: longer than any channel name with wildcards

var errPattern = errors.New("bad pattern")

// compileGlob turns a pattern into an expression of linear time: * is any text, ? any character, [a-z] and [!a-z] one of a
// set, {a,b} one of several, \ takes the meaning away. Nil for no pattern.
func compileGlob(pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, nil
	}
	if len(pattern) > maxPattern {
		return nil, errPattern
	}
	g := &globber{rest: pattern}
	for g.rest != "" {
		if !g.step() {
			return nil, errPattern
		}
	}
	if g.depth != 0 {
		return nil, errPattern
	}
	return regexp.Compile("(?s)^" + g.out.String() + "$")
}

type globber struct {
	rest  string
	out   strings.Builder
	depth int // of braces
}

// step translates what comes next; false if it makes no sense.
func (g *globber) step() bool {
	r, size := utf8.DecodeRuneInString(g.rest)
	one := g.rest[:size]
	g.rest = g.rest[size:]
	switch {
	case r == '*':
		g.out.WriteString(".*")
	case r == '?':
		g.out.WriteString(".")
	case r == '{':
		g.depth++
		g.out.WriteString("(?:")
	case r == '}' && g.depth > 0:
		g.depth--
		g.out.WriteString(")")
	case r == ',' && g.depth > 0:
		g.out.WriteString("|")
	case r == '[':
		return g.set()
	case r == '\\':
		_, size = utf8.DecodeRuneInString(g.rest)
		one = g.rest[:size]
		g.rest = g.rest[size:]
		g.out.WriteString(regexp.QuoteMeta(one))
		return size > 0
	default:
		g.out.WriteString(regexp.QuoteMeta(one))
	}
	return true
}

// set translates what stands between brackets.
func (g *globber) set() bool {
	inner, rest, closed := strings.Cut(g.rest, "]")
	bare, negated := strings.CutPrefix(inner, "!")
	if !closed || bare == "" || strings.ContainsAny(bare, `[\^`) {
		return false
	}
	g.rest = rest
	g.out.WriteString("[")
	if negated {
		g.out.WriteString("^")
	}
	g.out.WriteString(bare + "]")
	return true
}

type infoRequest struct{}

type infoResult struct {
	Nodes []NodeInfo `json:"nodes"`
}

// info answers with the nodes there are: which are not is what the header tells.
func (a *API) info(c *call, q *infoRequest) (any, *Error) {
	answers, _, _ := a.ask(c, opInfo, q) // what is missing is in the header and in the log
	if len(answers) == 0 {
		return nil, ErrInternal
	}
	result := infoResult{Nodes: make([]NodeInfo, 0, len(answers))}
	failure := gather(a, answers, func(n NodeInfo) { result.Nodes = append(result.Nodes, n) })
	slices.SortFunc(result.Nodes, func(x, y NodeInfo) int { return strings.Compare(x.Name+x.UID, y.Name+y.UID) })
	return result, failure
}
