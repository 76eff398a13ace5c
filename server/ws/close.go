package ws

import (
	"errors"

	"throng/server/wire"
)

// errPeerClosed ends Decoder.Feed at the peer's close frame: nothing after it counts (RFC 6455, 5.5.1).
var errPeerClosed = errors.New("ws: close frame received")

// Close sends a close frame and waits for the peer's, at most CloseTimeout; the handshake of RFC 6455, 7.1.2.
// The first cause wins, later calls do nothing. Any goroutine; never blocks.
func (c *Conn) Close(code wire.CloseCode, reason string) {
	c.lock()
	if c.load() != stateOpen || c.closedLocked() {
		c.unlock()
		return
	}
	c.closeLocked(code, reason)
	if c.flags&flagBlocked == 0 {
		c.writeLocked()
	}
	c.unlock()
	c.srv.wheel.schedule(c, c.srv.cfg.CloseTimeout)
}

// closeLocked queues the close frame and enters stateClosing.
func (c *Conn) closeLocked(code wire.CloseCode, reason string) {
	c.cause = code
	c.out.push(wire.AppendCloseFrame(nil, code, reason))
	c.state.Store(uint32(stateClosing))
}

// fail ends a connection whose peer broke the protocol: a close frame, then no further byte, then whatever it
// still sends is discarded until it closes or CloseTimeout passes (RFC 6455, 7.1.7).
func (c *Conn) fail(code wire.CloseCode, reason string) {
	c.lock()
	if c.load() == stateOpen {
		c.closeLocked(code, reason)
	}
	c.lastWordsLocked()
	c.unlock()
	c.srv.wheel.schedule(c, c.srv.cfg.CloseTimeout)
}

// lastWordsLocked half-closes once the outbox is empty and discards all further input.
func (c *Conn) lastWordsLocked() {
	c.state.Store(uint32(stateDiscarding))
	c.flags |= flagShutWrite
	if c.flags&flagBlocked == 0 && !c.closedLocked() {
		c.writeLocked()
	}
}

// onCloseFrame answers the peer's close frame, or takes it as the answer to ours.
func (c *Conn) onCloseFrame(p []byte) error {
	code, _, err := wire.ParseCloseBody(p)
	if err != nil {
		return err
	}
	c.lock()
	if c.load() == stateOpen {
		c.flags |= flagByPeer
		c.closeLocked(code, "")
	}
	c.unlock()
	return errPeerClosed
}

// peerClosed ends a connection after both close frames: at once when ours has left, else when it has.
func (c *Conn) peerClosed() verdict {
	c.Flush()
	c.lock()
	sent := c.out.empty()
	if !sent {
		c.lastWordsLocked()
	}
	c.unlock()
	if sent {
		return closeNow
	}
	c.srv.wheel.schedule(c, c.srv.cfg.CloseTimeout)
	return keep
}
