package wire

import (
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"
)

// The oracle is Centrifuge's own filter (github.com/centrifugal/centrifuge v0.38.0, internal/filter), told again over the
// schema's type, with the rationals of math/big for its decimals.

func badFilters(c *Command) bool {
	return c.BadFilter || slices.ContainsFunc(c.Subs, func(s ConnectSub) bool { return s.BadFilter })
}

func filterOfSchema(n *protocol.FilterNode) (f *Filter, bad bool) {
	if !validInSchema(n) {
		return nil, true
	}
	return &Filter{nodeOfSchema(n)}, false
}

func nodeOfSchema(n *protocol.FilterNode) (out filterNode) {
	if n == nil {
		return
	}
	out = filterNode{key: n.Key, val: n.Val, vals: append([]string(nil), n.Vals...)}
	out.op, out.cmp = filterOp(slices.Index(filterOps, n.Op)), filterCmp(slices.Index(filterCmps, n.Cmp))
	for _, child := range n.Nodes {
		out.nodes = append(out.nodes, nodeOfSchema(child))
	}
	return out
}

func validInSchema(n *protocol.FilterNode) bool {
	all := func() bool {
		return !slices.ContainsFunc(n.Nodes, func(c *protocol.FilterNode) bool { return c == nil || !validInSchema(c) })
	}
	switch n.Op {
	case "and", "or":
		return len(n.Nodes) > 0 && all()
	case "not":
		return len(n.Nodes) == 1 && all()
	case "":
	default:
		return false
	}
	switch n.Cmp {
	case "eq", "neq", "sw", "ew", "ct", "gt", "gte", "lt", "lte":
		return n.Val != "" && len(n.Vals) == 0 && n.Key != ""
	case "in", "nin":
		return n.Val == "" && len(n.Vals) > 0 && n.Key != ""
	case "ex", "nex":
		return n.Val == "" && len(n.Vals) == 0
	}
	return false
}

func matchesInSchema(n *protocol.FilterNode, tags map[string]string) bool {
	switch n.Op {
	case "and":
		return !slices.ContainsFunc(n.Nodes, func(c *protocol.FilterNode) bool { return !matchesInSchema(c, tags) })
	case "or":
		return slices.ContainsFunc(n.Nodes, func(c *protocol.FilterNode) bool { return matchesInSchema(c, tags) })
	case "not":
		return !matchesInSchema(n.Nodes[0], tags)
	}
	val, ok := tags[n.Key]
	switch n.Cmp {
	case "eq":
		return ok && val == n.Val
	case "neq":
		return !ok || val != n.Val
	case "in":
		return slices.Contains(n.Vals, val)
	case "nin":
		return !slices.Contains(n.Vals, val)
	case "ex":
		return ok
	case "nex":
		return !ok
	case "sw":
		return ok && strings.HasPrefix(val, n.Val)
	case "ew":
		return ok && strings.HasSuffix(val, n.Val)
	case "ct":
		return ok && strings.Contains(val, n.Val)
	}
	a, okA := rational(val)
	b, okB := rational(n.Val)
	if !ok || !okA || !okB {
		return false
	}
	c := a.Cmp(b)
	return map[string]bool{"lt": c < 0, "lte": c <= 0, "gt": c > 0, "gte": c >= 0}[n.Cmp]
}

