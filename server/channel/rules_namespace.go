package channel

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// namespace checks and compiles one option set; field is its path in the configuration.
func (c *compiler) namespace(name, field string, o Options) *Namespace {
	o.AllowedDeltaTypes = slices.Clone(o.AllowedDeltaTypes)
	if o.PublicationDataFormat == "" {
		o.PublicationDataFormat = c.cfg.PublicationDataFormat
	}
	c.history(field, &o)
	if o.HistoryMetaTTL == 0 {
		o.HistoryMetaTTL = c.cfg.HistoryMetaTTL
	}
	c.permissions(field, &o)
	c.proxies(field, &o)
	if o.SubscriptionType != "" && o.SubscriptionType != "stream" {
		c.fail(field+".subscription_type", quote(o.SubscriptionType), `only "stream" is served: write that, or leave it out`)
	}
	c.reservedNotes(field, &o)
	return &Namespace{
		Name:            name,
		Options:         o,
		regex:           c.regex(field, o.ChannelRegex),
		format:          c.dataFormat(field, o.PublicationDataFormat),
		native:          c.subject(field, &o),
		publishers:      audience{o.AllowPublishForClient, o.AllowPublishForSubscriber, o.AllowPublishForAnonymous},
		presenceReaders: audience{o.AllowPresenceForClient, o.AllowPresenceForSubscriber, o.AllowPresenceForAnonymous},
		historyReaders:  audience{o.AllowHistoryForClient, o.AllowHistoryForSubscriber, o.AllowHistoryForAnonymous},
	}
}

func (c *compiler) dataFormat(field, value string) dataFormat {
	f, ok := formatNames[value]
	if !ok {
		formats := []string{"json", "json_object", "binary"}
		c.fail(field+".publication_data_format", quote(value), `must be json, json_object or binary, or "" for anything but nothing`+didYouMean(value, formats))
	}
	return f
}

