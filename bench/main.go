package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"throng/bench/load"
	"throng/bench/scenario"
)

// Exit codes.
const (
	exitOK     = 0
	exitMissed = 1 // the goal of the run was not met, or the run was interrupted
	exitUsage  = 2 // wrong flags, or limits that forbid the run before it starts
)

func main() {
	if load.IsWorker() {
		os.Exit(load.RunWorker())
	}
	// The first signal ends the run in order (partial report); after that the
	// default action is back, so that a second one ends the program at once.
	scenario.NullCommand = selfCommand("null-server --addr {addr}")
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-signals
		signal.Stop(signals)
		cancel(fmt.Errorf("%w by %s", errInterrupted, s))
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// errInterrupted is the cause of a context that the user's signal ended.
var errInterrupted = errors.New("interrupted")
