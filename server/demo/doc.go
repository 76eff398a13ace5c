// Package demo lets people try the chat with rooms without an account: it hands out short-lived connection tokens to guests
// and says which namespace their rooms are in.
//
// It does not verify tokens (package auth does, with the key that it made), serve pages (package web), or decide whether the
// demonstration is on (main does, from the configuration). It keeps nothing about guests: who they are stands in their tokens.
//
// # Why a guest can be let in
//
// A guest's token is signed with a random key that lives in this process alone and is accepted only for ids that begin with
// "guest-"; the id is 128 random bits chosen here, never by the guest, who keeps it by showing the old token. The name is text
// that others are shown, checked here, and proves nothing. Pages of other sites cannot ask for tokens: the answer needs a
// request with a JSON body, for which browsers ask first (CORS preflight), and nothing here says yes.
//
// Goroutines: none of its own. Ownership: nothing is kept of a request.
//
// Source: issue 4, item 10; Fetch standard, CORS protocol; RFC 9110, 15.5.16 (415); RFC 6585, 4 (429).
package demo