// rational reads what the decimals of Centrifuge's filter are: [+-]digits[.digits].
func rational(s string) (*big.Rat, bool) {
	rest := strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
	if len(s)-len(rest) > 1 || len(s) > 200 {
		return nil, false
	}
	whole, fraction, point := strings.Cut(rest, ".")
	if strings.Trim(whole+fraction, "0123456789") != "" || whole == "" || point && fraction == "" {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

// decodeFilter sends a filter through a whole command, and overwrites the frame.
func decodeFilter(p Protocol, n *protocol.FilterNode) (*Filter, bool) {
	command := &protocol.Command{Id: 1, Subscribe: &protocol.SubscribeRequest{Channel: "c", Tf: n}}
	var frame []byte
	if p == JSON {
		frame, _ = protocol.NewJSONCommandEncoder().Encode(command)
	} else {
		frame, _ = protocol.NewProtobufCommandEncoder().Encode(command)
	}
	var r CommandReader
	var c Command
	r.Reset(p, frame, 1)
	if err := r.Next(&c); err != nil {
		return nil, true
	}
	f, bad := c.Filter, c.BadFilter
	clear(frame)
	r.Reset(p, []byte("{}"), 1)
	return f, bad
}

var filterVectors = []struct {
	filter string
	tags   []Tag
	want   bool
}{
	{`{"key":"env","cmp":"eq","val":"prod"}`, []Tag{{"env", "prod"}}, true},
	{`{"key":"env","cmp":"eq","val":"prod"}`, []Tag{{"env", "staging"}}, false},
	{`{"key":"env","cmp":"eq","val":"prod"}`, nil, false},
	{`{"key":"tier","cmp":"neq","val":"bronze"}`, []Tag{{"tier", "silver"}}, true},
	{`{"key":"tier","cmp":"neq","val":"bronze"}`, []Tag{{"tier", "bronze"}}, false},
	{`{"key":"tier","cmp":"neq","val":"bronze"}`, nil, true},
	{`{"key":"region","cmp":"in","vals":["us","eu"]}`, []Tag{{"a", ""}, {"region", "eu"}}, true},
	{`{"key":"region","cmp":"in","vals":["us","eu"]}`, []Tag{{"region", "asia"}}, false},
	{`{"key":"region","cmp":"in","vals":["us","eu"]}`, nil, false},
	{`{"key":"region","cmp":"in","vals":["us",""]}`, nil, true},
	{`{"key":"region","cmp":"nin","vals":["us","eu"]}`, []Tag{{"region", "asia"}}, true},
	{`{"key":"region","cmp":"nin","vals":["us","eu"]}`, []Tag{{"region", "us"}}, false},
	{`{"key":"region","cmp":"nin","vals":["us","eu"]}`, nil, true},
	{`{"key":"region","cmp":"nin","vals":["us",""]}`, nil, false},
	{`{"key":"debug","cmp":"ex"}`, []Tag{{"debug", ""}}, true},
	{`{"key":"debug","cmp":"ex"}`, nil, false},
	{`{"cmp":"ex"}`, []Tag{{"", ""}}, true},
	{`{"key":"debug","cmp":"nex"}`, nil, true},
	{`{"key":"debug","cmp":"nex"}`, []Tag{{"debug", "1"}}, false},
	{`{"key":"t","cmp":"sw","val":"AA"}`, []Tag{{"t", "AAPL"}}, true},
	{`{"key":"t","cmp":"ew","val":"PL"}`, []Tag{{"t", "AAPL"}}, true},
	{`{"key":"t","cmp":"ct","val":"AP"}`, []Tag{{"t", "AAPL"}}, true},
	{`{"key":"t","cmp":"sw","val":"AA"}`, nil, false},
	{`{"key":"n","cmp":"gt","val":"42"}`, []Tag{{"n", "100"}}, true},
	{`{"key":"n","cmp":"gt","val":"42"}`, []Tag{{"n", "42"}}, false},
	{`{"key":"n","cmp":"gt","val":"42"}`, nil, false},
	{`{"key":"n","cmp":"gte","val":"42"}`, []Tag{{"n", "42.0"}}, true},
	{`{"key":"n","cmp":"gte","val":"42"}`, []Tag{{"n", "41.99999999"}}, false},
	{`{"key":"n","cmp":"lt","val":"42"}`, []Tag{{"n", "+041.9"}}, true},
	{`{"key":"n","cmp":"lte","val":"0.3"}`, []Tag{{"n", "0.30000000000000004"}}, false},
	{`{"key":"n","cmp":"lte","val":"0.3"}`, []Tag{{"n", "0.300"}}, true},
	{`{"key":"n","cmp":"lt","val":"-1.5"}`, []Tag{{"n", "-1.51"}}, true},
	{`{"key":"n","cmp":"lt","val":"1"}`, []Tag{{"n", "-100"}}, true},
	{`{"key":"n","cmp":"gte","val":"-0.0"}`, []Tag{{"n", "0"}}, true},
	{`{"key":"n","cmp":"lte","val":"-0.0"}`, []Tag{{"n", "0"}}, true},
	{`{"key":"n","cmp":"gt","val":"9007199254740992"}`, []Tag{{"n", "9007199254740993"}}, true},
	{`{"key":"n","cmp":"gt","val":"340282366920938463463374607431768211456.1"}`, []Tag{{"n", "340282366920938463463374607431768211456.2"}}, true},
	{`{"key":"n","cmp":"lt","val":"x"}`, []Tag{{"n", "1"}}, false},
	{`{"key":"n","cmp":"lt","val":"1"}`, []Tag{{"n", "1e-1"}}, false},
	{`{"key":"n","cmp":"lt","val":"1"}`, []Tag{{"n", ".5"}}, false},
	{`{"key":"n","cmp":"lt","val":"1"}`, []Tag{{"n", "0."}}, false},
	{`{"key":"n","cmp":"lt","val":"1"}`, []Tag{{"n", ""}}, false},
	{`{"key":"n","cmp":"lt","val":"1"}`, []Tag{{"n", "-"}}, false},
	{`{"key":"n","cmp":"lt","val":"1"}`, []Tag{{"n", "+-1"}}, false},
	{`{"key":"n","cmp":"lt","val":"1"}`, []Tag{{"n", strings.Repeat("0", 201)}}, false},
	{`{"op":"and","nodes":[{"key":"env","cmp":"eq","val":"prod"},{"key":"v","cmp":"ex"}]}`, []Tag{{"env", "prod"}, {"v", "1"}}, true},
	{`{"op":"and","nodes":[{"key":"env","cmp":"eq","val":"prod"},{"key":"v","cmp":"ex"}]}`, []Tag{{"env", "prod"}}, false},
	{`{"op":"or","nodes":[{"key":"env","cmp":"eq","val":"prod"},{"key":"env","cmp":"eq","val":"staging"}]}`, []Tag{{"env", "staging"}}, true},
	{`{"op":"or","nodes":[{"key":"env","cmp":"eq","val":"prod"},{"key":"env","cmp":"eq","val":"staging"}]}`, []Tag{{"env", "qa"}}, false},
	{`{"op":"not","nodes":[{"key":"debug","cmp":"ex"}]}`, nil, true},
	{`{"op":"not","nodes":[{"key":"debug","cmp":"ex"}]}`, []Tag{{"debug", "1"}}, false},
	{`{"op":"or","nodes":[{"op":"and","nodes":[{"key":"env","cmp":"eq","val":"prod"},{"key":"region","cmp":"in","vals":["us","eu"]}]},
		{"op":"and","nodes":[{"key":"tier","cmp":"neq","val":"bronze"},{"op":"not","nodes":[{"key":"debug","cmp":"ex"}]}]}]}`, []Tag{{"env", "staging"}}, true},
	{`{"key":"é\n","cmp":"eq","val":"\u0000"}`, []Tag{{"é\n", "\x00"}}, true},
}

func schemaFilter(t testing.TB, text string) *protocol.FilterNode {
	t.Helper()
	n := new(protocol.FilterNode)
	if err := json.Unmarshal([]byte(text), n); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return n
}

func TestAFilterMatchesAsCentrifugesDoes(t *testing.T) {
	for _, v := range filterVectors {
		n := schemaFilter(t, v.filter)
		tags := map[string]string{}
		for _, tag := range v.tags {
			tags[tag.Key] = tag.Value
		}
		if theirs := matchesInSchema(n, tags); theirs != v.want {
			t.Errorf("%s with %v: the oracle says %t", v.filter, v.tags, theirs)
		}
		for _, p := range []Protocol{JSON, Protobuf} {
			f, bad := decodeFilter(p, n)
			if f == nil || bad || f.Match(v.tags) != v.want {
				t.Errorf("%v, %s with %v: %+v, %t, want %t", p, v.filter, v.tags, f, bad, v.want)
			}
		}
	}
	var none *Filter
	if !none.Match(nil) {
		t.Error("no filter keeps something out")
	}
}

// chain is a filter of that depth.
func chain(depth int) *protocol.FilterNode {
	n := &protocol.FilterNode{Key: "k", Cmp: "ex"}
	for range depth - 1 {
		n = &protocol.FilterNode{Op: "not", Nodes: []*protocol.FilterNode{n}}
	}
	return n
}

func wide(nodes, vals int) *protocol.FilterNode {
	n := &protocol.FilterNode{Op: "or"}
	for i := range nodes - 1 {
		n.Nodes = append(n.Nodes, &protocol.FilterNode{Key: "k", Cmp: "in", Vals: []string{"a"}})
		if i == 0 {
			n.Nodes[0].Vals = slices.Repeat([]string{"a"}, vals-nodes+2)
		}
	}
	return n
}

func TestFiltersThatAreRefused(t *testing.T) {
	for _, v := range []struct {
		name   string
		filter *protocol.FilterNode
		bad    bool
	}{
		{"no comparison", &protocol.FilterNode{Key: "k", Val: "v"}, true},
		{"eq with vals", &protocol.FilterNode{Key: "k", Cmp: "eq", Val: "v", Vals: []string{"w"}}, true},
		{"eq without val", &protocol.FilterNode{Key: "k", Cmp: "eq"}, true},
		{"in without vals", &protocol.FilterNode{Key: "k", Cmp: "in"}, true},
		{"in with val", &protocol.FilterNode{Key: "k", Cmp: "in", Val: "v", Vals: []string{"w"}}, true},
		{"ex with val", &protocol.FilterNode{Key: "k", Cmp: "ex", Val: "v"}, true},
		{"nex with vals", &protocol.FilterNode{Key: "k", Cmp: "nex", Vals: []string{"w"}}, true},
		{"no key", &protocol.FilterNode{Cmp: "eq", Val: "v"}, true},
		{"unknown comparison", &protocol.FilterNode{Key: "k", Cmp: "EQ", Val: "v"}, true},
		{"unknown operation", &protocol.FilterNode{Op: "xor", Nodes: []*protocol.FilterNode{chain(1)}}, true},
		{"and without children", &protocol.FilterNode{Op: "and"}, true},
		{"or without children", &protocol.FilterNode{Op: "or"}, true},
		{"not without children", &protocol.FilterNode{Op: "not"}, true},
		{"not of two", &protocol.FilterNode{Op: "not", Nodes: []*protocol.FilterNode{chain(1), chain(1)}}, true},
		{"bad child", &protocol.FilterNode{Op: "and", Nodes: []*protocol.FilterNode{chain(1), {}}}, true},
		{"as deep as allowed", chain(MaxFilterDepth), false},
		{"too deep", chain(MaxFilterDepth + 1), true},
		{"as many nodes as allowed", wide(MaxFilterNodes, 200), false},
		{"too many nodes", wide(MaxFilterNodes+1, 200), true},
		{"as many values as allowed", wide(2, MaxFilterVals), false},
		{"too many values", wide(2, MaxFilterVals+1), true},
	} {
		for _, p := range []Protocol{JSON, Protobuf} {
			f, bad := decodeFilter(p, v.filter)
			if bad != v.bad || (f == nil) != v.bad {
				t.Errorf("%s, %v: %+v, bad %t", v.name, p, f, bad)
			}
		}
	}
}

func TestABadFilterCostsTheSubscriptionAndNotTheConnection(t *testing.T) {
	for _, tf := range []string{
		`5`, `[]`, `"x"`, `{}`, `{"op":1}`, `{"vals":{}}`, `{"nodes":[null]}`, `{"op":"and","nodes":[[]]}`,
		`{"key":"a","key":"b","cmp":"ex"}`, `{"key":"k","cmp":"ex"},"tf":{"key":"k","cmp":"ex"}`, `{"key":"k","cmp":"ex"},"tf":{}`,
		strings.Repeat(`{"op":"not","nodes":[`, 60) + strings.Repeat(`]}`, 60),
	} {
		var r CommandReader
		var c Command
		r.Reset(JSON, []byte(`{"id":1,"subscribe":{"channel":"c","tf":`+tf+`}}`), 1)
		if err := r.Next(&c); err != nil || !c.BadFilter || c.Filter != nil || c.Channel != "c" {
			t.Errorf("%s: %+v, %v", tf, c, err)
		}
		r.Reset(JSON, []byte(`{"id":1,"connect":{"subs":{"c":{"tf":`+tf+`}}}}`), 1)
		if err := r.Next(&c); err != nil || !c.Subs[0].BadFilter || c.Subs[0].Filter != nil {
			t.Errorf("%s: %+v, %v", tf, c, err)
		}
	}
	leaf := "\x12\x01k\x1a\x02ex"
	for _, tf := range []string{"", "\x08\x01", "\x0a\x01\xff", "\x32\x05", "\x0b", leaf + "\x12\x01\xff", "\x0a\x03not\x32\x00"} {
		sub := "\x0a\x01c\x6a" + string(rune(len(tf))) + tf
		frame := "\x08\x01\x2a" + string(rune(len(sub))) + sub
		var r CommandReader
		var c Command
		r.Reset(Protobuf, []byte(string(rune(len(frame)))+frame), 1)
		if err := r.Next(&c); err != nil || !c.BadFilter || c.Filter != nil || c.Channel != "c" {
			t.Errorf("%x: %+v, %v", tf, c, err)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, v := range filterVectors {
		var tags []string
		for _, tag := range v.tags {
			tags = append(tags, tag.Key, tag.Value)
		}
		f.Add([]byte(v.filter), strings.Join(tags, " "))
		p, _ := schemaFilter(f, v.filter).MarshalVT()
		f.Add(p, "")
	}
	f.Fuzz(func(t *testing.T, p []byte, words string) {
		var s Subscription
		s.parseFilter(p)
		fuzzFilter(t, s.Filter, func(n *protocol.FilterNode) error { return n.UnmarshalVT(p) }, words)
		s = Subscription{}
		if !ValidJSON(p) {
			return
		}
		s.readFilter(p)
		if !strings.ContainsAny(string(p), "\\ABCDEFGHIJKLMNOPQRSTUVWXYZſ\u212a") { // as in FuzzCommandJSON
			fuzzFilter(t, s.Filter, func(n *protocol.FilterNode) error { return json.Unmarshal(p, n) }, words)
		}
	})
}

// fuzzFilter holds a filter that was taken to what the schema's decoder and the oracle make of the same bytes.
func fuzzFilter(t *testing.T, f *Filter, decode func(*protocol.FilterNode) error, words string) {
	t.Helper()
	if f == nil {
		return
	}
	n := new(protocol.FilterNode)
	if err := decode(n); err != nil || !validInSchema(n) {
		t.Fatalf("%+v: theirs %+v, %v", f, n, err)
	}
	if want := nodeOfSchema(n); !reflect.DeepEqual(f.root, want) {
		t.Fatalf("%+v\ntheirs %+v", f.root, want)
	}
	tags, byKey := []Tag(nil), map[string]string{}
	for pair := range slices.Chunk(strings.Fields(words), 2) {
		if _, twice := byKey[pair[0]]; !twice && len(pair) == 2 {
			byKey[pair[0]] = pair[1]
			tags = append(tags, Tag{pair[0], pair[1]})
		}
	}
	if got, want := f.Match(tags), matchesInSchema(n, byKey); got != want {
		t.Fatalf("%+v with %q: %t, the oracle says %t", f, byKey, got, want)
	}
}

func FuzzDecimal(f *testing.F) {
	f.Add("0.30", "-00.3")
	f.Add("+1", "1.")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, okX := parseDecimal(a)
		y, okY := parseDecimal(b)
		p, okP := rational(a)
		q, okQ := rational(b)
		if okX != okP || okY != okQ {
			t.Fatalf("%q %t, %q %t", a, okX, b, okY)
		}
		if okX && okY && x.compare(y) != p.Cmp(q) {
			t.Fatalf("%q against %q: %d", a, b, x.compare(y))
		}
	})
}

func TestMatchingAllocatesNothing(t *testing.T) {
	f, _ := decodeFilter(JSON, schemaFilter(t, `{"op":"and","nodes":[{"key":"a","cmp":"in","vals":["x","1.50"]},{"key":"a","cmp":"lte","val":"1.5"}]}`))
	tags := []Tag{{"a", "1.50"}}
	wantAllocs(t, "Match", false, func() {
		if !f.Match(tags) {
			t.Fatal("does not match")
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	tags := []Tag{{"env", "prod"}, {"region", "us"}, {"price", "101.25"}}
	for _, v := range []string{
		`{"key":"env","cmp":"eq","val":"prod"}`,
		`{"key":"price","cmp":"gt","val":"100"}`,
		`{"op":"or","nodes":[{"op":"and","nodes":[{"key":"env","cmp":"eq","val":"dev"},{"key":"region","cmp":"in","vals":["us","eu"]}]},{"op":"not","nodes":[{"key":"debug","cmp":"ex"}]}]}`,
	} {
		f, _ := decodeFilter(JSON, schemaFilter(b, v))
		b.Run(fmt.Sprint("match ", f.size()), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Match(tags)
			}
		})
		frame := []byte(`{"id":2,"subscribe":{"channel":"c","tf":` + v + `}}`)
		b.Run(fmt.Sprint("decode ", f.size()), func(b *testing.B) {
			var r CommandReader
			var c Command
			b.ReportAllocs()
			for b.Loop() {
				r.Reset(JSON, frame, 1)
				_ = r.Next(&c)
			}
		})
	}
}

func (f *Filter) size() string {
	var count func(n *filterNode) int
	count = func(n *filterNode) int {
		sum := 1
		for i := range n.nodes {
			sum += count(&n.nodes[i])
		}
		return sum
	}
	return fmt.Sprintf("%d nodes, %v", count(&f.root), filterCmps[f.root.cmp])
}
