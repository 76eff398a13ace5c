package load

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if IsWorker() { // StartChild runs this very test binary
		os.Exit(RunWorker())
	}
	goleak.VerifyTestMain(m)
}
