package main

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionComesFromTheBuild(t *testing.T) {
	info := &debug.BuildInfo{
		Main: debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "0123456789abcdef0123"}, {Key: "vcs.modified", Value: "true"},
		},
		Deps: []*debug.Module{
			{Path: "github.com/lesismal/nbio", Version: "v1.6.12"},
			{Path: "github.com/nats-io/nats-server/v2", Version: "v2.15.2"},
		},
	}
	want := versionInfo{"v1.2.3", "0123456789ab+dirty", runtime.Version(), "v1.6.12", "v2.15.2"}
	if got := versionFrom(info, ""); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want.Commit = "feedbeef"
	if got := versionFrom(info, "feedbeef"); got != want {
		t.Errorf("the Makefile's commit does not win: %+v", got)
	}
	none := versionInfo{"(devel)", "unknown", runtime.Version(), "not linked", "not linked"}
	for _, info := range []*debug.BuildInfo{nil, {}} {
		if got := versionFrom(info, ""); got != none {
			t.Errorf("got %+v, want %+v", got, none)
		}
	}
}

func TestVersionTextNamesAllParts(t *testing.T) {
	for _, part := range []string{"throng ", "commit ", "go ", "nbio ", "nats-server ", runtime.Version()} {
		if !strings.Contains(versionText(), part) {
			t.Errorf("%q is missing in\n%s", part, versionText())
		}
	}
}
