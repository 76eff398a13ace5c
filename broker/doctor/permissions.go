package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// userInfo is what a server tells a client of itself ($SYS.REQ.USER.INFO).
type userInfo struct {
	User        string `json:"user"`
	Account     string `json:"account"`
	AccountName string `json:"account_name"`
	Permissions *struct {
		Publish   *subjects `json:"publish"`
		Subscribe *subjects `json:"subscribe"`
	} `json:"permissions"`
	Expires time.Duration `json:"expires"`
}

// subjects is one half of a user's permissions; nil allows everything.
type subjects struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny"`
}

// allows says whether every subject that fits the pattern is allowed.
func (s *subjects) allows(pattern string) bool {
	if s == nil {
		return true
	}
	if slices.ContainsFunc(s.Deny, func(d string) bool { return overlap(d, pattern) }) {
		return false
	}
	return len(s.Allow) == 0 || slices.ContainsFunc(s.Allow, func(a string) bool { return covers(a, pattern) })
}

// covers: every subject that fits inner fits outer.
func covers(outer, inner string) bool {
	o, in := strings.Split(outer, "."), strings.Split(inner, ".")
	for i, token := range o {
		switch {
		case token == ">":
			return len(in) > i
		case i >= len(in) || in[i] == ">":
			return false
		case token != "*" && token != in[i]:
			return false
		}
	}
	return len(o) == len(in)
}

// overlap: some subject fits both.
func overlap(a, b string) bool {
	left, right := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(left), len(right)) {
		l, r := left[i], right[i]
		switch {
		case l == ">" || r == ">":
			return true
		case l != "*" && r != "*" && l != r:
			return false
		}
	}
	return len(left) == len(right)
}

// use is one thing that a node does with NATS. Subjects are without the prefix unless they begin with $ or _.
type use struct {
	subject string // a pattern
	try     string // a subject of it that nobody uses, to try
	what    string
	level   Level // when it is not allowed; "" as bad as history needs it
}

// random is a token nobody else uses, with NATS's own generator.
func random() string { return strings.TrimPrefix(nats.NewInbox(), nats.InboxPrefix) }

func (x *examination) subscribes() []use {
	token := random()
	return []use{
		{"live.>", "live.doctor-" + token, "hear publications", Fail},
		{"ctl.>", "ctl.node." + token, "hear other nodes (presence, disconnect, the API over all nodes)", Fail},
		{"_INBOX.>", "_INBOX." + token, "hear answers of JetStream", ""},
		{"$JS.EVENT.ADVISORY.STREAM.>", "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED." + token, "hear of new stream leaders; without it a gap is found up to 40 s later", Warn},
		{"$SRV.>", "$SRV.PING." + token, "be seen by nats micro ls", Warn},
	}
}

func (x *examination) publishes() []use {
	uses := []use{
		{subject: "live.>", what: "publish", level: Fail},
		{subject: "ctl.>", what: "talk to other nodes", level: Fail},
	}
	if len(x.cfg.Streams) > 0 {
		uses = append(uses,
			use{subject: "hist.>", what: "store publications", level: Fail},
			use{subject: "epoch.>", what: "store the identity of a stream", level: Fail},
			use{subject: "once", what: "recognise repetitions in channels without history", level: Warn},
			use{subject: "$JS.API.STREAM.PURGE.*", what: "remove a channel's history", level: Warn},
		)
	}
	return uses
}

func (x *examination) full(subject string) string {
	if strings.HasPrefix(subject, "$") || strings.HasPrefix(subject, "_") {
		return subject
	}
	return x.cfg.Prefix + "." + subject
}

// permissions looks at what this user may do: subscribing is tried, publishing is asked for.
func (x *examination) permissions(ctx context.Context) {
	denied := x.trySubscribing()
	x.askUser(ctx)
	published := x.user != nil
	if x.user != nil && x.user.Permissions != nil {
		for _, u := range x.publishes() {
			if !x.user.Permissions.Publish.allows(x.full(u.subject)) {
				x.forbidden(u, "publish to")
				denied++
			}
		}
	}
	if !published {
		x.report.add(Note, "permissions", "what this user may publish is not known: it may not ask $SYS.REQ.USER.INFO; --write-check tries it")
	}
	if denied == 0 && published {
		x.report.add(OK, "permissions", "to publish and subscribe below "+x.cfg.Prefix+".>, and what else a node does")
	}
}

func (x *examination) forbidden(u use, verb string) {
	level := u.level
	if level == "" {
		level = x.needed()
	}
	x.report.wrong(level, "permissions", fmt.Sprintf("may not %s %s: %s", verb, x.full(u.subject), u.what),
		fmt.Sprintf("allow this user to %s %q", verb, x.full(u.subject)))
}

// trySubscribing returns how much was refused.
func (x *examination) trySubscribing() (denied int) {
	for _, u := range x.subscribes() {
		subject := x.full(u.try)
		sub, err := x.conn.SubscribeSync(subject)
		if err != nil {
			x.report.wrong(Fail, "permissions", "subscribe: "+err.Error(), "look at the server's log")
			return denied + 1
		}
		if x.refused("Subscription", subject) {
			x.forbidden(u, "subscribe to")
			denied++
		}
		_ = sub.Unsubscribe() // what was refused is gone already
	}
	return denied
}

// refused asks, after something was sent, whether the server would not have it. The server says so before it answers a ping.
func (x *examination) refused(verb, subject string) bool {
	if err := x.conn.FlushTimeout(x.cfg.AskTimeout); err != nil {
		return false
	}
	err := x.conn.LastError()
	return err != nil && strings.Contains(strings.ToLower(err.Error()), strings.ToLower(fmt.Sprintf("%s to %q", verb, subject)))
}

// askUser fills in what the server tells of this user.
func (x *examination) askUser(ctx context.Context) {
	raw, err := x.ask(ctx, "$SYS.REQ.USER.INFO", nil)
	if err != nil {
		return
	}
	var answer struct {
		Data *userInfo `json:"data"`
	}
	if json.Unmarshal(raw, &answer) != nil || answer.Data == nil {
		return
	}
	x.user = answer.Data
	account := x.user.Account
	if x.user.AccountName != "" {
		account = x.user.AccountName
	}
	text := fmt.Sprintf("user %s of account %s", orNone(x.user.User), account)
	if left := x.user.Expires; left > 0 {
		text += fmt.Sprintf(", valid for %v", left.Round(time.Minute))
		if left < 7*24*time.Hour {
			x.report.wrong(Warn, "credentials", text, "renew the credentials before they expire")
			return
		}
	}
	x.report.add(OK, "credentials", text)
}

func orNone(user string) string {
	if user == "" {
		return "(none)"
	}
	return user
}
