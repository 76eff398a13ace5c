// Package auth decides who a client is: it verifies connection and subscription tokens (JWT), makes tokens for trying
// things out, and checks where a browser comes from (Origin).
//
// It does not decide what a user may do (package channel), ask the application backend (proxies), hold sessions, or read
// configuration files. Nothing here opens a socket but the fetch of a JWKS endpoint.
//
// # How a token is judged
//
// Cheapest and safest first: length, shape, header, key, signature, and only then the claims. Nothing of the payload is
// parsed before a configured key has signed it, with one exception that is unavoidable and fenced: where the JWKS URL is a
// template over groups of the iss and aud claims, these two are read early, matched whole against the configured
// expressions, and what is put into the URL is limited to letters, digits and "._~-".
//
// A key knows the algorithms it may be used with (an RSA key RS*, a P-256 key ES256, a secret HS*), so an algorithm named
// by the token can only choose among keys of its own kind: "none" has no keys at all, and a public key never serves as a
// secret. Headers that carry or point to keys (jwk, jku, x5c, x5u) are not read; a token with crit is refused.
//
// # Libraries
//
// Signatures are checked by golang-jwt/jwt's signing methods and keys of a JWKS are read by MicahParks/jwkset: both well
// kept. Their ready-made flows are not used, because jwt.Parser decodes the claims before it checks the signature, and
// because keyfunc and jwkset's HTTP storage key by kid alone (one tenant's key would open another's door), accept
// symmetric keys from a JWKS, reject a whole set for one bad key, read bodies without bound, and fetch in the caller's
// goroutine, one fetch per unknown kid, with nothing remembered about kids that do not exist.
//
// # Goroutines and ownership
//
// Verify never blocks and may be called from pollers; VerifyBlocking may wait for one JWKS fetch or compute for
// milliseconds, and belongs on the requests pool. A JWKS source runs at most one fetch at a time, in a goroutine of its own with a timeout; Tokens.Close
// ends them all and waits. Keys are compiled into an immutable keyring behind an atomic pointer: a reload swaps the pointer
// and disturbs no verification under way.
//
// Tokens and secrets never appear in errors, logs or metrics of this package.
//
// Source: centrifuge-protocol.md, 6, 7 and 1.2; RFC 7515, 7517, 7518, 7519, 8037; reliability.md, S3, S4, S17.
package auth
