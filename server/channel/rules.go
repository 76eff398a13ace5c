package channel

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Rules is a checked and compiled Config: immutable, shared by all goroutines, replaced as a whole on reload.
type Rules struct {
	maxLength    int
	channelLimit int

	privatePrefix, namespaceBoundary, userBoundary, userSeparator string

	env        Environment
	personal   PersonalChannelConfig
	without    *Namespace
	namespaces map[string]*Namespace
	native     []*Namespace

	anyRPC        bool
	rpcBoundary   string
	rpcWithout    *rpcTarget
	rpcNamespaces map[string]*rpcTarget

	notes []string
}

// Namespace is the compiled option set of one namespace. Read only.
type Namespace struct {
	// Name is "" for the options of names without a namespace.
	Name string
	Options

	regex           *regexp.Regexp
	format          dataFormat
	native          *subjectMap
	publishers      audience
	presenceReaders audience
	historyReaders  audience
}

func (n *Namespace) keepsHistory() bool { return n.HistorySize > 0 && n.HistoryTTL > 0 }

// Native tells whether the namespace is mapped onto NATS subjects of others.
func (n *Namespace) Native() bool { return n.native != nil }

// Namespace returns the options of a namespace by name, "" being those of names without one; nil if there is none.
func (r *Rules) Namespace(name string) *Namespace {
	if name == "" {
		return r.without
	}
	return r.namespaces[name]
}

// Kept returns the namespaces whose publications are kept, in the order of their names; none on a node that serves no history.
// Their HistoryMetaTTL is never 0.
func (r *Rules) Kept() []*Namespace {
	var out []*Namespace
	if r.historyOn(r.without) {
		out = append(out, r.without)
	}
	for _, name := range slices.Sorted(maps.Keys(r.namespaces)) {
		if ns := r.namespaces[name]; r.historyOn(ns) {
			out = append(out, ns)
		}
	}
	return out
}

// ChannelLimit is how many channels a connection may hold; above it a connect ends with CloseChannelLimit.
func (r *Rules) ChannelLimit() int { return r.channelLimit }

// Insecure tells whether the development mode is on.
func (r *Rules) Insecure() bool { return r.env.Insecure }

// Notes returns what the operator should know and is no error: options whose feature this node does not serve, and
// settings that are legal and likely mistaken. One line each, for the log at start and at reload.
func (r *Rules) Notes() []string { return slices.Clone(r.notes) }

// FieldError is one thing wrong with one setting: which, its value, and what to write instead.
type FieldError struct {
	Field string // path, such as channel.namespaces[1].history_ttl
	Value string // as written; left out of the message if empty
	Fix   string // what is wrong and what to do, a sentence
	Line  int    // in the file; 0 = not known
}

func (e *FieldError) Error() string {
	var b strings.Builder
	b.WriteString(e.Field)
	if e.Value != "" {
		b.WriteString(" = " + e.Value)
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, " (line %d)", e.Line)
	}
	return b.String() + ": " + e.Fix
}

func quote(s string) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%.*q...", most, s)
	}
	return fmt.Sprintf("%q", s)
}

// compiler gathers everything that is wrong instead of stopping at the first.
type compiler struct {
	cfg   Config
	rpc   RPCConfig
	env   Environment
	rules *Rules
	errs  []error
}

func (c *compiler) fail(field, value, fix string) {
	c.errs = append(c.errs, &FieldError{Field: field, Value: value, Fix: fix})
}

func (c *compiler) note(field, text string) {
	c.rules.notes = append(c.rules.notes, field+": "+text)
}

// Compile checks the configuration whole and turns it into Rules. The error joins one *FieldError for each thing wrong,
// each naming the field, its value and the fix. cfg is not changed; Rules keeps no reference to its slices.
func Compile(cfg Config, rpc RPCConfig, env Environment) (*Rules, error) {
	if env.SubjectPrefix == "" {
		env.SubjectPrefix = "throng"
	}
	c := &compiler{cfg: cfg, rpc: rpc, env: env, rules: &Rules{
		maxLength:         cfg.MaxLength,
		channelLimit:      cfg.ChannelLimit,
		privatePrefix:     cfg.PrivatePrefix,
		namespaceBoundary: cfg.NamespaceBoundary,
		userBoundary:      cfg.UserBoundary,
		userSeparator:     cfg.UserSeparator,
		env:               env,
		personal:          cfg.PersonalChannel,
		namespaces:        make(map[string]*Namespace, len(cfg.Namespaces)),
		rpcBoundary:       rpc.NamespaceBoundary,
		rpcNamespaces:     make(map[string]*rpcTarget, len(rpc.Namespaces)),
	}}
	c.limits()
	c.separators()
	c.rules.without = c.namespace("", "channel.without_namespace", cfg.WithoutNamespace)
	for i, ns := range cfg.Namespaces {
		field := fmt.Sprintf("channel.namespaces[%d]", i)
		c.namespaceName(field, ns.Name)
		c.rules.namespaces[ns.Name] = c.namespace(ns.Name, field, ns.Options)
	}
	c.personalChannel()
	c.rpcTargets()
	c.overlaps()
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	return c.rules, nil
}