func (c *compiler) regex(field, expr string) *regexp.Regexp {
	if expr == "" {
		return nil
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		c.fail(field+".channel_regex", quote(expr), "is no regular expression (RE2): "+strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return nil
	}
	if !strings.HasPrefix(expr, "^") || !strings.HasSuffix(expr, "$") {
		c.note(field+".channel_regex", "may match anywhere in the name; write ^ at its start and $ at its end if it should match the whole")
	}
	return re
}

// history checks the options of streams. They are checked whether or not this node serves history.
func (c *compiler) history(field string, o *Options) {
	c.historyBounds(field, o)
	on := o.HistorySize > 0 && o.HistoryTTL > 0
	needs := []struct {
		field string
		set   bool
	}{
		{"force_recovery", o.ForceRecovery}, {"allow_recovery", o.AllowRecovery},
		{"force_positioning", o.ForcePositioning}, {"allow_positioning", o.AllowPositioning},
		{"auto_cache_recover", o.AutoCacheRecover},
	}
	for _, n := range needs {
		if n.set && !on {
			c.fail(field+"."+n.field, "true", "needs history_size and history_ttl: set both, or drop it")
		}
	}
	if m := o.HistoryStorage; m != "" && m != "file" && m != "memory" {
		c.fail(field+".history_storage", quote(m), "must be file or memory"+didYouMean(m, []string{"file", "memory"}))
	}
	if n := o.HistoryReplicas; n < 0 || n > 5 || n > 0 && n%2 == 0 {
		c.fail(field+".history_replicas", fmt.Sprint(n), "must be 1, 3 or 5, or 0 for what the history section says")
	}
	if n := o.HistoryMaxBytes; n < 0 {
		c.fail(field+".history_max_bytes", fmt.Sprint(n), "must be a number of bytes, or 0 for what the history section says")
	}
	if m := o.ForceRecoveryMode; m != "" && m != "stream" && m != "cache" {
		c.fail(field+".force_recovery_mode", quote(m), "must be stream or cache"+didYouMean(m, []string{"stream", "cache"}))
	}
	if o.AutoCacheRecover && o.ForceRecoveryMode != "cache" {
		c.fail(field+".auto_cache_recover", "true", "needs force_recovery_mode: cache")
	}
	for i, d := range o.AllowedDeltaTypes {
		if d != "fossil" {
			c.fail(fmt.Sprintf("%s.allowed_delta_types[%d]", field, i), quote(d), "the one delta type is fossil")
		}
	}
}

func (c *compiler) historyBounds(field string, o *Options) {
	const mostEntries = 1_000_000
	switch {
	case o.HistorySize < 0 || o.HistorySize > mostEntries:
		c.fail(field+".history_size", fmt.Sprint(o.HistorySize), "must be 0 (off) to 1000000 publications")
	case o.HistorySize > 0 && o.HistoryTTL == 0:
		c.fail(field+".history_ttl", "0", `history_size needs it too: write how long publications are kept, such as "10m"`)
	case o.HistorySize == 0 && o.HistoryTTL > 0:
		c.fail(field+".history_size", "0", "history_ttl needs it too: write how many publications are kept, such as 100")
	}
	for _, d := range []struct {
		field string
		value time.Duration
	}{{"history_ttl", o.HistoryTTL}, {"history_meta_ttl", o.HistoryMetaTTL}} {
		if d.value < 0 || d.value%time.Second != 0 {
			c.fail(field+"."+d.field, d.value.String(), "must be whole seconds, not negative")
		}
	}
	meta, metaField := o.HistoryMetaTTL, field+".history_meta_ttl"
	if meta == 0 {
		meta, metaField = c.cfg.HistoryMetaTTL, "channel.history_meta_ttl"
	}
	if o.HistoryTTL > meta {
		c.fail(field+".history_ttl", o.HistoryTTL.String(), "must not be longer than "+metaField+" ("+meta.String()+"): positions must outlive publications")
	}
}

// permissions notes what has no effect: easy to write, and easy to believe at work.
func (c *compiler) permissions(field string, o *Options) {
	alone := []struct {
		option, needs string
		lonely        bool
	}{
		{"allow_subscribe_for_anonymous", "allow_subscribe_for_client", o.AllowSubscribeForAnonymous && !o.AllowSubscribeForClient},
		{"allow_publish_for_anonymous", "allow_publish_for_client or _subscriber", o.AllowPublishForAnonymous && !o.AllowPublishForClient && !o.AllowPublishForSubscriber},
		{"allow_presence_for_anonymous", "allow_presence_for_client or _subscriber", o.AllowPresenceForAnonymous && !o.AllowPresenceForClient && !o.AllowPresenceForSubscriber},
		{"allow_history_for_anonymous", "allow_history_for_client or _subscriber", o.AllowHistoryForAnonymous && !o.AllowHistoryForClient && !o.AllowHistoryForSubscriber},
		{"force_push_join_leave", "join_leave", o.ForcePushJoinLeave && !o.JoinLeave},
		{"allow_wildcards", "subject", o.AllowWildcards && o.Subject == ""},
	}
	for _, a := range alone {
		if a.lonely {
			c.note(field+"."+a.option, "has no effect without "+a.needs)
		}
	}
	if o.AllowUserLimitedChannels && c.cfg.UserBoundary == "" {
		c.note(field+".allow_user_limited_channels", "has no effect while channel.user_boundary is empty")
	}
}

// defaultProxy is the proxy a hook uses where no name is given.
const defaultProxy = "default"

func (c *compiler) proxies(field string, o *Options) {
	hooks := []struct {
		hook string
		on   bool
		name *string
	}{
		{"subscribe_proxy", o.SubscribeProxyEnabled, &o.SubscribeProxyName},
		{"publish_proxy", o.PublishProxyEnabled, &o.PublishProxyName},
		{"sub_refresh_proxy", o.SubRefreshProxyEnabled, &o.SubRefreshProxyName},
		{"subscribe_stream_proxy", o.SubscribeStreamProxyEnabled && c.env.StreamProxy, &o.SubscribeStreamProxyName},
	}
	for _, h := range hooks {
		if *h.name == "" && h.on {
			*h.name = defaultProxy
		}
		if *h.name != "" && (h.on || *h.name != defaultProxy) {
			c.proxyName(field+"."+h.hook+"_name", *h.name)
		}
	}
	if o.SubscribeStreamProxyEnabled && (o.SubscribeProxyEnabled || o.PublishProxyEnabled || o.SubRefreshProxyEnabled) {
		c.fail(field+".subscribe_stream_proxy_enabled", "true", "excludes subscribe_proxy, publish_proxy and sub_refresh_proxy: switch off one or the other")
	}
}

func (c *compiler) proxyName(field, name string) {
	if !slices.Contains(c.env.ProxyNames, name) {
		c.fail(field, quote(name), "no proxy of that name is configured"+didYouMean(name, c.env.ProxyNames))
	}
}

// subject checks and compiles a NATS-native namespace.
func (c *compiler) subject(field string, o *Options) *subjectMap {
	if o.Subject == "" {
		return nil
	}
	m, problem := newSubjectMap(o.Subject)
	if problem != "" {
		c.fail(field+".subject", quote(o.Subject), problem+`: write a pattern such as "sensors.>"`)
		return nil
	}
	if c.touchesOwn(m.tokens) {
		c.fail(field+".subject", quote(o.Subject), "touches this node's own subjects "+quote(c.env.SubjectPrefix+".>")+": choose other subjects")
	}
	excluded := []struct {
		option string
		set    bool
		why    string
	}{
		{"history_size", o.HistorySize != 0, "history is kept for Throng's own subjects only"},
		{"history_ttl", o.HistoryTTL != 0, "history is kept for Throng's own subjects only"},
		{"join_leave", o.JoinLeave, "joins and leaves would appear as messages on subjects of others"},
	}
	for _, e := range excluded {
		if e.set {
			c.fail(field+"."+e.option, "", "cannot go with subject "+quote(o.Subject)+" ("+e.why+"): drop one of the two")
		}
	}
	return m
}

func (c *compiler) touchesOwn(tokens []string) bool {
	return subjectsOverlap(tokens, append(strings.Split(c.env.SubjectPrefix, "."), ">"))
}

func (c *compiler) rpcTargets() {
	c.rules.rpcWithout = c.rpcTarget("rpc", c.rpc.RPCOptions)
	for i, ns := range c.rpc.Namespaces {
		field := fmt.Sprintf("rpc.namespaces[%d]", i)
		b := c.rpc.NamespaceBoundary
		switch {
		case !namePattern.MatchString(ns.Name):
			c.fail(field+".name", quote(ns.Name), "must be 1 to 64 of a-z A-Z 0-9 _ - and dot")
		case c.rules.rpcNamespaces[ns.Name] != nil:
			c.fail(field+".name", quote(ns.Name), "is there twice: merge the two entries")
		case b == "" || strings.Contains(ns.Name, b):
			c.fail(field+".name", quote(ns.Name), "cannot be reached with rpc.namespace_boundary "+quote(b)+": rename it or change the boundary")
		}
		c.rules.rpcNamespaces[ns.Name] = c.rpcTarget(field, ns.RPCOptions)
	}
}

func (c *compiler) rpcTarget(field string, o RPCOptions) *rpcTarget {
	t := &rpcTarget{}
	if o.ProxyEnabled {
		t.proxy = o.ProxyName
		if t.proxy == "" {
			t.proxy = defaultProxy
		}
		c.proxyName(field+".proxy_name", t.proxy)
	}
	if o.Subject != "" {
		var problem string
		t.before, t.after, problem = compileTemplate(o.Subject)
		switch {
		case problem != "":
			c.fail(field+".subject", quote(o.Subject), problem+`: write a template such as "svc.{method}"`)
			t.before, t.after = "", ""
		case c.touchesOwn(t.pattern()):
			c.fail(field+".subject", quote(o.Subject), "touches this node's own subjects "+quote(c.env.SubjectPrefix+".>")+": choose another")
		case o.ProxyEnabled:
			c.fail(field+".subject", quote(o.Subject), "and proxy_enabled exclude each other: choose who answers")
		}
	}
	c.rules.anyRPC = c.rules.anyRPC || t.proxy != "" || t.before != ""
	return t
}

// overlaps refuses subjects that two owners would share: a message would belong to two channels, or rpc requests, which
// name their user, could be read as publications.
func (c *compiler) overlaps() {
	type owner struct {
		field, subject string
		pattern        []string
		channel        *Namespace
	}
	var all []owner
	add := func(field string, ns *Namespace) {
		if ns != nil && ns.native != nil {
			all = append(all, owner{field, ns.Subject, ns.native.tokens, ns})
			c.rules.native = append(c.rules.native, ns)
		}
	}
	add("channel.without_namespace.subject", c.rules.without)
	for i, ns := range c.cfg.Namespaces {
		add(fmt.Sprintf("channel.namespaces[%d].subject", i), c.rules.namespaces[ns.Name])
	}
	channels := len(all)
	addRPC := func(field, subject string, t *rpcTarget) {
		if t != nil && t.before != "" {
			all = append(all, owner{field: field, subject: subject, pattern: t.pattern()})
		}
	}
	addRPC("rpc.subject", c.rpc.Subject, c.rules.rpcWithout)
	for i, ns := range c.rpc.Namespaces {
		addRPC(fmt.Sprintf("rpc.namespaces[%d].subject", i), ns.Subject, c.rules.rpcNamespaces[ns.Name])
	}
	for i, a := range all {
		for _, b := range all[:min(i, channels)] {
			if subjectsOverlap(a.pattern, b.pattern) && (a.channel == nil || a.channel != b.channel) {
				c.fail(a.field, quote(a.subject), "overlaps "+b.field+" "+quote(b.subject)+": one message would belong to both; separate them")
			}
		}
	}
}
