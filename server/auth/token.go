package auth

import (
	"encoding/base64"
	"strings"
)

// Bounds of the parts of a token that are read before the signature is checked.
const (
	maxHeaderBytes    = 4 << 10 // encoded; real ones have 30 to 200 bytes
	maxSignatureBytes = 2 << 10 // encoded; RSA 8192 has 1,366
	maxKeyID          = 256     // a URL or a thumbprint fits
)

// base64url of RFC 7515, 2, in its one canonical form: without padding and stray bits.
var base64url = base64.RawURLEncoding.Strict()

// parsedToken is a token taken apart, its payload still encoded.
type parsedToken struct {
	algorithm algorithm
	keyID     string
	signed    string // header and payload, as they are signed
	payload   string // encoded
	signature []byte
}

// parseToken reads the compact serialization (RFC 7515, 3.1) up to the point where a key is needed. It costs no more than
// the header, the signature and one look at each byte of the payload.
func parseToken(token string, maxBytes int) (parsedToken, error) {
	if len(token) > maxBytes {
		return parsedToken{}, refuse(ReasonTooLong)
	}
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if !found || len(header) > maxHeaderBytes || len(signature) > maxSignatureBytes || !isBase64url(payload) {
		return parsedToken{}, refuse(ReasonMalformed)
	}
	t := parsedToken{signed: token[:len(header)+1+len(payload)], payload: payload}
	if err := t.parseHeader(header); err != nil {
		return parsedToken{}, err
	}
	var err error
	if t.signature, err = decodePart(signature); err != nil || len(t.signature) == 0 {
		return parsedToken{}, refuse(ReasonMalformed)
	}
	return t, nil
}

// parseHeader reads alg and kid. A token with crit asks for extensions that must be understood, and none are (RFC 7515,
// 4.1.11). typ, cty and the headers that carry or point to keys are not read.
func (t *parsedToken) parseHeader(header string) error {
	p, err := decodePart(header)
	if err != nil || !validObject(p) {
		return refuse(ReasonMalformed)
	}
	return eachMember(p, func(name, value []byte) error {
		switch string(name) {
		case "alg":
			if value[0] != '"' {
				return refuse(ReasonMalformed)
			}
			t.algorithm = parseAlgorithm(unquote(value))
		case "kid":
			if value[0] != '"' || len(value) > maxKeyID {
				return refuse(ReasonMalformed)
			}
			t.keyID = string(unquote(value))
		case "crit":
			return refuse(ReasonMalformed)
		}
		return nil
	})
}

// decodePart decodes base64url. The standard decoder skips line breaks, which would give one token many spellings.
func decodePart(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, refuse(ReasonMalformed)
	}
	return base64url.DecodeString(s)
}

func isBase64url(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

func (t *parsedToken) decodePayload() ([]byte, error) {
	p, err := decodePart(t.payload)
	if err != nil {
		return nil, refuse(ReasonClaims)
	}
	return p, nil
}
