package web

import (
	"strconv"
	"strings"
)

// prefersGzip reports whether a client that sent these Accept-Encoding fields is to get gzip: it accepts gzip, and
// does not rank an explicitly named identity above it. A client that refuses both gets the plain form, which RFC 9110
// prefers over a 406. Source: RFC 9110, 12.5.3 and 12.4.2.
func prefersGzip(fields []string) bool {
	gzip, identity, wildcard := -1.0, -1.0, -1.0
	for _, field := range fields {
		for item := range strings.SplitSeq(field, ",") {
			coding, params, _ := strings.Cut(item, ";")
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case "gzip", "x-gzip":
				gzip = quality(params)
			case "identity":
				identity = quality(params)
			case "*":
				wildcard = quality(params)
			}
		}
	}
	if gzip < 0 {
		gzip = wildcard
	}
	return gzip > 0 && gzip >= identity
}

// quality reads the weight among an item's parameters: 1 without one, 0 for a malformed one, as a client whose wish
// cannot be read is best served with the plain form.
func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, ok := strings.Cut(param, "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}

// tagListed reports whether If-None-Match names etag, which is strong, or any tag ("*"). The comparison is the weak
// one: a proxy that recompresses turns our tag into a weak one. Source: RFC 9110, 13.1.2 and 8.8.3.2.
func tagListed(fields []string, etag string) bool {
	for _, field := range fields {
		if strings.TrimSpace(field) == "*" {
			return true
		}
		// Our own tags hold no comma, so a tag cut at one inside its quotes cannot become equal to ours.
		for item := range strings.SplitSeq(field, ",") {
			if strings.TrimPrefix(strings.TrimSpace(item), "W/") == etag {
				return true
			}
		}
	}
	return false
}
