package main

import (
	"testing"

	"go.uber.org/goleak"
)

// The Go SDK leaves a goroutine behind for each command that its connection died under, until the command's time is over.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/centrifugal/centrifuge-go.(*Client).sendAsync.func1"))
}
