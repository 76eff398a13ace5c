package channel

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// compile builds rules that must be right.
func compile(t testing.TB, edit func(*Config, *RPCConfig, *Environment)) *Rules {
	t.Helper()
	cfg, rpc, env := DefaultConfig(), DefaultRPCConfig(), Environment{}
	if edit != nil {
		edit(&cfg, &rpc, &env)
	}
	r, err := Compile(cfg, rpc, env)
	if err != nil {
		t.Fatalf("configuration refused:\n%v", err)
	}
	return r
}

// town is the configuration most tests share.
func town(c *Config, rpc *RPCConfig, env *Environment) {
	env.ProxyNames = []string{"default", "crm"}
	c.Namespaces = []NamespaceConfig{
		{Name: "news", Options: Options{AllowSubscribeForClient: true, AllowSubscribeForAnonymous: true}},
		{Name: "chat", Options: Options{
			AllowSubscribeForClient: true, AllowPublishForSubscriber: true, Presence: true, JoinLeave: true,
			AllowPresenceForSubscriber: true, AllowUserLimitedChannels: true,
		}},
		{Name: "closed", Options: Options{}},
		{Name: "proxied", Options: Options{
			SubscribeProxyEnabled: true, SubscribeProxyName: "crm", PublishProxyEnabled: true, AllowUserLimitedChannels: true,
		}},
		{Name: "digits", Options: Options{ChannelRegex: `^[0-9]+$`, AllowSubscribeForClient: true}},
		{Name: "any", Options: Options{ChannelRegex: `(?s).`, AllowSubscribeForClient: true}},
		{Name: "sensors", Options: Options{Subject: "sensors.>", AllowWildcards: true, AllowSubscribeForClient: true, AllowPublishForClient: true}},
		{Name: "plant", Options: Options{Subject: "plant.*.out", AllowSubscribeForClient: true}},
	}
	rpc.Subject = "svc.{method}"
	rpc.Namespaces = []RPCNamespaceConfig{
		{Name: "crm", RPCOptions: RPCOptions{ProxyEnabled: true, ProxyName: "crm"}},
		{Name: "empty"},
	}
}
