package natstest

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// Tmpfs is a directory with a file system of that many bytes, for stores that fill up for real. Skips the test where
// mounting is not allowed. Call it before Start, so that it outlives the server.
func Tmpfs(t testing.TB, bytes int64) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		if os.Getuid() == 0 {
			t.Logf("mount: %v", err)
		}
		t.Skip("needs the right to mount a tmpfs")
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}
