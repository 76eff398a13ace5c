package main

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// build compiles this program, for tests that need it as a process.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "bench")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}
