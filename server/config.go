package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Config is everything an operator can set, after flags, environment, file and defaults have been
// merged. Its fields are plain values so that main can hand them to the packages that need them;
// what each one means, its unit, default and reason stand in the table of config_table.go.
// Sizes are bytes. A field whose zero means "choose for me" says so in the table.
type Config struct {
	Addr           string
	AdminAddr      string // empty when switched off with "off"
	NodeID         string // never empty after loadConfig
	AllowedOrigins []string
	Subprotocols   []string
	GreetDelay     time.Duration
	Demo           string // auto, on or off; see DemoOn
	DemoTokenRate  int
	DemoTokenTTL   time.Duration

	NATSURLs            []string // empty: the embedded server
	NATSCreds           string
	NATSConfig          string
	NATSListen          string
	NATSPrefix          string
	DataDir             string // empty only when an existing NATS cluster is used and no directory was given
	PublishQueueCount   int
	PublishQueueBytes   int
	ReaderQueue         int
	InterestLinger      time.Duration
	WideInterest        int // 0: never
	HubShards           int
	HubMailbox          int
	HubBatchBytes       int
	ConfigFile          string
	CheckConfig         bool
	LogLevel            string
	LogFormat           string
	LogRate             int
	Profile             string
	ProfileDir          string
	DrainWindow         time.Duration
	ShutdownTimeout     time.Duration
	GOGC                int
	MemoryLimit         int
	MaxConnections      int
	ReserveFDs          int
	Listeners           int
	ListenBacklog       int
	AcceptRate          int
	AcceptBurst         int
	AddressConnections  int
	IPv6Prefix          int
	TrustedProxies      []string // prefixes, as prefixList reads them
	RetryAfter          time.Duration
	Pollers             int
	HandshakeTimeout    time.Duration
	HeaderBytes         int
	HeaderLines         int
	MaxMessage          int
	MaxFrame            int // never 0 after loadConfig
	PingInterval        time.Duration
	PongTimeout         time.Duration
	CloseTimeout        time.Duration
	OutboxLimit         int
	TCPUserTimeout      time.Duration
	SocketSendBuffer    int
	SocketReceiveBuffer int
	HTTPMaxConnections  int
	HTTPHeaderTimeout   time.Duration
	HTTPReadTimeout     time.Duration
	HTTPWriteTimeout    time.Duration
	HTTPIdleTimeout     time.Duration

	Sections // of the file only

	origins map[string]origin // option name -> where its value came from; absent = default
	failed  map[string]bool   // options whose value could not be read
	given   map[string]bool   // sections that the file has
}

// Embedded reports whether this node runs its own NATS server.
func (c *Config) Embedded() bool { return len(c.NATSURLs) == 0 }

// Origin says where an option's value came from, spelled as the operator gave it: "--addr",
// "THRONG_ADDR", "throng.yaml:3: addr", or "--addr (default)". For errors that are found only
// later, such as a port that is taken.
func (c *Config) Origin(name string) string {
	if o, given := c.origins[name]; given {
		return o.field
	}
	return "--" + name + " (default)"
}

// origin is one place a value was given in.
type origin struct {
	field string // as the operator spelled it
	text  string
}

// configError is one wrong setting: which one as it was given, its value, what is wrong, what to do.
type configError struct {
	Field, Value, Problem, Fix string
}

// Error puts all of it on one line.
func (e *configError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("%s: %s; %s", e.Field, e.Problem, e.Fix)
	}
	return fmt.Sprintf("%s %q: %s; %s", e.Field, e.Value, e.Problem, e.Fix)
}

// configure answers what needs no server (help, version, --check-config) on out and returns nil, nil;
// otherwise it returns the configuration to serve with. Errors are all the settings that are wrong, joined.
func configure(args []string, getenv func(string) string, out io.Writer) (*Config, error) {
	if len(args) > 0 && args[0] == "token" {
		return nil, tokenCommand(args[1:], getenv, out)
	}
	if len(args) == 1 {
		switch args[0] {
		case "version", "--version":
			return nil, printTo(out, versionText())
		case "help":
			return nil, printTo(out, helpText())
		}
	}
	c, err := loadConfig(args, getenv)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return nil, printTo(out, helpText())
	case err != nil:
		return nil, err
	case c.CheckConfig:
		return nil, printTo(out, checkText(c))
	}
	return c, nil
}

func printTo(out io.Writer, text string) error {
	_, err := io.WriteString(out, text)
	return err
}

