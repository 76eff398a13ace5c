package load

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// WorkerEnv set to 1 makes the bench's binary a worker on stdin and stdout: child
// processes are this very program.
const WorkerEnv = "THRONG_BENCH_WORKER"

// IsWorker says whether this process was started as a worker.
func IsWorker() bool { return os.Getenv(WorkerEnv) == "1" }

// RunWorker serves stdin and stdout and returns the process's exit code.
func RunWorker() int {
	if err := Serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench worker:", err)
		return 1
	}
	return 0
}

// childGrace is how long a child may take to end after its orders ended; closing
// 20,000 sockets takes a fraction of a second.
const childGrace = 10 * time.Second

// Child is a worker in a process of its own.
type Child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.ReadCloser
	one sync.Once
	err error
}

// StartChild starts this program as a worker. start runs the command (the caller
// may pin the process there); nil means cmd.Start.
func StartChild(start func(*exec.Cmd) error) (*Child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &Child{cmd: exec.Command(exe)}
	c.cmd.Env = append(os.Environ(), WorkerEnv+"=1")
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if c.out, err = c.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	isolate(c.cmd)
	if start == nil {
		start = (*exec.Cmd).Start
	}
	if err := start(c.cmd); err != nil {
		return nil, fmt.Errorf("start load process: %w", err)
	}
	return c, nil
}

// PID of the child.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Read takes from the child's standard output: its answers.
func (c *Child) Read(p []byte) (int, error) { return c.out.Read(p) }

// Write gives to the child's standard input: its orders.
func (c *Child) Write(p []byte) (int, error) { return c.in.Write(p) }

// Close ends the child's orders and waits for it, killing it after a grace time.
func (c *Child) Close() error {
	c.one.Do(func() {
		_ = c.in.Close()
		timer := time.AfterFunc(childGrace, func() { _ = c.cmd.Process.Kill() })
		defer timer.Stop()
		_, _ = io.Copy(io.Discard, c.out) // until the child closes it
		c.err = c.cmd.Wait()
	})
	return c.err
}

// local is a worker in this process.
type local struct {
	io.Reader
	io.Writer
	close func() error
}

func (l *local) Close() error { return l.close() }

// StartLocal starts a worker in goroutines of this process, for small loads and
// tests. Close ends it and waits.
func StartLocal() io.ReadWriteCloser {
	orderR, orderW := io.Pipe()
	answerR, answerW := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := Serve(orderR, answerW)
		_ = answerW.Close()
		ended <- err
	}()
	var once sync.Once
	var err error
	return &local{answerR, orderW, func() error {
		once.Do(func() {
			_ = orderW.Close()
			err = errors.Join(<-ended, answerR.Close())
		})
		return err
	}}
}
