package httpapi

import (
	"net/http"

	"throng/server/channel"
)

// Error is what the caller of a method is told.
type Error struct {
	Code    uint32 `json:"code"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return e.Message }

// The API's errors. A Node may return them, or others of its own.
//
// Source: centrifuge-protocol.md, 19.
var (
	ErrInternal              = &Error{100, "internal server error"}
	ErrUnknownChannel        = &Error{102, "unknown channel"}
	ErrNotFound              = &Error{104, "not found"}
	ErrBadRequest            = &Error{107, "bad request"}
	ErrNotAvailable          = &Error{108, "not available"}
	ErrUnrecoverablePosition = &Error{112, "unrecoverable position"}
)

// status is the HTTP status of an error in transport mode.
func (e *Error) status() int {
	switch e.Code {
	case 102, 104:
		return http.StatusNotFound
	case 107, 108:
		return http.StatusBadRequest
	case 112:
		return http.StatusRequestedRangeNotSatisfiable
	}
	return http.StatusInternalServerError
}

// errorOf is the API's word for a rule's refusal.
func errorOf(c channel.Code) *Error {
	switch c {
	case channel.UnknownChannel:
		return ErrUnknownChannel
	case channel.NotAvailable:
		return ErrNotAvailable
	case channel.Internal:
		return ErrInternal
	}
	return ErrBadRequest
}
