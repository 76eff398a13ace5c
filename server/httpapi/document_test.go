package httpapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "make openapi.json of openapi.yaml")

// document is openapi.yaml as a tree.
func document(t *testing.T) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := yaml.Unmarshal(documentYAML, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// at walks down a tree by keys.
func at(t *testing.T, tree any, keys ...string) any {
	t.Helper()
	for _, k := range keys {
		m, ok := tree.(map[string]any)
		if !ok || m[k] == nil {
			t.Fatalf("the document has no %s", strings.Join(keys, " > "))
		}
		tree = m[k]
	}
	return tree
}

func TestDocumentIsServedInBothForms(t *testing.T) {
	tree := document(t)
	want, err := json.MarshalIndent(tree, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		documentJSON = want
	}
	if !bytes.Equal(documentJSON, want) {
		t.Error("openapi.json is not openapi.yaml's: go test -run Document -update .")
	}
	c := startCluster(t, 1, nil)
	for name, want := range map[string][]byte{"yaml": documentYAML, "json": documentJSON} {
		got := send(t, "GET", c.servers[0].URL+"/api/openapi."+name, "")
		if got.status != 200 || got.body != string(want) || got.header.Get("Content-Type") != "application/"+name {
			t.Errorf("%s: %d, %d bytes, %q", name, got.status, len(got.body), got.header.Get("Content-Type"))
		}
	}
}

func TestEveryMethodIsDocumentedAndNothingElse(t *testing.T) {
	doc := document(t)
	want := []string{"/api", "/api/openapi.json", "/api/openapi.yaml"}
	for _, m := range Methods() {
		want = append(want, "/api/"+m)
	}
	slices.Sort(want)
	paths := at(t, doc, "paths").(map[string]any)
	if got := slices.Sorted(maps.Keys(paths)); !slices.Equal(got, want) {
		t.Errorf("documented %q\n     want %q", got, want)
	}
	c := startCluster(t, 1, nil)
	for path, item := range paths {
		for verb := range item.(map[string]any) {
			got := send(t, strings.ToUpper(verb), c.servers[0].URL+path, "{}", "X-API-Key", "secret")
			if got.status == 404 || got.status == 405 {
				t.Errorf("%s %s: %d", verb, path, got.status)
			}
			if verb != "post" {
				continue
			}
			if got := send(t, "POST", c.servers[0].URL+path, "{}"); got.status != 401 {
				t.Errorf("%s without a key: %d", path, got.status)
			}
		}
	}
}

// schemas compiles what the document says of bodies.
func schemas(t *testing.T) func(name string) *jsonschema.Schema {
	t.Helper()
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(documentJSON))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", tree); err != nil {
		t.Fatal(err)
	}
	return func(name string) *jsonschema.Schema {
		s, err := c.Compile("openapi.json#/components/schemas/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// schemaOf is the name of the schema of a request or an answer in the document.
func schemaOf(t *testing.T, doc any, path string, side ...string) string {
	t.Helper()
	keys := append(append([]string{"paths", path, "post"}, side...), "content", "application/json", "schema", "$ref")
	return strings.TrimPrefix(at(t, doc, keys...).(string), "#/components/schemas/")
}

// coverage notes which properties of which schemas were seen in an instance.
type coverage struct {
	t    *testing.T
	doc  any
	seen map[string]bool
}

func (k *coverage) walk(name string, schema, instance any) {
	s, ok := schema.(map[string]any)
	if !ok {
		return
	}
	if ref, ok := s["$ref"].(string); ok {
		name = strings.TrimPrefix(ref, "#/components/schemas/")
		k.walk(name, at(k.t, k.doc, "components", "schemas", name), instance)
		return
	}
	switch v := instance.(type) {
	case []any:
		for _, item := range v {
			k.walk(name, s["items"], item)
		}
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		for key, value := range v {
			if p, ok := properties[key]; ok {
				k.seen[name+"."+key] = true
				k.walk(name+"."+key, p, value)
			} else {
				k.walk(name, s["additionalProperties"], value)
			}
		}
	}
}

// all lists every property in the document.
func (k *coverage) all() (names []string) {
	for name, schema := range at(k.t, k.doc, "components", "schemas").(map[string]any) {
		properties, _ := schema.(map[string]any)["properties"].(map[string]any)
		for p := range properties {
			names = append(names, name+"."+p)
		}
	}
	slices.Sort(names)
	return names
}

// fuller are exchanges for what vectors leave out.
var fuller = []struct{ method, request string }{
	{"publish", `{"channel":"x","data":1,"skip_history":true,"tags":{"a":"b"},"idempotency_key":"k","delta":true,"version":1,"version_epoch":"e"}`},
	{"broadcast", `{"channels":["x"],"data":1,"b64data":"AP8=","skip_history":true,"tags":{"a":"b"},"idempotency_key":"k","delta":true,"version":1,"version_epoch":"e"}`},
	{"subscribe", `{"user":"u","client":"c","session":"s","channel":"x","info":1,"b64info":"AP8=","data":1,"b64data":"AP8=","recover_since":{"offset":1,"epoch":"e"},"expire_at":1,` +
		`"override":{"presence":{"value":true},"join_leave":{"value":true},"force_recovery":{"value":true},"force_positioning":{"value":true},"force_push_join_leave":{"value":false}}}`},
	{"unsubscribe", `{"user":"u","client":"c","session":"s","channel":"x"}`},
	{"disconnect", `{"user":"u","client":"c","session":"s","whitelist":["w"],"disconnect":{"code":4000,"reason":"r"}}`},
	{"refresh", `{"user":"u","client":"c","session":"s","expired":true,"expire_at":1,"info":1}`},
	{"presence", `{"channel":"chat:x"}`},
	{"channels", `{"pattern":"*"}`},
	{"history", `{"channel":"stream:x","limit":1,"since":{"offset":1,"epoch":"e"},"reverse":true}`},
	{"history", `{"channel":"x"}`},
	{"history_remove", `{"channel":"stream:x"}`},
	{"history_remove", `{"channel":"x"}`},
	{"batch", `{"parallel":true,"commands":[{"publish":{"channel":"x","data":1}},{"broadcast":{"channels":["x"],"data":1}},{"subscribe":{"user":"u","channel":"x"}},{"unsubscribe":{"user":"u"}},
		{"disconnect":{"user":"u"}},{"refresh":{"user":"u"}},{"presence":{"channel":"chat:x"}},{"presence_stats":{"channel":"chat:x"}},{"history":{"channel":"stream:x"}},{"history_remove":{"channel":"stream:x"}},
		{"channels":{}},{"info":{}},{"rpc":{"method":"echo","params":1}}]}`},
}

// Every answer fits its schema, every field of the document is sent or received by some exchange, and what the document
// allows is what the handlers take.
func TestExchangesFitTheDocument(t *testing.T) {
	c := startCluster(t, 2, func(c *Config) { c.MaxCommands = 50 })
	c.nodes[0].presence["chat:x"] = []ClientInfo{{User: "u", Client: "c", ConnInfo: []byte(`1`), ChanInfo: []byte(`"x"`)}}
	c.nodes[1].counts["x"] = 3
	doc, compiled := document(t), schemas(t)
	k := &coverage{t: t, doc: doc, seen: make(map[string]bool)}
	check := func(path, request string) {
		in, out := schemaOf(t, doc, path, "requestBody"), schemaOf(t, doc, path, "responses", "200")
		got := c.post(t, path, request)
		if got.status != 200 {
			return // no JSON came in, none goes out
		}
		sent, received := parse(t, request), parse(t, got.body)
		if err := compiled(out).Validate(received); err != nil {
			t.Errorf("%s %s\nanswered %s\n%v", path, request, got.body, err)
		}
		succeeded := received.(map[string]any)["error"] == nil && !strings.Contains(request, "unknown") && !strings.Contains(got.body, `"error"`)
		if err := compiled(in).Validate(sent); succeeded && err != nil && !strings.Contains(request, "all_users") && !strings.Contains(request, `null`) {
			t.Errorf("%s took %s, which the document does not: %v", path, request, err)
		}
		k.walk(in, at(t, doc, "components", "schemas", in), sent)
		k.walk(out, at(t, doc, "components", "schemas", out), received)
	}
	for _, v := range vectors {
		check("/api/"+v.method, v.request)
	}
	for _, v := range fuller {
		check("/api/"+v.method, v.request)
	}
	check("/api", `{"id":1,"method":"info","params":{}}`)
	check("/api", `{"id":1,"method":"rpc","params":{}}`)
	check("/api/batch", `{"commands":[`+strings.TrimSuffix(strings.Repeat(`{"info":{}},`, 51), ",")+`]}`)
	c.brokers[1].Close()
	for _, m := range []string{"info", "channels", "disconnect", "unsubscribe", "refresh"} {
		check("/api/"+m, `{}`)
	}
	c.controls[0].Close() // nobody left to ask
	check("/api/info", `{}`)
	for _, name := range k.all() {
		if !k.seen[name] {
			t.Errorf("%s: in no exchange", name)
		}
	}
}

func parse(t *testing.T, text string) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// What the document requires of a request, the handlers require.
func TestRequiredFieldsAreRequired(t *testing.T) {
	c := startCluster(t, 1, nil)
	doc := document(t)
	for _, v := range fuller {
		var request map[string]any
		if err := json.Unmarshal([]byte(v.request), &request); err != nil {
			t.Fatal(err)
		}
		schema := at(t, doc, "components", "schemas", schemaOf(t, doc, "/api/"+v.method, "requestBody")).(map[string]any)
		required, _ := schema["required"].([]any)
		for _, field := range required {
			less := maps.Clone(request)
			delete(less, field.(string))
			body, _ := json.Marshal(less)
			if got := c.post(t, "/api/"+v.method, string(body)); !strings.Contains(got.body, `"error":{"code":107`) {
				t.Errorf("%s without %s: %d %s", v.method, field, got.status, got.body)
			}
		}
	}
}

// The fields that handlers read are those of the document, but for the ones that are only read to refuse them.
func TestRequestFieldsAreThoseOfTheDocument(t *testing.T) {
	doc := document(t)
	for name, of := range map[string]any{
		"PublishRequest": publishRequest{}, "BroadcastRequest": broadcastRequest{}, "SubscribeRequest": subscribeRequest{}, "UnsubscribeRequest": unsubscribeRequest{},
		"DisconnectRequest": disconnectRequest{}, "RefreshRequest": refreshRequest{}, "PresenceRequest": channelQuestion{}, "PresenceStatsRequest": channelQuestion{},
		"HistoryRequest": historyRequest{}, "HistoryRemoveRequest": historyRemoveRequest{}, "ChannelsRequest": channelsRequest{}, "InfoRequest": infoRequest{}, "RpcRequest": rpcRequest{},
		"BatchRequest": batchRequest{}, "LegacyCommand": legacyCommand{}, "SubscribeOverride": override{}, "Disconnect": disconnectCode{}, "BoolValue": boolValue{},
		"ClientInfo": shownInfo{}, "Node": NodeInfo{}, "Metrics": Metrics{}, "Process": Process{}, "StreamPosition": Position{}, "ChannelInfo": channelInfo{}, "Error": Error{},
	} {
		properties, _ := at(t, doc, "components", "schemas", name).(map[string]any)["properties"].(map[string]any)
		want, got := slices.Sorted(maps.Keys(properties)), fieldsOf(reflect.TypeOf(of))
		if !slices.Equal(got, want) {
			t.Errorf("%s: code has %q, document %q", name, got, want)
		}
	}
	commands := at(t, doc, "components", "schemas", "Command", "properties").(map[string]any)
	for _, m := range inOrder {
		if commands[m.name] == nil {
			t.Errorf("a batch may hold %s, says the code only", m.name)
		}
	}
	if len(commands) != len(inOrder) {
		t.Error("a batch may hold more, says the document only")
	}
}

func fieldsOf(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Type == reflect.TypeFor[pro]():
		case f.Anonymous:
			names = append(names, fieldsOf(f.Type)...)
		case name != "":
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
