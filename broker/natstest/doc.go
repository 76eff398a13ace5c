// Package natstest runs real nats-server processes for tests: one, or a cluster of three, to be killed, stopped, cut off and
// brought back on the same ports and files. Nothing that ships imports it, and it imports nothing of Throng but its proxy.
//
// The program is built once from the module that go.mod names, offline, and kept in the user's cache directory by version.
// All ports are on one loopback address of this test process, so that a port is still free when its server comes back.
//
// Goroutines: one for each process, which waits for its end; all processes are killed at the end of the test, and die with
// the test process. Files are in the test's temporary directories. Methods are for one goroutine, the test's. They end the
// test when something does not happen within Patience.
// It is original work.
package natstest

import "time"

// Patience turns what never happens into a failure. No test passes or fails by how long something takes.
const Patience = 60 * time.Second

// poll is how long to wait between looks at what shall happen.
const poll = 20 * time.Millisecond
