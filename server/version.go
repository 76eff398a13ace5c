package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// buildCommit is set by the Makefile (-ldflags -X) where the go command does not stamp it.
var buildCommit string

// versionInfo is what this binary was built from.
type versionInfo struct {
	Version string // module version, "(devel)" for a build from a checkout
	Commit  string // short, with "+dirty" when the tree had changes; "unknown" when nobody told
	Go      string
	NBIO    string // the connection engine
	NATS    string // the embedded server
}

// readVersion asks the binary itself.
func readVersion() versionInfo {
	info, _ := debug.ReadBuildInfo()
	return versionFrom(info, buildCommit)
}

func versionFrom(info *debug.BuildInfo, commit string) versionInfo {
	v := versionInfo{Version: "(devel)", Commit: commit, Go: runtime.Version(), NBIO: "not linked", NATS: "not linked"}
	if info == nil {
		info = &debug.BuildInfo{}
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if v.Commit == "" {
		v.Commit = settings["vcs.revision"]
		v.Commit = v.Commit[:min(len(v.Commit), 12)]
		if v.Commit != "" && settings["vcs.modified"] == "true" {
			v.Commit += "+dirty"
		}
	}
	if v.Commit == "" {
		v.Commit = "unknown"
	}
	for _, dep := range info.Deps {
		switch dep.Path {
		case "github.com/lesismal/nbio":
			v.NBIO = dep.Version
		case "github.com/nats-io/nats-server/v2":
			v.NATS = dep.Version
		}
	}
	return v
}

// versionText is the answer to throng version.
func versionText() string {
	v := readVersion()
	var b strings.Builder
	fmt.Fprintf(&b, "throng %s\n", v.Version)
	for _, row := range [][2]string{
		{"commit", v.Commit}, {"go", v.Go}, {"nbio", v.NBIO}, {"nats-server", v.NATS},
	} {
		fmt.Fprintf(&b, "%-12s %s\n", row[0], row[1])
	}
	return b.String()
}