// loadConfig merges args (without the program's name), the environment and the file named by --config,
// in that order of precedence, over the defaults. A value that a stronger source overrides is checked
// all the same: it would bite when that source goes away. A variable that is set but empty counts as unset.
//
// It returns pflag.ErrHelp for -h, or every wrong setting joined, each a *configError.
func loadConfig(args []string, getenv func(string) string) (*Config, error) {
	c := &Config{origins: map[string]origin{}, failed: map[string]bool{}, given: map[string]bool{}, Sections: defaultSections()}
	table := optionTable(c)
	var errs []error
	for _, o := range table {
		if err := o.value.set(o.def); err != nil {
			panic(fmt.Sprintf("default of %s: %v", o.name, err)) // ours: the table itself is wrong
		}
	}
	flags, err := flagOrigins(args, table)
	if errors.Is(err, pflag.ErrHelp) {
		return nil, err
	}
	errs = append(errs, err)
	env := envOrigins(table, getenv)
	file, err := c.fileOrigins(table, cmpOrigin(flags["config"], env["config"]))
	errs = append(errs, err)
	for _, source := range []map[string][]origin{file, env, flags} {
		errs = append(errs, c.apply(table, source))
	}
	c.Sections.secretsFrom(getenv)
	errs = append(errs, c.complete(getenv), c.crossCheck())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

// cmpOrigin returns the last text of the first source that gave one.
func cmpOrigin(sources ...[]origin) (o origin) {
	for _, s := range sources {
		if len(s) > 0 {
			return s[len(s)-1]
		}
	}
	return o
}

// apply sets every option that source gives. A list given several times is their sum, anything else
// takes the last.
func (c *Config) apply(table []option, source map[string][]origin) error {
	var errs []error
	for _, o := range table {
		given := source[o.name]
		if len(given) == 0 {
			continue
		}
		last := given[len(given)-1]
		if o.list() {
			texts := make([]string, len(given))
			for i, g := range given {
				texts[i] = g.text
			}
			last.text = strings.Trim(strings.Join(texts, ","), ",")
		}
		if bad := o.value.set(last.text); bad != nil {
			c.failed[o.name] = true
			errs = append(errs, &configError{last.field, o.show(last.text), bad.problem, bad.fix})
			continue
		}
		c.origins[o.name] = last
	}
	return errors.Join(errs...)
}

// flagOrigins reads the command line without judging values, so that one run can report all that is wrong.
func flagOrigins(args []string, table []option) (map[string][]origin, error) {
	set := pflag.NewFlagSet("throng", pflag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	set.ParseErrorsAllowlist.UnknownFlagsHandling = pflag.PassUnknownFlagToArgs
	got := map[string][]origin{}
	for _, o := range table {
		f := set.VarPF(&flagTexts{name: o.name, got: got}, o.name, "", "")
		if o.switchOnly() {
			f.NoOptDefVal = "true"
		}
	}
	if err := set.Parse(args); err != nil {
		var missing *pflag.ValueRequiredError
		if errors.As(err, &missing) {
			name := "--" + missing.GetFlag().Name
			return got, &configError{name, "", "has no value", "write " + name + "=VALUE"}
		}
		return got, err
	}
	return got, strayArguments(set.Args(), table)
}

// strayArguments turns what is left of a command line into errors.
func strayArguments(rest []string, table []option) error {
	var unknown, stray []error
	for _, arg := range rest {
		name, isFlag := strings.CutPrefix(arg, "-")
		name, value, _ := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		if isFlag && name != "" {
			unknown = append(unknown, &configError{"--" + name, redactURL(value), "unknown flag", suggest(name, table, "--", "see throng -h")})
			continue
		}
		stray = append(stray, &configError{"argument", redactURL(arg), "not expected", "settings are flags such as --addr=:8080, the only commands are token, doctor, version and help"})
	}
	if len(unknown) > 0 { // a stray argument is then most likely the unknown flag's value
		return errors.Join(unknown...)
	}
	return errors.Join(stray...)
}

// flagTexts collects the texts of one flag; it implements pflag.Value.
type flagTexts struct {
	name string
	got  map[string][]origin
}

// Set keeps text for later.
func (f *flagTexts) Set(text string) error {
	f.got[f.name] = append(f.got[f.name], origin{"--" + f.name, text})
	return nil
}

// String is asked by pflag for defaults it prints; ours are in the table.
func (f *flagTexts) String() string { return "" }

// Type is asked by pflag for its usage text; ours is helpText.
func (f *flagTexts) Type() string { return "text" }

// envOrigins reads the environment variables of the table; the option's own variable wins over an alias.
func envOrigins(table []option, getenv func(string) string) map[string][]origin {
	got := map[string][]origin{}
	for _, o := range table {
		for _, name := range o.envNames() {
			if text := getenv(name); text != "" {
				got[o.name] = []origin{{name, text}}
				break
			}
		}
	}
	return got
}

// readableFile is the check of options that name a file which must exist.
func readableFile(path string) *misfit {
	if path == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return &misfit{"is a directory", "name the file itself"}
	}
	f, err := os.Open(path)
	if err != nil {
		var pathErr *os.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return &misfit{"cannot be read: " + err.Error(), "name a file that this user may read"}
	}
	f.Close()
	return nil
}
