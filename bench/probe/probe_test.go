package probe

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOwnProcessIsReadWhole(t *testing.T) {
	held := bytes.Repeat([]byte("x"), 4<<20) // memory that must show
	defer runtime.KeepAlive(held)
	p, err := Processes([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	if p.User() < 4<<20 || p.RSS < p.PssAnon || p.Threads < 2 || p.FDs < 3 {
		t.Errorf("%+v", p)
	}
	twice, err := Processes([]int{os.Getpid(), os.Getpid()})
	if err != nil || twice.Threads < 2*p.Threads-2 {
		t.Errorf("two processes do not sum: %+v, %v", twice, err)
	}
	if !strings.Contains(CommandOf(os.Getpid()), "probe.test") {
		t.Errorf("command %q", CommandOf(os.Getpid()))
	}
}

func TestAProcessThatIsGoneIsAnErrorNotZero(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := Processes([]int{cmd.Process.Pid}); err == nil {
		t.Error("no error")
	}
	if CPUOf([]int{cmd.Process.Pid}) != 0 {
		t.Error("CPU of nobody")
	}
}

func TestMachineAndFactsAreRead(t *testing.T) {
	m, err := ReadMachine()
	if err != nil || m.BusyCPU <= 0 || m.Slab <= 0 || m.MemAvail <= 0 {
		t.Errorf("%+v, %v", m, err)
	}
	f := ReadFacts()
	if f.Cores != runtime.NumCPU() || f.Memory < 1<<28 || !strings.HasPrefix(f.Kernel, "Linux ") || f.CPU == "" {
		t.Errorf("%+v", f)
	}
	if l := f.Limits; l.FDHard < 64 || l.FileMax < 1000 || l.PortLast <= l.PortFirst {
		t.Errorf("%+v", l)
	}
}

// sample makes a moment at s seconds with CPU figures of server, bench and all.
func sample(s, server, bench, busy float64) *Sample {
	return &Sample{
		At: time.Unix(0, int64(s*1e9)), Server: Proc{UserCPU: server / 2, SysCPU: server / 2},
		BenchCPU: bench, Machine: Machine{BusyCPU: busy},
	}
}

func TestWhatOthersUseIsWhatIsLeft(t *testing.T) {
	w := Between(sample(0, 1, 1, 10), sample(2, 2, 1.5, 11.5))
	if w.ServerCPU != 0.5 || w.ServerUser != 0.25 || w.BenchCPU != 0.25 || w.OtherCPU != 0 || w.Disturbed {
		t.Errorf("%+v", w)
	}
	if w := Between(sample(0, 0, 0, 0), sample(2, 1, 0, 1.5)); w.OtherCPU != 0.25 || !w.Disturbed {
		t.Errorf("half a second of others in two goes unseen: %+v", w)
	}
	if w := Between(sample(0, 0, 0, 0), sample(0.1, 0, 0, 0.02)); w.Disturbed {
		t.Errorf("two ticks in a tenth of a second are rounding: %+v", w)
	}
	b := sample(2, 1, 0, 1)
	b.Machine.StealCPU = 1
	if w := Between(sample(0, 0, 0, 0), b); !w.Disturbed {
		t.Error("stolen time is lost time")
	}
	if w := Between(b, b); w.Seconds != 0 || w.Disturbed {
		t.Errorf("an empty window: %+v", w)
	}
}

func TestCoresAreParsedStrictly(t *testing.T) {
	got, err := ParseCPUs("0")
	if err != nil || !slices.Equal(got, CPUs{0}) || got.String() != "0" {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := ParseCPUs(""); err != nil || got != nil {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"a", "1-", "3-1", "-1", "0,,1", "100000"} {
		if _, err := ParseCPUs(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestAPinnedChildRunsThereAndWeDoNot(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := (CPUs{0}).Start(cmd); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	for pid, want := range map[int]string{cmd.Process.Pid: "Cpus_allowed_list:\t0\n"} {
		status, err := os.ReadFile("/proc/" + itoa(pid) + "/status")
		if err != nil || !strings.Contains(string(status), want) {
			t.Errorf("%v: no %q in\n%s", err, want, status)
		}
	}
	own, err := os.ReadFile("/proc/self/status")
	if err != nil || runtime.NumCPU() > 1 && strings.Contains(string(own), "Cpus_allowed_list:\t0\n") {
		t.Errorf("the parent is pinned too: %v", err)
	}
	if err := (CPUs{0}).Pin(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
}

func itoa(n int) string { return CPUs{n}.String() }

func TestListenersAndGroupsAreFound(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pids, err := Listeners(netip.MustParseAddrPort(l.Addr().String()).Port())
	if err != nil || !slices.Equal(pids, []int{os.Getpid()}) {
		t.Errorf("%v, %v", pids, err)
	}
	if pids, _ := Listeners(1); len(pids) != 0 {
		t.Errorf("port 1: %v", pids)
	}
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if pids := Group(cmd.Process.Pid); !slices.Equal(pids, []int{cmd.Process.Pid}) {
		t.Errorf("group %v", pids)
	}
}

func TestMetricsAreKeptByNameAndLabel(t *testing.T) {
	text := "# HELP x y\ngo_goroutines 33\nthrong_ws_closes_total{code=\"1001\"} 4\nthrong_hub_fanout_seconds_bucket{le=\"1\"} 9\nother 1\nbroken\ngo_threads NaNsense\n"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(text))
	}))
	defer s.Close()
	got, err := (&Scraper{URL: s.URL + "/metrics"}).Scrape()
	if err != nil || len(got) != 2 || got["go_goroutines"] != 33 || got[`throng_ws_closes_total{code="1001"}`] != 4 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := (&Scraper{URL: s.URL + "/"}).Scrape(); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}
