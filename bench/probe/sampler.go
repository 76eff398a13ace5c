package probe

import (
	"os"
	"time"
)

// Sample is everything at one moment.
type Sample struct {
	At       time.Time
	Server   Proc
	BenchCPU float64 // this process and its load processes, seconds
	Machine  Machine
	Metrics  map[string]float64 // of the admin endpoint, nil without one
}

// Sampler takes samples of one server and its bench.
type Sampler struct {
	Server  []int      // pids; empty = nothing is known of the server
	Bench   []int      // pids of load processes beside this one
	Metrics []*Scraper // admin endpoints, summed
}

// Take reads everything. It fails when a server process is gone.
func (s *Sampler) Take() (Sample, error) {
	out := Sample{At: time.Now()}
	var err error
	if out.Machine, err = ReadMachine(); err != nil {
		return out, err
	}
	out.BenchCPU = CPUOf(append([]int{os.Getpid()}, s.Bench...))
	if len(s.Server) > 0 {
		if out.Server, err = Processes(s.Server); err != nil {
			return out, err
		}
	}
	for _, m := range s.Metrics {
		got, err := m.Scrape()
		if err != nil {
			return out, err
		}
		if out.Metrics == nil {
			out.Metrics = map[string]float64{}
		}
		for k, v := range got {
			out.Metrics[k] += v
		}
	}
	return out, nil
}

// Window is what happened between two samples. CPU in cores (1 = one core all the
// time), memory in bytes at its end.
type Window struct {
	Seconds    float64            `json:"seconds"`
	ServerCPU  float64            `json:"server_cpu"`
	ServerUser float64            `json:"server_user_cpu"`
	ServerSys  float64            `json:"server_sys_cpu"`
	BenchCPU   float64            `json:"bench_cpu"`
	OtherCPU   float64            `json:"other_cpu"`
	Disturbed  bool               `json:"disturbed"`
	Server     Proc               `json:"server"`
	Machine    Machine            `json:"machine"`
	Metrics    map[string]float64 `json:"metrics,omitempty"`
}

// ServerSeconds is the CPU time the server used, in seconds.
func (w *Window) ServerSeconds() float64 { return w.ServerCPU * w.Seconds }

// DisturbedAbove is the CPU of everything else, in cores, above which a run says
// it was disturbed: a tenth of a core is about the 20 % noise of performance.md
// on a two-core machine.
const DisturbedAbove = 0.10

// Between computes the window from a to b. Time stolen by the host counts as
// CPU of others: it is just as lost.
func Between(a, b *Sample) Window {
	w := Window{Seconds: b.At.Sub(a.At).Seconds(), Server: b.Server, Machine: b.Machine, Metrics: b.Metrics}
	if w.Seconds <= 0 {
		return w
	}
	w.ServerUser = (b.Server.UserCPU - a.Server.UserCPU) / w.Seconds
	w.ServerSys = (b.Server.SysCPU - a.Server.SysCPU) / w.Seconds
	w.ServerCPU = w.ServerUser + w.ServerSys
	w.BenchCPU = (b.BenchCPU - a.BenchCPU) / w.Seconds
	busy := (b.Machine.BusyCPU - a.Machine.BusyCPU + b.Machine.StealCPU - a.Machine.StealCPU) / w.Seconds
	w.OtherCPU = max(busy-w.ServerCPU-w.BenchCPU, 0)
	// In a window of a few ticks the difference is rounding: 3 ticks may be off.
	w.Disturbed = w.OtherCPU-3.0/userHZ/w.Seconds > DisturbedAbove
	return w
}
