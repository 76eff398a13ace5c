package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// The claims are walked in place instead of decoded into a map or a struct: encoding/json matches names without regard to
// case, so that "SUB" would stand for "sub", and a map costs 20 allocations where 3 will do.

// validObject tells whether p is one JSON object in UTF-8. Only such bytes may be given to the functions below.
func validObject(p []byte) bool {
	return utf8.Valid(p) && json.Valid(p) && bytes.HasPrefix(bytes.TrimLeft(p, " \t\r\n"), []byte("{"))
}

// eachMember calls f with each name (unquoted) and value (raw, not null) of the JSON object p. Names that occur twice come
// twice: RFC 7519, 4 lets the last one win. name and value alias p.
func eachMember(p []byte, f func(name, value []byte) error) error {
	i := skipSpace(p, 0) + 1
	for {
		i = skipSpace(p, i)
		if p[i] == ',' {
			i = skipSpace(p, i+1)
		}
		if p[i] == '}' {
			return nil
		}
		end := skipValue(p, i)
		name := unquote(p[i:end])
		i = skipSpace(p, skipSpace(p, end)+1)
		end = skipValue(p, i)
		if value := p[i:end]; value[0] != 'n' {
			if err := f(name, value); err != nil {
				return err
			}
		}
		i = end
	}
}

// eachElement calls f with each element of the JSON array p.
func eachElement(p []byte, f func(value []byte) error) error {
	for i := 1; ; {
		i = skipSpace(p, i)
		if p[i] == ',' {
			i = skipSpace(p, i+1)
		}
		if p[i] == ']' {
			return nil
		}
		end := skipValue(p, i)
		if err := f(p[i:end]); err != nil {
			return err
		}
		i = end
	}
}

func skipSpace(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\t' || p[i] == '\n' || p[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the end of the value that starts at i. It does not recurse: depth is the sender's choice.
func skipValue(p []byte, i int) int {
	depth := 0
	for ; i < len(p); i++ {
		switch p[i] {
		case '"':
			i = skipString(p, i) - 1
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case ',', ':', ' ', '\t', '\n', '\r':
			continue
		default:
			i = skipScalar(p, i) - 1
		}
		if depth <= 0 {
			return i + 1
		}
	}
	return i
}

func skipString(p []byte, i int) int {
	for i++; p[i] != '"'; i++ {
		if p[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func skipScalar(p []byte, i int) int {
	for i < len(p) && bytes.IndexByte([]byte(",:]} \t\r\n"), p[i]) < 0 {
		i++
	}
	return i
}

// unquote returns the text of a JSON string; an alias of raw where nothing is escaped.
func unquote(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil
	}
	return []byte(s)
}

// text decodes a value that must be a string.
func text(raw []byte) (string, error) {
	if raw[0] != '"' {
		return "", refuse(ReasonClaims)
	}
	return string(unquote(raw)), nil
}

// base64Text decodes a value that must be a string of standard base64 (b64info, b64data).
func base64Text(raw []byte) ([]byte, error) {
	s, err := text(raw)
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, refuse(ReasonClaims)
	}
	return b, nil
}

// rawJSON copies a value for later use inside JSON messages, where a line break would end the message.
//
// Source: centrifuge-protocol.md, 2.1.
func rawJSON(raw []byte) []byte {
	if bytes.ContainsAny(raw, "\r\n") {
		var b bytes.Buffer
		if json.Compact(&b, raw) == nil {
			return b.Bytes()
		}
	}
	return bytes.Clone(raw)
}

// seconds decodes a NumericDate: unix seconds, fractions allowed (Python makes them) and dropped downwards.
//
// Source: RFC 7519, 2.
func seconds(raw []byte) (int64, error) {
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil && n > -latestDate && n < latestDate {
		return n, nil
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !(math.Abs(f) < latestDate) || raw[0] == '"' {
		return 0, refuse(ReasonClaims)
	}
	return int64(math.Floor(f)), nil
}

// latestDate bounds dates (the year 31,690,000), so that sums with durations cannot overflow.
const latestDate = 1e15

// boolean decodes true or false.
func boolean(raw []byte) (bool, error) {
	if raw[0] != 't' && raw[0] != 'f' {
		return false, refuse(ReasonClaims)
	}
	return raw[0] == 't', nil
}
