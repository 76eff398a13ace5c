package engine

import (
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// Kinds of failure, as they stand in reports. Before a connection is ready they
// count in Counters.Failures, afterwards in Counters.Drops.
const (
	KindRefused      = "refused"           // RST to the SYN: nobody listens
	KindReset        = "reset"             // RST on an established connection
	KindUnreachable  = "unreachable"       // no route, network or host down
	KindNoPorts      = "no_ports"          // EADDRNOTAVAIL: source ports used up
	KindNoFDs        = "no_descriptors"    // EMFILE, ENFILE
	KindConnectTime  = "timeout_connect"   // SYN not answered in time
	KindUpgradeTime  = "timeout_upgrade"   // connected, but no answer to the upgrade
	KindReadyTime    = "timeout_ready"     // upgraded, but no greeting or subscribe reply
	KindEOF          = "closed_early"      // FIN without a close frame
	KindGarbage      = "garbage"           // bytes that are no HTTP answer or no frame
	KindAccept       = "bad_accept_key"    // 101 with a wrong Sec-WebSocket-Accept
	KindRejected     = "rejected"          // the dialect said no (error reply, -ERR)
	KindUnsubscribed = "unsubscribed"      // the server took the subscription back
	KindTLS          = "tls"               // TLS handshake or record failure
	KindHeartbeat    = "heartbeat_missing" // ping not answered in time
	KindSendBlocked  = "send_blocked"      // peer does not read, pending limit reached
	KindIO           = "io"                // any other error of a system call
	kindStatusPrefix = "http_"             // http_503: answer to the upgrade
	kindClosePrefix  = "close_"            // close_1001: close frame from the server
)

func kindOfStatus(status int) string { return kindStatusPrefix + strconv.Itoa(status) }
func kindOfClose(code int) string    { return kindClosePrefix + strconv.Itoa(code) }

// kindOfErrno maps what a system call answered to a kind.
func kindOfErrno(err error) string {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return KindRefused
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return KindReset
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return KindUnreachable
	case errors.Is(err, unix.EADDRNOTAVAIL), errors.Is(err, unix.EADDRINUSE):
		return KindNoPorts
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return KindNoFDs
	case errors.Is(err, unix.ETIMEDOUT):
		return KindConnectTime
	default:
		return KindIO
	}
}
