package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signalContext(context.Background())
	err := run(ctx, os.Args[1:], os.Getenv, output{os.Stdout, os.Stderr})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, errorText(err))
		os.Exit(exitCode(err))
	}
}

// output is where a node writes: answers and the greeting to out, its log to log.
type output struct{ out, log io.Writer }

// run serves until ctx ends, then drains. It returns nil after a clean drain. Everything a test needs to know of it goes
// through its arguments.
func run(ctx context.Context, args []string, getenv func(string) string, to output) error {
	if len(args) > 0 && args[0] == "doctor" {
		return doctorCommand(ctx, args[1:], getenv, to.out)
	}
	c, err := configure(args, getenv, to.out)
	if err != nil || c == nil {
		return err
	}
	n, err := startNode(c, to)
	if err != nil {
		return err
	}
	n.reloadUntil(ctx, func() (*Config, error) { return loadConfig(args, getenv) })
	return n.drain()
}

// signalContext ends at the first SIGINT or SIGTERM; the second one ends the process.
func signalContext(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
			return
		}
		if _, more := <-signals; more {
			os.Exit(exitForced)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel()
	}
}

const (
	exitFailed = 1
	exitUsage  = 2
	exitForced = 3 // a second signal cut the drain short
)

func exitCode(err error) int {
	if _, is := errors.AsType[*configError](err); is {
		return exitUsage
	}
	return exitFailed
}

// errorText puts each of several joined errors on a line of its own.
func errorText(err error) string {
	return "throng: " + err.Error()
}
