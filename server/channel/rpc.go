package channel

import "strings"

// methodSlot is where an rpc subject template takes the method.
const methodSlot = "{method}"

// maxSubject bounds a subject made from a method. NATS allows 4,096 bytes of control line, the reply subject included.
const maxSubject = 1024

// RPCRoute says who answers an rpc: a proxy or the NATS service behind Subject. Exactly one of the two is set.
type RPCRoute struct {
	Proxy   string
	Subject string
}

type rpcTarget struct {
	proxy         string
	before, after string // of the template, around {method}; both empty where there is no template
}

// RPC returns who answers method.
//
// The code is Allowed; MethodNotFound where no rpc is configured at all, the namespace is unknown, or the method cannot be
// a NATS service's; NotAvailable where the namespace has no answerer; CloseBadRequest for an empty method. At most one
// allocation, for Subject.
//
// Source: centrifuge-protocol.md, 12.
func (r *Rules) RPC(method string) (RPCRoute, Code) {
	if method == "" {
		return RPCRoute{}, CloseBadRequest
	}
	if !r.anyRPC {
		return RPCRoute{}, MethodNotFound
	}
	target, rest := r.rpcWithout, method
	if b := r.rpcBoundary; b != "" {
		if before, after, found := strings.Cut(method, b); found {
			target, rest = r.rpcNamespaces[before], after
			if target == nil {
				return RPCRoute{}, MethodNotFound
			}
		}
	}
	switch {
	case target.proxy != "":
		return RPCRoute{Proxy: target.proxy}, Allowed
	case target.before == "":
		return RPCRoute{}, NotAvailable
	case !plainTokens(rest) || len(target.before)+len(rest)+len(target.after) > maxSubject:
		return RPCRoute{}, MethodNotFound
	}
	return RPCRoute{Subject: target.before + rest + target.after}, Allowed
}

// plainTokens tells whether s is one or more literal NATS tokens with dots between.
func plainTokens(s string) bool {
	for {
		token, rest, more := strings.Cut(s, ".")
		if !plainToken(token) {
			return false
		}
		if !more {
			return true
		}
		s = rest
	}
}

// compileTemplate takes an rpc subject template apart. The empty string means it is usable.
func compileTemplate(template string) (before, after, problem string) {
	before, after, found := strings.Cut(template, methodSlot)
	if !found || strings.Contains(after, methodSlot) {
		return "", "", "it needs " + methodSlot + " exactly once"
	}
	if !strings.Contains(before, ".") {
		return "", "", "the method would stand in its first token, which would open all of NATS"
	}
	sample := strings.Split(before+"x"+after, ".")
	for _, token := range sample {
		if !plainToken(token) {
			return "", "", "token " + quote(token) + " is no NATS subject token"
		}
	}
	return before, after, reservedSubject(sample)
}

// pattern returns a subject pattern that covers everything the template can become.
func (t *rpcTarget) pattern() []string {
	literal := t.before[:strings.LastIndexByte(t.before, '.')]
	return append(strings.Split(literal, "."), ">")
}
