package main

import (
	"fmt"
	"slices"
	"strings"
)

const (
	helpWidth  = 100 // columns of a terminal people use
	helpIndent = 38  // where the explanations start: behind the longest flag and its unit
)

const helpHead = `Throng holds very many WebSocket connections and fans messages out between nodes over NATS.

Usage:
  throng [flags]        serve; without flags on :8080, with a NATS server of its own
  throng token          make a token for trying things out (-h)
  throng doctor         say what the configured NATS offers and what is missing (-h)
  throng version        print versions
  throng help, -h       print this

Each setting has one name and three spellings: the flag --max-message=64KiB, the environment variable
THRONG_MAX_MESSAGE=64KiB and the key max-message: 64KiB of the YAML file named by --config. A flag wins
over the environment, that over the file, that over the default in [brackets].
Sizes: 65536, 64KiB, 1MiB, 2GiB. Durations: 300ms, 10s, 1m30s. Lists: commas, or the flag again.
The file alone has the sections client, auth, channel, rpc, proxy, http_api and history; README.md
shows them. Keys may come from THRONG_TOKEN_HMAC_SECRET_KEY and THRONG_API_KEY.
`

// helpText is the answer to -h, made from the option table.
func helpText() string {
	var b strings.Builder
	b.WriteString(helpHead)
	group := ""
	for _, o := range optionTable(&Config{}) {
		if o.group != group {
			group = o.group
			fmt.Fprintf(&b, "\n%s\n", group)
		}
		b.WriteString(helpRow(&o))
	}
	return b.String()
}

func helpRow(o *option) string {
	left := strings.TrimRight("  --"+o.name+" "+o.unit, " ")
	why := o.why
	if o.env != "" {
		why += " Also " + o.env + "."
	}
	switch {
	case o.auto != "":
		why += " [" + o.auto + "]"
	case o.def != "" && !o.switchOnly():
		why += " [" + o.def + "]"
	}
	var b strings.Builder
	for i, line := range wrapText(why, helpWidth-helpIndent) {
		if i > 0 {
			left = ""
		}
		fmt.Fprintf(&b, "%-*s%s\n", helpIndent, left, line)
	}
	return b.String()
}

// wrapText breaks text at spaces into lines of at most width bytes, a longer word standing alone. What
// stands in brackets at the end stays in one piece, and so does the begin of "0 = off".
func wrapText(text string, width int) []string {
	const glue = "\x00"
	text = strings.ReplaceAll(text, "0 = ", "0"+glue+"="+glue)
	words := strings.Fields(text)
	if at := strings.LastIndex(text, " ["); at >= 0 {
		words = append(strings.Fields(text[:at]), text[at+1:])
	}
	var lines []string
	line := ""
	for _, w := range words {
		w = strings.ReplaceAll(w, glue, " ")
		if line != "" && len(line)+1+len(w) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+w, " ")
	}
	return append(lines, line)
}

// checkText is the answer to --check-config: OK, then as YAML what differs from the defaults, with where
// it came from. What may carry a password is shown without.
func checkText(c *Config) string {
	defaults := Config{}
	plain := optionTable(&defaults)
	for _, o := range plain {
		o.value.set(o.def)
	}
	var b strings.Builder
	b.WriteString("OK\n")
	for i, o := range optionTable(c) {
		given, isGiven := c.origins[o.name]
		if !isGiven || o.where == flagOnly || o.value.text() == plain[i].value.text() {
			continue
		}
		from := given.field
		if key := ": " + o.name; strings.HasSuffix(from, key) {
			from = strings.TrimSuffix(from, key)
		}
		fmt.Fprintf(&b, "%s: %s # %s\n", o.name, yamlText(o.show(o.value.text())), from)
	}
	return b.String()
}

// yamlText quotes what a YAML reader would not take as this very text.
func yamlText(text string) string {
	special := func(r rune) bool { return strings.ContainsRune(" #'\"\\{}[]&*!|>%@`", r) || r < ' ' || r > '~' }
	if text == "" || slices.ContainsFunc([]rune(text), special) || strings.HasSuffix(text, ":") {
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	return text
}
