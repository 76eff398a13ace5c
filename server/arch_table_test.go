package main

// Limits of architecture.md, section 9.
const (
	maxFunctionLines = 70
	maxFileLines     = 500
	maxNesting       = 3
	maxParameters    = 5
)

// exceptions are the places where a limit would hurt more than it helps: what the test calls it -> why it
// stays. An exception that is not needed any more is an error too.
var exceptions = map[string]string{}

// layer is one row of the import table: what a package may import besides the standard library. A name that
// ends in /... covers what is below it. Tests may import anything.
type layer struct {
	may   []string
	never []string // packages of the standard library
	calm  bool     // may not start goroutines
}

var (
	noIO      = []string{"net", "net/http", "os", "os/exec", "syscall", "log", "log/slog", "database/sql"}
	noIOClock = append([]string{"time", "math/rand", "math/rand/v2"}, noIO...)

	protocolParts = []string{"throng/server/hub", "throng/server/session", "throng/server/auth", "throng/server/channel", "throng/server/wire"}
)

// layers is the import table of architecture.md, section 1. A directory without a row belongs to the nearest
// one above it; arrows only point down, and main is the one place where packages meet.
var layers = map[string]layer{
	"server": {may: []string{
		"throng/server/...", "throng/broker", "throng/broker/doctor", "github.com/nats-io/nats-server/v2/server", "github.com/nats-io/nats.go/...",
		"github.com/spf13/pflag", "go.yaml.in/yaml/v3", "github.com/pkg/profile", "github.com/prometheus/client_golang/...",
	}},
	"server/wire": {
		may:   []string{"github.com/gobwas/ws", "github.com/centrifugal/protocol", "github.com/segmentio/encoding/..."},
		never: noIOClock, calm: true,
	},
	"server/ws": {may: []string{
		"throng/server/wire", "github.com/gobwas/ws", "golang.org/x/sys/unix", "golang.org/x/time/rate",
		"github.com/lesismal/nbio", "github.com/lesismal/nbio/logging", "github.com/lesismal/nbio/mempool", // the core engine, no more
	}},
	"server/session": {
		may:   []string{"throng/server/wire", "throng/server/hub", "throng/server/history", "throng/server/auth", "throng/server/channel"},
		never: noIO, calm: true,
	},
	"server/members": {may: []string{"throng/server/hub", "throng/server/wire"}, never: noIO},
	"server/hub":     {may: []string{"throng/server/wire"}, never: noIO},
	"server/channel": {
		may:   []string{"throng/server/wire", "go.yaml.in/yaml/v3"},
		never: noIO, calm: true,
	},
	"server/auth": {may: []string{
		"throng/server/wire", "throng/server/channel", "github.com/golang-jwt/jwt/v5", "github.com/MicahParks/keyfunc/v3", "github.com/MicahParks/jwkset",
		"golang.org/x/time/rate",
	}},
	"server/history":  {may: []string{"throng/server/hub", "throng/server/wire"}, never: noIO},
	"server/livechat": {may: []string{"throng/server/hub", "throng/server/wire"}, never: noIO},
	"server/httpapi":  {may: protocolParts},
	"server/proxy":    {may: []string{"throng/server/auth", "throng/server/channel"}},
	"server/stream":   {may: protocolParts},
	"server/game":     {may: protocolParts},
	"server/demo":     {may: []string{"throng/server/auth", "throng/server/channel", "golang.org/x/time/rate"}, calm: true},
	"server/web":      {},
	"server/faults":   {}, // tests only
	"server/web/webtest": {may: []string{ // drives a browser for the tests of pages; nothing that ships imports it
		"throng/server/web/...", "github.com/chromedp/chromedp", "github.com/chromedp/cdproto/...",
	}},
	"broker": {may: []string{
		"throng/broker/...", "github.com/nats-io/nats.go", "github.com/nats-io/nats.go/...", "github.com/nats-io/nuid",
		"github.com/nats-io/nats-server/v2/server",
	}},
	"broker/doctor": {may: []string{
		"throng/broker", "github.com/nats-io/nats.go", "github.com/nats-io/nats.go/jetstream", "github.com/nats-io/nats-server/v2/server", "golang.org/x/sys/unix",
	}},
	"broker/natstest": {may: []string{ // real NATS processes and bad links for tests; nothing that ships imports it
		"throng/broker/natstest/...", "github.com/nats-io/nats.go", "github.com/nats-io/nats-server/v2/server",
	}},
	"broker/brokertest": {may: []string{"throng/broker", "go.uber.org/goleak"}},
	"bench": {may: []string{
		"throng/bench/...", "throng/server/wire", "github.com/HdrHistogram/hdrhistogram-go", "gonum.org/v1/plot/...",
		"gonum.org/v1/plot", "github.com/nats-io/nats.go", "github.com/nats-io/nuid", "github.com/google/pprof/profile", "golang.org/x/sys/unix", "google.golang.org/protobuf/encoding/protowire", "github.com/spf13/pflag", "github.com/spf13/cobra",
		"github.com/vbauerster/mpb/v8/...", "github.com/vbauerster/mpb/v8",
	}},
}

// bannedNames say nothing about what is inside.
var bannedNames = []string{"util", "utils", "common", "types", "pkg", "helper", "helpers", "misc", "shared", "base"}

// selfEvident are methods of the standard library's smallest interfaces, which need no comment.
var selfEvident = []string{"Error", "String", "Unwrap"}

// fillers are words that a doc comment may lean on without saying anything.
var fillers = []string{
	"a", "an", "the", "is", "are", "of", "for", "to", "and", "or", "in", "this", "that", "it", "its", "returns", "return",
	"represents", "represent", "type", "struct", "interface", "function", "func", "method", "field", "value", "constant",
	"variable", "gets", "get", "sets", "set", "creates", "create", "makes", "new", "holds", "contains", "does",
}