func (c *compiler) limits() {
	// A subject is the prefix, some words and the name, in the worst case escaped to three bytes for one.
	if c.cfg.MaxLength < 1 || c.cfg.MaxLength > 1024 {
		c.fail("channel.max_length", fmt.Sprint(c.cfg.MaxLength), "must be 1 to 1024 bytes, so that names fit NATS subjects; 255 is usual")
	}
	if c.cfg.ChannelLimit < 1 {
		c.fail("channel.channel_limit", fmt.Sprint(c.cfg.ChannelLimit), "must be at least 1 channel per connection; 128 is usual")
	}
	if c.cfg.HistoryMetaTTL < 0 {
		c.fail("channel.history_meta_ttl", c.cfg.HistoryMetaTTL.String(), "must not be negative; 720h is usual")
	}
	c.dataFormat("channel", c.cfg.PublicationDataFormat)
}

func (c *compiler) separators() {
	all := []struct{ field, value string }{
		{"channel.private_prefix", c.cfg.PrivatePrefix},
		{"channel.namespace_boundary", c.cfg.NamespaceBoundary},
		{"channel.user_boundary", c.cfg.UserBoundary},
		{"channel.user_separator", c.cfg.UserSeparator},
	}
	for i, a := range all {
		if a.value == "" {
			continue
		}
		c.separator(a.field, a.value)
		for _, b := range all[:i] {
			if b.value != "" && (strings.Contains(a.value, b.value) || strings.Contains(b.value, a.value)) {
				c.fail(a.field, quote(a.value), "cannot be told from "+b.field+" "+quote(b.value)+": choose another character")
			}
		}
	}
	if c.rpc.NamespaceBoundary != "" {
		c.separator("rpc.namespace_boundary", c.rpc.NamespaceBoundary)
	}
}

func (c *compiler) separator(field, value string) {
	const most = 8
	ok := len(value) <= most
	for i := 0; i < len(value); i++ {
		b := value[i]
		letter := b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z'
		ok = ok && b > ' ' && b <= '~' && !letter
	}
	if !ok {
		c.fail(field, quote(value), `must be 1 to 8 printable ASCII characters other than letters, digits and space, or "" to turn it off`)
	}
}

var namePattern = regexp.MustCompile(`^[-a-zA-Z0-9_.]{1,64}$`)

func (c *compiler) namespaceName(field, name string) {
	boundary := c.cfg.NamespaceBoundary
	switch {
	case !namePattern.MatchString(name):
		c.fail(field+".name", quote(name), "must be 1 to 64 of a-z A-Z 0-9 _ - and dot")
	case c.rules.namespaces[name] != nil:
		c.fail(field+".name", quote(name), "is there twice: merge the two entries")
	case boundary == "":
		c.fail(field+".name", quote(name), "cannot be reached while channel.namespace_boundary is empty: set it, or drop the namespaces")
	case strings.Contains(name, boundary):
		c.fail(field+".name", quote(name), "holds the namespace boundary "+quote(boundary)+": rename it")
	case c.cfg.PrivatePrefix != "" && strings.HasPrefix(name, c.cfg.PrivatePrefix):
		c.fail(field+".name", quote(name), "starts with the private prefix "+quote(c.cfg.PrivatePrefix)+": rename it")
	}
}

func (c *compiler) personalChannel() {
	p := c.cfg.PersonalChannel
	if !p.Enabled {
		return
	}
	const field = "channel.subscribe_to_user_personal_channel"
	if c.cfg.UserBoundary == "" {
		c.fail(field+".enabled", "true", "needs channel.user_boundary, which is empty: set it to \"#\"")
	}
	ns := c.rules.Namespace(p.Namespace)
	if ns == nil {
		c.fail(field+".personal_channel_namespace", quote(p.Namespace), "is no configured namespace"+c.nearestNamespace(p.Namespace))
		return
	}
	if ns.native != nil {
		c.fail(field+".personal_channel_namespace", quote(p.Namespace), "is mapped to NATS subjects: use a namespace of its own")
	}
	if !ns.AllowUserLimitedChannels && (ns.AllowSubscribeForClient || ns.SubscribeProxyEnabled) {
		c.note(field, "namespace "+quote(p.Namespace)+" lets other users subscribe to personal channels; set allow_user_limited_channels there")
	}
}

func (c *compiler) nearestNamespace(name string) string {
	names := make([]string, 0, len(c.cfg.Namespaces))
	for _, ns := range c.cfg.Namespaces {
		names = append(names, ns.Name)
	}
	return didYouMean(name, names)
}

// reservedNotes notes the options of o that are set and whose feature this node does not serve.
func (c *compiler) reservedNotes(field string, o *Options) {
	served := map[string]bool{
		"history": c.env.History, "tags filters": c.env.TagsFilter, "subscribe stream proxies": c.env.StreamProxy,
	}
	v := reflect.ValueOf(o).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		feature, reserved := tag.Lookup("reserved")
		if reserved && !served[feature] && !v.Field(i).IsZero() {
			c.note(field+"."+tag.Get("yaml"), "checked and kept, but this node does not serve "+feature+": it has no effect")
		}
	}
}
