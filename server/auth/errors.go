package auth

import (
	"errors"

	"throng/server/channel"
)

// What a verification can end with. Every error of Verify and VerifyBlocking is one of these or wraps one.
var (
	// ErrInvalid: not a token of ours, or not for this use. The Reason says why, for metrics; clients are not told.
	ErrInvalid = errors.New("invalid token")
	// ErrExpired: the signature is right, and the token is past exp or before nbf (leeway included).
	ErrExpired = errors.New("token expired")
	// ErrAnonymous: a right connection token without a user, where these are not allowed.
	ErrAnonymous = errors.New("anonymous token not allowed")
	// ErrMismatch: a right subscription token of another user, channel or client.
	ErrMismatch = errors.New("token is for another user, channel or client")
	// ErrNeedsFetch: the key must be fetched first, or checking its signature takes longer than a poller may be held; hand
	// the token to VerifyBlocking. Only Verify returns it.
	ErrNeedsFetch = errors.New("token must be verified off the poller")
	// ErrUnavailable: keys could not be fetched now, so nothing is decided; the client may try again.
	ErrUnavailable = errors.New("token keys not available")
	// ErrNotConfigured: no key of any kind is configured for this kind of token.
	ErrNotConfigured = errors.New("tokens are not configured")
)

// Reason is why a token was not accepted: a closed list, for metric labels.
type Reason uint8

// The reasons.
const (
	ReasonTooLong     Reason = iota // longer than max_token_bytes
	ReasonMalformed                 // not three base64url parts, or a header that is no JSON object
	ReasonAlgorithm                 // none, unknown, or no key for it
	ReasonUnknownKey                // no key of that kid
	ReasonSignature                 // a key was found, the signature is not its
	ReasonIssuer                    // iss is not the configured one
	ReasonAudience                  // aud is not the configured one
	ReasonClaims                    // claims that are no JSON object or have wrong types
	ReasonKind                      // a subscription token used to connect, or the reverse
	ReasonRevoked                   // revoked by id or user
	ReasonExpired                   // past exp
	ReasonNotYet                    // before nbf
	ReasonAnonymous                 // no user, and that is not allowed
	ReasonUnavailable               // keys could not be fetched
	numReasons
)

var reasonNames = [numReasons]string{
	"too_long", "malformed", "algorithm", "unknown_key", "signature", "issuer", "audience", "claims", "kind", "revoked",
	"expired", "not_yet", "anonymous", "unavailable",
}

// String returns the metric label.
func (r Reason) String() string { return reasonNames[r] }

// Reasons returns all reasons, for registering metrics.
func Reasons() []Reason {
	all := make([]Reason, numReasons)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// Error is a refusal: which of the sentinels above it is, and the reason. There is one value per reason, so refusing
// allocates nothing and tells nothing of the token.
type Error struct {
	Reason Reason
	kind   error
}

func (e *Error) Error() string { return e.kind.Error() + ": " + e.Reason.String() }

// Unwrap returns the sentinel, for errors.Is.
func (e *Error) Unwrap() error { return e.kind }

var refusals = func() (all [numReasons]*Error) {
	for r := range all {
		all[r] = &Error{Reason: Reason(r), kind: ErrInvalid}
	}
	all[ReasonExpired].kind, all[ReasonNotYet].kind = ErrExpired, ErrExpired
	all[ReasonAnonymous].kind, all[ReasonUnavailable].kind = ErrAnonymous, ErrUnavailable
	return all
}()

func refuse(r Reason) error { return refusals[r] }

// Operation is the command a token came with: the same failure is told differently.
type Operation uint8

// The four commands with tokens.
const (
	Connect Operation = iota
	Refresh
	Subscribe
	SubRefresh
)

// Code returns what the client is told about err: channel.Allowed for nil, an error reply or a disconnect otherwise.
//
// ErrUnavailable and everything unexpected (a cancelled context) is error 100, temporary, in every operation: the client
// is not at fault and must not be turned away for good because a key server blinked.
//
// Source: centrifuge-protocol.md, 5 (connect), 6 (refresh, sub_refresh), 7.2 (subscribe).
func Code(op Operation, err error) channel.Code {
	expired := [...]channel.Code{channel.TokenExpired, channel.CloseConnExpired, channel.TokenExpired, channel.CloseSubExpired}
	switch {
	case err == nil:
		return channel.Allowed
	case errors.Is(err, ErrExpired):
		return expired[op]
	case errors.Is(err, ErrAnonymous):
		return channel.ClosePermission
	case errors.Is(err, ErrMismatch):
		return channel.CloseInvalidToken
	case errors.Is(err, ErrInvalid), errors.Is(err, ErrNotConfigured):
		if op == Subscribe {
			return channel.PermissionDenied
		}
		return channel.CloseInvalidToken
	}
	return channel.Internal
}
