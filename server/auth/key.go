package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// algorithm is one of the signature algorithms this node knows; the zero value is none of them.
type algorithm uint8

const (
	unknownAlgorithm algorithm = iota
	hs256
	hs384
	hs512
	rs256
	rs384
	rs512
	es256
	es384
	es512
	edDSA
	numAlgorithms
)

// methods holds the library's implementation of each algorithm. "none" is not among them.
//
// Source: RFC 7518, 3.1; RFC 8037, 3.1.
var methods = [numAlgorithms]jwt.SigningMethod{
	hs256: jwt.SigningMethodHS256, hs384: jwt.SigningMethodHS384, hs512: jwt.SigningMethodHS512,
	rs256: jwt.SigningMethodRS256, rs384: jwt.SigningMethodRS384, rs512: jwt.SigningMethodRS512,
	es256: jwt.SigningMethodES256, es384: jwt.SigningMethodES384, es512: jwt.SigningMethodES512,
	edDSA: jwt.SigningMethodEdDSA,
}

// parseAlgorithm reads an alg value. Names are case-sensitive (RFC 7515, 4.1.1).
func parseAlgorithm(name []byte) algorithm {
	for a := hs256; a < numAlgorithms; a++ {
		if string(name) == methods[a].Alg() {
			return a
		}
	}
	return unknownAlgorithm
}

func (a algorithm) symmetric() bool { return a == hs256 || a == hs384 || a == hs512 }

// key is a verification key together with the algorithms it may be used with; nothing else can use it.
type key struct {
	material   any // as golang-jwt wants it: []byte, *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey
	algorithms []algorithm
	slow       bool // a verification, also of a forgery, takes longer than a poller may be held
}

// verify tells whether signature is that of signed under this key by a.
func (k key) verify(a algorithm, signed string, signature []byte) bool {
	return slices.Contains(k.algorithms, a) && methods[a].Verify(signed, signature, k.material) == nil
}

// checkAny tells whether one of keys has signed t: nil, a signature refusal, or ErrNeedsFetch where that takes too long to
// find out inline.
func (t *parsedToken) checkAny(keys []key, inline bool) error {
	for _, k := range keys {
		if inline && k.slow && slices.Contains(k.algorithms, t.algorithm) {
			return ErrNeedsFetch
		}
		if k.verify(t.algorithm, t.signed, t.signature) {
			return nil
		}
	}
	return refuse(ReasonSignature)
}

func secretKey(secret Secret) key {
	return key{material: []byte(secret), algorithms: []algorithm{hs256, hs384, hs512}}
}

// Bounds of RSA keys: less is broken, more takes several milliseconds.
const minRSABits, maxRSABits = 2048, 8192

// Keys from here on are slow: RSA beyond 4096 bits and the curves above P-256 take 0.5 to 3 ms, the others below 0.1
// (0.4 for RSA 4096), on the machine of bench_test.go.
const slowRSABits = 4097

// publicKey binds a public key to its algorithms: an ECDSA key to the one of its curve (RFC 7518, 3.4).
func publicKey(material any) (key, error) {
	switch k := material.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return key{}, fmt.Errorf("is an RSA key of %d bits: use one of %d to %d", bits, minRSABits, maxRSABits)
		}
		return key{k, []algorithm{rs256, rs384, rs512}, k.N.BitLen() >= slowRSABits}, nil
	case *ecdsa.PublicKey:
		curves := map[elliptic.Curve]algorithm{elliptic.P256(): es256, elliptic.P384(): es384, elliptic.P521(): es512}
		a, ok := curves[k.Curve]
		if !ok {
			return key{}, errors.New("is an ECDSA key of an unknown curve: use P-256, P-384 or P-521")
		}
		return key{k, []algorithm{a}, a != es256}, nil
	case ed25519.PublicKey:
		return key{k, []algorithm{edDSA}, false}, nil
	}
	return key{}, fmt.Errorf("is a key of type %T, which signs no tokens", material)
}

// maxStaticKeys bounds how many keys of one kind a token is tried with.
const maxStaticKeys = 4

// parsePEM reads one or more public keys or certificates. want is the first algorithm of the kind that belongs here.
func parsePEM(text string, want algorithm, kind string) ([]key, error) {
	var keys []key
	for rest := []byte(text); ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		material, err := parseBlock(block)
		if err != nil {
			return nil, err
		}
		k, err := publicKey(material)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(k.algorithms, want) && (want != es256 || k.algorithms[0] < es256 || k.algorithms[0] > es512) {
			return nil, fmt.Errorf("holds a key of type %T: put the %s public key here", material, kind)
		}
		keys = append(keys, k)
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("is no PEM text: it must start with -----BEGIN PUBLIC KEY-----; in YAML use a | block")
	case len(keys) > maxStaticKeys:
		return nil, fmt.Errorf("holds %d keys: keep at most %d, or use a JWKS endpoint", len(keys), maxStaticKeys)
	}
	return keys, nil
}

// parseBlock reads a PKIX or PKCS #1 public key or a certificate.
func parseBlock(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		material, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("is a broken public key: export it again")
		}
		return material, nil
	case "RSA PUBLIC KEY":
		material, err := x509.ParsePKCS1PublicKey(block.Bytes)
		if err != nil {
			return nil, errors.New("is a broken RSA public key: export it again")
		}
		return material, nil
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("is a broken certificate: export it again")
		}
		return cert.PublicKey, nil
	}
	return nil, fmt.Errorf("holds a PEM block %q: put the public key here, and keep the private one where tokens are made", block.Type)
}
