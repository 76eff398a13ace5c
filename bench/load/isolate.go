package load

import (
	"os/exec"
	"syscall"
)

// isolate puts a child into its own process group, so that Ctrl-C reaches only
// the coordinator, which then ends the children in order. A worker whose
// coordinator is killed ends by itself: its orders end.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}
