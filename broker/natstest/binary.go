package natstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

const module = "github.com/nats-io/nats-server/v2"

var binary = sync.OnceValues(build)

// Binary is the path of the nats-server program, built if it is not in the cache yet.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// build is safe beside other test processes: they wait for each other, and find a whole file or none.
func build() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil { // no home: the system's temporary directory lives longer than a test's
		dir = os.TempDir()
	}
	dir = filepath.Join(dir, "throng-natstest")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("natstest: %w", err)
	}
	path := filepath.Join(dir, fmt.Sprintf("nats-server-%s-%s-%s", server.VERSION, runtime.Version(), runtime.GOARCH))
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", fmt.Errorf("natstest: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("natstest: %w", err)
	}
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// The working directory of a test is in our module, whose go.mod says which version.
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path+".new", module)
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=readonly")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("natstest: go build %s: %w\n%s", module, err, out)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", fmt.Errorf("natstest: %w", err)
	}
	return path, nil
}
