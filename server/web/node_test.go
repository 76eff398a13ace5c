package web

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The parts of the page that need no browser have their tests in JavaScript, under jstest.
func TestPageModulesInNode(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed; it runs the unit tests of the page's modules (jstest)")
	}
	files, err := filepath.Glob("jstest/*.test.js")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test files: %v", err)
	}
	// The test cache follows what the test opens: without this a change of a module would not run them again.
	modules, err := filepath.Glob("static/assets/*.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(modules, files...) {
		if _, err := os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(node, append([]string{"--test", "--test-reporter=spec"}, files...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
