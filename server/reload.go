package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// reloadUntil takes over keys of tokens and rules on channels from the configuration anew at each SIGHUP, until ctx ends. Clients
// keep what they have; what is wrong changes nothing and is logged. Everything else needs a restart.
func (n *node) reloadUntil(ctx context.Context, load func() (*Config, error)) {
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangUp:
		}
		if err := n.reload(load); err != nil {
			n.log.Error("configuration not reloaded, the old one stays", "err", err)
			continue
		}
		n.log.Info("configuration reloaded", "parts", "auth, channel, rpc, history of namespaces")
	}
}

func (n *node) reload(load func() (*Config, error)) error {
	c, err := load()
	if err != nil {
		return err
	}
	rules, err := n.compileRules(c)
	if err != nil {
		return err
	}
	if err := n.tokens.Reload(c.Auth); err != nil {
		return sectionError(c.ConfigFile, err)
	}
	if err := n.streams.Configure(c.History.streams(rules)); err != nil {
		return err
	}
	n.rules.Store(rules)
	n.bridge(rules)
	n.sessions.SetRules(rules)
	n.guests.Enable(c.DemoOn())
	return nil
}
