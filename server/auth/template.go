package auth

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// urlTemplate is a JWKS endpoint URL with places for what named groups of the issuer and audience expressions matched:
// "https://id.example.com/realms/{{realm}}/certs". What is put in comes from a token that is not verified yet, so it can
// only ever become part of the path, or the first label of the host.
type urlTemplate struct {
	text    string
	literal []string // before, between and after the places
	names   []string // of the places
	host    bool     // the first place is the first label of the host
}

var place = regexp.MustCompile(`\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}`)

// parseTemplate takes a URL apart. The empty problem means it is usable.
func parseTemplate(text string) (t urlTemplate, problem string) {
	t.text = text
	last := 0
	for _, m := range place.FindAllStringSubmatchIndex(text, -1) {
		t.literal = append(t.literal, text[last:m[0]])
		t.names = append(t.names, text[m[2]:m[3]])
		last = m[1]
	}
	t.literal = append(t.literal, text[last:])
	if strings.ContainsAny(strings.Join(t.literal, ""), "{}") {
		return t, "has a broken place: write {{name}}"
	}
	u, err := url.Parse(strings.Join(t.literal, "x"))
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return t, "is no URL: write one such as https://id.example.com/.well-known/jwks.json"
	case u.User != nil:
		return t, "holds a user or password: JWKS endpoints are public, drop it"
	case u.Fragment != "":
		return t, "has a fragment (#): drop it"
	}
	return t, t.checkPlaces()
}

func (t *urlTemplate) checkPlaces() string {
	if len(t.names) == 0 {
		return ""
	}
	_, afterScheme, _ := strings.Cut(t.literal[0], "://")
	if afterScheme == "" { // also where the first place stands in the scheme
		t.host = true
		label, _, _ := strings.Cut(t.literal[1], "/")
		inHost := len(t.names) > 1 && label == t.literal[1]
		if !strings.HasPrefix(label, ".") || strings.Count(label, ".") < 2 || inHost || !strings.HasSuffix(t.literal[0], "://") {
			return "lets a token choose the host: a place may only be the first label before a fixed domain, as in https://{{tenant}}.id.example.com/"
		}
		return ""
	}
	if !strings.Contains(afterScheme, "/") {
		return "has a place inside the host: it may be the whole first label or stand in the path"
	}
	return ""
}

// safeValue is what may be put into a URL; a lone dot or two would climb in the path.
var safeValue = regexp.MustCompile(`^[a-zA-Z0-9_~-][a-zA-Z0-9._~-]{0,127}$`)
var safeLabel = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)

// resolve fills the places; false where a value is missing or could change more than its place.
func (t *urlTemplate) resolve(values map[string]string) (string, bool) {
	var b strings.Builder
	for i, name := range t.names {
		value := values[name]
		if !safeValue.MatchString(value) || i == 0 && t.host && !safeLabel.MatchString(value) {
			return "", false
		}
		b.WriteString(t.literal[i])
		b.WriteString(value)
	}
	b.WriteString(t.literal[len(t.literal)-1])
	return b.String(), true
}

// missingGroups returns the places that no group of the expressions fills, and the groups both expressions have.
func (t *urlTemplate) missingGroups(k *keyring) (missing, double []string) {
	var issuer, audience []string
	if k.issuer.expr != nil {
		issuer = k.issuer.expr.SubexpNames()
	}
	if k.audience.expr != nil {
		audience = k.audience.expr.SubexpNames()
	}
	for _, name := range t.names {
		inIssuer, inAudience := slices.Contains(issuer, name), slices.Contains(audience, name)
		if !inIssuer && !inAudience {
			missing = append(missing, name)
		}
		if inIssuer && inAudience {
			double = append(double, name)
		}
	}
	return missing, double
}
