package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"throng/server/auth"
	"throng/server/channel"
)

// complete fills in what the table leaves empty because it depends on the machine or on other options.
func (c *Config) complete(getenv func(string) string) error {
	if c.AdminAddr == "off" {
		c.AdminAddr = ""
	}
	if c.NodeID == "" {
		host, _ := os.Hostname() // without a host name the random letters must do
		c.NodeID = makeNodeID(host, rand.Text())
	}
	if c.MaxFrame == 0 {
		c.MaxFrame = c.MaxMessage
	}
	if c.DataDir != "" || !c.Embedded() || c.failed["nats-url"] {
		return nil
	}
	cache := getenv("XDG_CACHE_HOME") // as os.UserCacheDir finds it
	if home := getenv("HOME"); cache == "" && home != "" {
		cache = filepath.Join(home, ".cache")
	}
	if filepath.IsAbs(cache) {
		c.DataDir = filepath.Join(cache, "throng")
		return nil
	}
	if c.NATSConfig != "" { // that file may name its own store
		return nil
	}
	return &configError{c.Origin("data-dir"), "", "has no default, because neither XDG_CACHE_HOME nor HOME is an absolute path",
		"give --data-dir, or --nats-url to use an existing NATS"}
}

const maxNodeID = 64 // bytes; a NATS subject token and a metric label, read by people

// makeNodeID joins the first label of a host name and six characters of random.
func makeNodeID(host, random string) string {
	host, _, _ = strings.Cut(host, ".")
	host = regexp.MustCompile(`[^A-Za-z0-9_-]+`).ReplaceAllString(host, "-")
	host = strings.Trim(host[:min(len(host), maxNodeID-7)], "-")
	id := strings.ToLower(random[:6])
	if host == "" {
		return "node-" + id
	}
	return host + "-" + id
}

// conflict is one rule about several options. It is skipped when one of them could not be read.
type conflict struct {
	about []string // the first is the one to complain about
	check func(c *Config) *misfit
}

var conflicts = []conflict{
	{[]string{"admin-addr", "addr"}, func(c *Config) *misfit {
		if c.AdminAddr != c.Addr || strings.HasSuffix(c.Addr, ":0") {
			return nil
		}
		return &misfit{"is also the public address", "give another port, such as 127.0.0.1:9090"}
	}},
	{[]string{"allowed-origins"}, func(c *Config) *misfit {
		if len(c.AllowedOrigins) < 2 || !strings.Contains(","+strings.Join(c.AllowedOrigins, ",")+",", ",*,") {
			return nil
		}
		return &misfit{"names origins beside *, which allows all", "keep either * or the names"}
	}},
	{[]string{"nats-config", "nats-url"}, func(c *Config) *misfit {
		return clash(c.NATSConfig != "" && !c.Embedded(), "is for the embedded server, but --nats-url uses another", "drop one of the two")
	}},
	{[]string{"nats-listen", "nats-url"}, func(c *Config) *misfit {
		return clash(c.NATSListen != "" && !c.Embedded(), "is for the embedded server, but --nats-url uses another", "drop one of the two")
	}},
	{[]string{"nats-listen", "nats-config"}, func(c *Config) *misfit {
		return clash(c.NATSListen != "" && c.NATSConfig != "", "is set beside --nats-config", "put listen: into that file instead")
	}},
	{[]string{"nats-creds", "nats-url", "nats-config"}, func(c *Config) *misfit {
		return clash(c.NATSCreds != "" && c.Embedded() && c.NATSConfig == "", "is only used with --nats-url or --nats-config", "give one of them, or drop it")
	}},
	{[]string{"max-frame", "max-message"}, func(c *Config) *misfit {
		return clash(c.MaxFrame > c.MaxMessage, "is larger than max-message "+sizeText(int64(c.MaxMessage)), "lower it, or raise --max-message")
	}},
	{[]string{"max-message", "nats-url", "nats-config"}, func(c *Config) *misfit {
		return clash(c.Embedded() && c.NATSConfig == "" && c.MaxMessage > embeddedPayload, "is more than the embedded NATS server takes",
			"use at most 1023KiB, or a NATS that takes more: max_payload in a --nats-config, or --nats-url")
	}},
	{[]string{"outbox-limit", "max-message"}, func(c *Config) *misfit {
		need := c.MaxMessage + frameOverhead
		return clash(c.OutboxLimit < need, "cannot hold one message of max-message "+sizeText(int64(c.MaxMessage)),
			fmt.Sprintf("use at least %d, or lower --max-message", need))
	}},
	{[]string{"outbox-limit", "hub-batch-bytes"}, func(c *Config) *misfit {
		return clash(c.OutboxLimit < c.HubBatchBytes, "cannot hold one batch of hub-batch-bytes "+sizeText(int64(c.HubBatchBytes)),
			"raise it, or lower --hub-batch-bytes")
	}},
	{[]string{"publish-queue-bytes", "max-message"}, func(c *Config) *misfit {
		return clash(c.PublishQueueBytes < c.MaxMessage, "cannot hold one message of max-message "+sizeText(int64(c.MaxMessage)),
			"raise it, or lower --max-message")
	}},
	{[]string{"pong-timeout", "ping-interval"}, func(c *Config) *misfit {
		return clash(c.PongTimeout > c.PingInterval, "is longer than ping-interval "+durationText(int64(c.PingInterval)),
			"lower it, or raise --ping-interval: one ping is under way at a time")
	}},
	{[]string{"accept-burst", "accept-rate"}, func(c *Config) *misfit {
		return clash(c.AcceptBurst > 0 && c.AcceptRate == 0, "has no effect without accept-rate", "give --accept-rate, or drop it")
	}},
	{[]string{"trusted-proxies", "address-connections"}, func(c *Config) *misfit {
		return clash(len(c.TrustedProxies) > 0 && c.AddressConnections == 0, "has no effect without address-connections", "set --address-connections, or drop it")
	}},
	{[]string{"http-header-timeout", "http-read-timeout"}, func(c *Config) *misfit {
		return clash(c.HTTPHeaderTimeout > c.HTTPReadTimeout, "is longer than http-read-timeout "+durationText(int64(c.HTTPReadTimeout)),
			"lower it, or raise --http-read-timeout, which covers the head too")
	}},
}

