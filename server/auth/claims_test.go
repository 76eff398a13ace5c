package auth

import (
	"crypto/sha256"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"throng/server/channel"
)

// The same token as the usual libraries of each language spell it: order and spacing of headers, dates as integers or
// fractions, pretty-printed or escaped JSON, null for what is not set, extra claims of identity providers.
func TestTokensOfEveryLanguageAreRead(t *testing.T) {
	v := newTokens(t, withHMAC).Connection
	want := Claims{User: "42", ExpireAt: 1800003600, IssuedAt: 1800000000, Info: []byte(`{"name":"Zoë"}`)}
	for _, tt := range []struct{ language, header, payload string }{
		{"JS jsonwebtoken", `{"alg":"HS256","typ":"JWT"}`, `{"sub":"42","info":{"name":"Zoë"},"iat":1800000000,"exp":1800003600}`},
		{"JS jose", `{"alg":"HS256"}`, `{"info":{"name":"Zoë"},"sub":"42","iat":1800000000,"exp":1800003600}`},
		{"Go golang-jwt", `{"alg":"HS256","typ":"JWT"}`, `{"exp":1800003600,"iat":1800000000,"info":{"name":"Zoë"},"sub":"42"}`},
		{"Python PyJWT, time.time()", `{"alg":"HS256","typ":"JWT"}`, `{"sub":"42","iat":1800000000.123456,"exp":1800003600.987,"info":{"name":"Zoë"}}`},
		{"Python python-jose", `{"alg":"HS256","typ":"JWT"}`, `{"sub": "42", "iat": 1800000000, "exp": 1800003600, "info":{"name":"Zoë"}}`},
		{"PHP firebase/php-jwt", `{"typ":"JWT","alg":"HS256"}`, `{"sub":"42","iat":1800000000,"exp":1800003600,"info":{"name":"Zoë"}}`},
		{"PHP pretty-printed", "{\n    \"typ\": \"JWT\",\n    \"alg\": \"HS256\"\n}", "{\n    \"sub\": \"42\",\n    \"iat\": 1800000000,\n    \"exp\": 1800003600,\n    \"info\": {\n        \"name\": \"Zoë\"\n    }\n}"},
		{"Java jjwt", `{"alg":"HS256"}`, `{"sub":"42","iat":1800000000,"exp":1800003600,"info":{"name":"Zoë"}}`},
		{"Java auth0", `{"typ":"JWT","alg":"HS256","kid":"2026-01"}`, `{"info":{"name":"Zoë"},"sub":"42","exp":1800003600,"iat":1800000000}`},
		{"C# JwtSecurityTokenHandler", `{"alg":"HS256","typ":"JWT","cty":"JWT"}`, `{"nbf":1800000000,"exp":1800003600,"iat":1800000000,"sub":"42","info":{"name":"Zoë"},"unique_name":"zoe"}`},
		{"Ruby jwt", `{"alg":"HS256"}`, `{"sub":"42","exp":1800003600,"iat":1800000000,"info":{"name":"Zoë"}}`},
		{"Dart dart_jsonwebtoken", `{"alg":"HS256","typ":"JWT"}`, `{"sub":"42","info":{"name":"Zoë"},"iat":1800000000,"exp":1800003600,"aud":null,"iss":null,"jti":null}`},
		{"Swift JWTKit", `{"typ":"JWT","alg":"HS256"}`, `{"exp":1.8000036e9,"sub":"42","iat":1800000000,"info":{"name":"Zoë"}}`},
		{"Rust jsonwebtoken", `{"typ":"JWT","alg":"HS256"}`, `{"sub":"42","exp":1800003600,"iat":1800000000,"info":{"name":"Zoë"},"meta":null,"channel":null}`},
		{"escaped names and slashes", `{"\u0061lg":"HS256"}`, `{"\u0073ub":"\u0034\u0032","exp":1800003600,"iat":1800000000,"info":{"name":"Zoë"}}`},
		{"Keycloak", `{"alg":"HS256","typ":"JWT","kid":"x"}`, `{"exp":1800003600,"iat":1800000000,"sub":"42","typ":"Bearer","azp":"app","client":{"id":7},"data":5,"override":[],"realm_access":{"roles":["a"]},"scope":"openid","info":{"name":"Zoë"}}`},
		{"a name twice: the last counts", `{"alg":"HS256"}`, `{"sub":"1","sub":"42","exp":1,"exp":1800003600,"iat":1800000000,"info":{"name":"Zoë"}}`},
		{"other cases are other claims", `{"alg":"HS256"}`, `{"sub":"42","SUB":"root","Sub":"root","exp":1800003600,"EXP":1,"iat":1800000000,"info":{"name":"Zoë"}}`},
	} {
		got, err := v.Verify(mint(tt.header, tt.payload, withSecret(sha256.New, secretText)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", tt.language, err, got, want)
		}
	}
}

func TestConnectionClaims(t *testing.T) {
	v := newTokens(t, withHMAC).Connection
	on, off := channel.On, channel.Off
	for _, tt := range []struct {
		payload string
		want    Claims
	}{
		{`{}`, Claims{}},
		{`{"sub":""}`, Claims{}},
		{`{"sub":null,"info":null,"subs":null,"channels":null,"exp":null}`, Claims{}},
		{`{"sub":"u","jti":"j","meta":{"a":[1,{"b":"c"}]}}`, Claims{User: "u", ID: "j", Meta: []byte(`{"a":[1,{"b":"c"}]}`)}},
		{`{"exp":1800000100,"expire_at":0}`, Claims{}},
		{`{"exp":1800000100,"expire_at":1800009999}`, Claims{ExpireAt: 1800009999}},
		{`{"expire_at":1800009999}`, Claims{ExpireAt: 1800009999}},
		{`{"b64info":"AAH/","info":{"a":1}}`, Claims{Info: []byte{0, 1, 255}}},
		{`{"b64info":""}`, Claims{Info: []byte{}}},
		{`{"info":"text"}`, Claims{Info: []byte(`"text"`)}},
		{"{\"info\":{\"a\":\n1,\r\n\"b\":\"x y\"}}", Claims{Info: []byte(`{"a":1,"b":"x y"}`)}},
		{`{"channels":["b","a","b"]}`, Claims{Subs: []Sub{{Channel: "a"}, {Channel: "b"}}}},
		{`{"channels":["c"],"subs":{}}`, Claims{Subs: []Sub{{Channel: "c"}}}},
		{`{"channels":["c"],"subs":{"b":{},"a":{"info":1,"b64data":"AA=="}}}`, Claims{Subs: []Sub{{Channel: "a", Info: []byte("1"), Data: []byte{0}}, {Channel: "b"}}}},
		{`{"subs":{"a":{"override":{"presence":{"value":true},"join_leave":{"value":false},"force_recovery":{},"force_positioning":null,"force_push_join_leave":{"value":true},"later":{"value":1}}}}}`,
			Claims{Subs: []Sub{{Channel: "a", Override: channel.Override{Presence: on, JoinLeave: off, ForceRecovery: off, ForcePushJoinLeave: on}}}}},
		{`{"subs":{"a":{"info":1},"a":{"info":2}}}`, Claims{Subs: []Sub{{Channel: "a", Info: []byte("2")}}}},
		{`{"subs":{"a\u0062":{"data":{"x":[]}}}}`, Claims{Subs: []Sub{{Channel: "ab", Data: []byte(`{"x":[]}`)}}}},
	} {
		got, err := v.Verify(hsToken(tt.payload))
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v\ngot  %+v\nwant %+v", tt.payload, err, got, tt.want)
		}
	}
}

