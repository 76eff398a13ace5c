package wire

import (
	"crypto/sha1"
	"encoding/base64"
	"strconv"
	"strings"
)

// RetryAfterSeconds is what a 429 or 503 asks for when the caller names nothing
// else: long enough to let a storm pass, short enough for a person.
const RetryAfterSeconds = 5

// acceptGUID proves that the server speaks WebSocket (RFC 6455, 1.3).
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// AppendAccept appends the Sec-WebSocket-Accept value for a Sec-WebSocket-Key.
// Allocates only when dst has to grow, or for a key longer than the 24 bytes
// that CheckUpgrade lets pass. RFC 6455, 4.2.2 (item 5.4).
func AppendAccept(dst, key []byte) []byte {
	var room [24 + len(acceptGUID)]byte
	in := append(append(room[:0], key...), acceptGUID...)
	sum := sha1.Sum(in)
	return base64.StdEncoding.AppendEncode(dst, sum[:])
}

// AppendSwitching appends the 101 response that opens the WebSocket. key is the
// request's Sec-WebSocket-Key; subprotocol may be empty; extra is further header
// lines, each with its CRLF, written as they are.
//
// Allocates only when dst has to grow. RFC 6455, 4.2.2.
func AppendSwitching(dst []byte, key []byte, subprotocol string, extra string) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\n"+
		"Upgrade: websocket\r\n"+
		"Connection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "...)
	dst = AppendAccept(dst, key)
	if subprotocol != "" {
		dst = append(dst, "\r\nSec-WebSocket-Protocol: "...)
		dst = append(dst, subprotocol...)
	}
	dst = append(dst, "\r\n"...)
	dst = append(dst, extra...)
	return append(dst, "\r\n"...)
}

// AppendRefusal appends a whole response that refuses a request: a line of plain
// text as body, Connection: close, and what the status calls for: Allow on 405,
// Upgrade and Sec-WebSocket-Version on 426, Retry-After on 429 and 503 unless
// extraHeaders has it. extraHeaders is further lines, each with its CRLF.
//
// Allocates only when dst has to grow. RFC 6455, 4.4; RFC 9110, 15.5 and 15.6.
func AppendRefusal(dst []byte, status int, reason string, extraHeaders string) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	dst = append(dst, statusText(status)...)
	dst = append(dst, "\r\nContent-Type: text/plain; charset=utf-8\r\n"+
		"X-Content-Type-Options: nosniff\r\n"+
		"Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(reason)+1), 10)
	switch status {
	case 405:
		dst = append(dst, "\r\nConnection: close\r\nAllow: GET\r\n"...)
	case 426:
		dst = append(dst, "\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"...)
	case 429, 503:
		dst = append(dst, "\r\nConnection: close\r\n"...)
		if !strings.Contains(extraHeaders, "Retry-After:") {
			dst = append(dst, "Retry-After: "...)
			dst = strconv.AppendInt(dst, RetryAfterSeconds, 10)
			dst = append(dst, "\r\n"...)
		}
	default:
		dst = append(dst, "\r\nConnection: close\r\n"...)
	}
	dst = append(dst, extraHeaders...)
	dst = append(dst, "\r\n"...)
	dst = append(dst, reason...)
	return append(dst, '\n')
}

// statusText is the part of net/http's table that a handshake can end with,
// under the names of RFC 9110; a package without I/O does not import net/http.
func statusText(status int) string {
	switch status {
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 413:
		return "Content Too Large"
	case 414:
		return "URI Too Long"
	case 426:
		return "Upgrade Required"
	case 429:
		return "Too Many Requests"
	case 431:
		return "Request Header Fields Too Large"
	case 500:
		return "Internal Server Error"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 505:
		return "HTTP Version Not Supported"
	}
	return "Refused"
}