// frameOverhead is what one chat message grows by on its way out: a frame header of 10 bytes, a node id
// and a colon, rounded up.
const frameOverhead = 128

// embeddedPayload is what fits into nats-server's default max_payload of 1 MiB beside the headers of a message.
const embeddedPayload = 1023 * kib

func clash(wrong bool, problem, fix string) *misfit {
	if !wrong {
		return nil
	}
	return &misfit{problem, fix}
}

// crossCheck applies every rule about several options and joins what is wrong.
func (c *Config) crossCheck() error {
	var errs []error
	table := optionTable(c)
rules:
	for _, rule := range conflicts {
		for _, name := range rule.about {
			if c.failed[name] {
				continue rules
			}
		}
		if bad := rule.check(c); bad != nil {
			o := findOption(table, rule.about[0])
			errs = append(errs, &configError{c.Origin(o.name), o.show(o.value.text()), bad.problem, bad.fix})
		}
	}
	errs = append(errs, sectionError(c.ConfigFile, c.History.validate()))
	return errors.Join(errs...)
}

func findOption(table []option, name string) *option {
	for i := range table {
		if table[i].name == name {
			return &table[i]
		}
	}
	panic("no option " + name) // ours: a rule names an option that does not exist
}

func nonEmpty(text string) *misfit {
	return clash(text == "", "is empty", "give a value, or leave it out")
}

func hostPort(text string) *misfit {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return &misfit{"is not host:port", "write :8080 for all addresses, or 127.0.0.1:8080; IPv6 in brackets, [::1]:8080"}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return &misfit{"has no port number", "end it with a port from 1 to 65535, or 0 for any free one"}
	}
	if strings.ContainsAny(host, " /@") {
		return &misfit{"has a host that is no name or address", "write it without scheme and path, such as 127.0.0.1:8080"}
	}
	return nil
}

func hostPortOrOff(text string) *misfit {
	if text == "off" {
		return nil
	}
	return hostPort(text)
}

func hostPortOrEmpty(text string) *misfit {
	if text == "" {
		return nil
	}
	return hostPort(text)
}

var (
	nodeIDPattern = regexp.MustCompile(`^[A-Za-z0-9_-]*$`)
	prefixPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	tokenPattern  = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // RFC 9110, 5.6.2
)

func nodeID(text string) *misfit {
	if len(text) > maxNodeID {
		return &misfit{fmt.Sprintf("is %d bytes long", len(text)), "use at most 64"}
	}
	return clash(!nodeIDPattern.MatchString(text), "has characters that no NATS subject token should have", "use letters, digits, - and _ only")
}

func natsPrefix(text string) *misfit {
	if len(text) > 64 {
		return &misfit{fmt.Sprintf("is %d bytes long", len(text)), "use at most 64"}
	}
	if !prefixPattern.MatchString(text) {
		return &misfit{"is no NATS subject", "use letters, digits, - and _, with dots between tokens"}
	}
	first, _, _ := strings.Cut(text, ".")
	return clash(first == "_INBOX", "is NATS's own", "use another name")
}

func httpToken(text string) (string, *misfit) {
	return text, clash(!tokenPattern.MatchString(text), "has characters that no subprotocol may have", "use letters, digits, - . and _, with commas between names")
}

// addressPrefix accepts an IP address or a CIDR prefix.
func addressPrefix(text string) (string, *misfit) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		var addr netip.Addr
		if addr, err = netip.ParseAddr(text); err == nil {
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
	}
	if err != nil || prefix.Addr().Zone() != "" || prefix.Addr().Is4In6() {
		return "", &misfit{"has an entry that is no address and no CIDR prefix", "write 10.0.0.7, 10.0.0.0/8 or fd00::/8"}
	}
	return prefix.Masked().String(), nil
}

// prefixList is what addressPrefix let through.
func prefixList(texts []string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// webOrigin accepts what auth.NewOrigins does: *, scheme://host[:port], and patterns of them.
func webOrigin(text string) (string, *misfit) {
	_, err := auth.NewOrigins([]string{text})
	if err == nil {
		return text, nil
	}
	fix := err.Error()
	if fe, is := errors.AsType[*channel.FieldError](err); is {
		fix = fe.Fix
	}
	return "", &misfit{"has an entry that " + strings.TrimSuffix(fix, "."), "see --allowed-origins in -h"}
}

// natsURL accepts a NATS server address and adds the scheme it may lack.
func natsURL(text string) (string, *misfit) {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return "", &misfit{"has an entry that is no URL", "write nats://host:4222"}
	}
	switch u.Scheme {
	case "nats", "tls", "ws", "wss":
		return text, nil
	}
	return "", &misfit{"has scheme " + strconv.Quote(u.Scheme), "use nats, tls, ws or wss"}
}

// redactURL hides what stands before the @ of each URL in text: a password, or a token in the user's
// place. Whatever it cannot take apart it hides rather than shows.
func redactURL(text string) string {
	parts := strings.Split(text, "://")
	for i, part := range parts {
		if at := strings.LastIndexByte(part, '@'); at >= 0 {
			parts[i] = "xxxxx" + part[at:]
		}
	}
	return strings.Join(parts, "://")
}