func TestSubscriptionClaims(t *testing.T) {
	v := newTokens(t, withHMAC).Subscription
	got, err := v.Verify(hsToken(`{"sub":"u","channel":"$a","client":"c","info":{"i":1},"b64data":"/w==","data":1,"exp":1800000100,"override":{"force_positioning":{"value":true}},"meta":1,"channels":5,"subs":"x"}`))
	want := Claims{User: "u", Channel: "$a", Client: "c", Info: []byte(`{"i":1}`), Data: []byte{255}, ExpireAt: 1800000100, Override: channel.Override{ForcePositioning: channel.On}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
	}
	for _, tt := range []struct {
		user, channel, client string
		ok                    bool
	}{
		{"u", "$a", "c", true}, {"v", "$a", "c", false}, {"", "$a", "c", false}, {"u", "a", "c", false}, {"u", "$A", "c", false}, {"u", "$a", "d", false}, {"u", "$a", "", false},
	} {
		if err := got.Check(tt.user, tt.channel, tt.client); (err == nil) != tt.ok {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	anyClient := Claims{User: "u", Channel: "a"}
	if anyClient.Check("u", "a", "whoever") != nil {
		t.Error("a token without client serves every client")
	}
	for _, payload := range []string{
		`{"channel":1}`, `{"channel":"a","client":1}`, `{"channel":"a","override":[]}`, `{"channel":"a","override":{"presence":true}}`,
		`{"channel":"a","override":{"presence":{"value":1}}}`, `{"channel":"a","b64data":"?"}`, `{"channel":["a"]}`,
	} {
		if _, err := v.Verify(hsToken(payload)); reasonOf(err) != "claims" {
			t.Errorf("%s: %s", payload, reasonOf(err))
		}
	}
}

func TestTheUserMayStandInAnotherClaim(t *testing.T) {
	v := newTokens(t, func(c *Config) { withHMAC(c); c.Token.UserIDClaim = "https://example.com/user" }).Connection
	got, err := v.Verify(hsToken(`{"sub":5,"https://example.com/user":"42"}`))
	if err != nil || got.User != "42" {
		t.Errorf("%v %+v", err, got)
	}
	if got, err := v.Verify(hsToken(`{"sub":"root"}`)); err != nil || got.User != "" {
		t.Errorf("sub is taken instead: %v %+v", err, got)
	}
}

func TestClaimsKeepNothingOfTheToken(t *testing.T) {
	v := newTokens(t, withHMAC).Connection
	token := []byte(hsToken(`{"sub":"42","info":{"a":1},"subs":{"news":{"data":[1]}}}`))
	// As a session does it: the string aliases a frame buffer that is overwritten later.
	got, err := v.Verify(string(token))
	if err != nil {
		t.Fatal(err)
	}
	if cap(got.Info) > 16 || cap(got.Subs[0].Data) > 16 {
		t.Errorf("info and data hold %d and %d bytes of memory", cap(got.Info), cap(got.Subs[0].Data))
	}
}

// FuzzObject compares the walk over an object with encoding/json.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1}`, ` { "a" : [ 1 , {"b":"]}"} ] , "c\n" : null } `, `{"a":"\\","b":"\""}`, `{"":[],"\u0061":{},"a":-1e5}`, `[1,"a",[],{"x":[{}]}]`, `{"a":tru`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := []byte(s)
		if !validObject(p) {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(p, &want); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		got := map[string]string{}
		if err := eachMember(p, func(name, value []byte) error {
			got[string(name)] = string(value)
			if value[0] == '[' {
				checkElements(t, value)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for name, value := range want {
			if string(value) == "null" {
				continue
			}
			if g, ok := got[name]; !ok || g != string(value) {
				t.Fatalf("%q: member %q is %q, want %q", s, name, g, value)
			}
		}
	})
}

func checkElements(t *testing.T, array []byte) {
	var want []json.RawMessage
	if json.Unmarshal(array, &want) != nil {
		t.Fatalf("%q was taken for an array", array)
	}
	i := 0
	_ = eachElement(array, func(v []byte) error {
		if i >= len(want) || string(v) != string(want[i]) {
			t.Fatalf("%q: element %d is %q", array, i, v)
		}
		i++
		return nil
	})
	if i != len(want) {
		t.Fatalf("%q: %d elements, want %d", array, i, len(want))
	}
}

// FuzzToken feeds arbitrary tokens, and arbitrary payloads that are signed rightly.
func FuzzToken(f *testing.F) {
	k := keys()
	tokens := newTokens(f, allKeys(f))
	f.Add(hsToken(`{"sub":"42"}`), `{"sub":"42"}`)
	f.Add(mint(`{"alg":"EdDSA"}`, `{"channel":"a"}`, withEd(k.ed)), `{"channel":"a","override":{"presence":{"value":true}}}`)
	f.Add("..", `{"subs":{"a":{"info":1}},"channels":["a"],"aud":["x"],"exp":1.5e9}`)
	f.Add(b64(`{"alg":"none"}`)+".e30.", `{"expire_at":0,"b64info":"AA==","iat":-1}`)
	f.Fuzz(func(t *testing.T, token, payload string) {
		for _, v := range []*Verifier{tokens.Connection, tokens.Subscription} {
			if c, err := v.Verify(token); err == nil && !strings.HasPrefix(token, "eyJ") {
				t.Fatalf("%q was accepted: %+v", token, c)
			}
			c, err := v.Verify(hsToken(payload))
			if err != nil {
				continue
			}
			if !json.Valid([]byte(payload)) || (c.Channel != "") != (v == tokens.Subscription) || c.ExpireAt < -1e15 {
				t.Fatalf("%q was read as %+v", payload, c)
			}
			for i, s := range c.Subs {
				if i > 0 && c.Subs[i-1].Channel >= s.Channel {
					t.Fatalf("%q: subs are not in order or not unique: %+v", payload, c.Subs)
				}
			}
			if strings.ContainsAny(string(c.Meta), "\r\n") {
				t.Fatalf("%q: meta has a line break", payload)
			}
		}
	})
}
