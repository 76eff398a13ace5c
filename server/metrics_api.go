package main

import (
	"strconv"
	"strings"

	"throng/server/httpapi"
	"throng/server/proxy"
)

// apiFigures are httpapi.Stats with labels as strings.
type apiFigures struct {
	Commands                                                        map[string]uint64 // by method
	Errors                                                          map[string]uint64 // by "method code"
	Unauthorized, Malformed, Oversize, Busy, Incomplete, Unanswered uint64
	Running                                                         int
}

func apiFiguresOf(s httpapi.Stats) apiFigures {
	f := apiFigures{
		Commands: s.Commands, Errors: map[string]uint64{}, Unauthorized: s.Unauthorized, Malformed: s.Malformed, Oversize: s.Oversize,
		Busy: s.Busy, Incomplete: s.Incomplete, Unanswered: s.Unanswered, Running: s.Running,
	}
	for e, n := range s.Errors {
		f.Errors[e.Method+" "+strconv.Itoa(int(e.Code))] = n
	}
	return f
}

// proxyFigures are proxy.Stats with labels as strings.
type proxyFigures struct {
	Done             map[string]uint64 // by "hook result"
	Running, Waiting int
}

func proxyFiguresOf(s proxy.Stats) proxyFigures {
	f := proxyFigures{Done: map[string]uint64{}, Running: s.Running, Waiting: s.Waiting}
	reasons := proxy.Reasons()
	for _, hook := range proxy.Hooks() {
		for i, n := range s.Done[hook] {
			f.Done[hook.String()+" "+reasons[i].String()] = n
		}
	}
	return f
}

// putPairs puts counts whose keys are two labels with a space between them.
func putPairs(counts map[string]uint64, put putFunc) {
	for key, n := range counts {
		first, second, _ := strings.Cut(key, " ")
		put(float64(n), first, second)
	}
}

func apiFamilies() []family {
	return []family{
		labelled("throng_api_commands_total", "Commands of the server API, by method.", counter, "method",
			func(s *Snapshot, put putFunc) { putAll(s.API.Commands, put) }),
		{name: "throng_api_errors_total", help: "Of these, failed, by code.", kind: counter, labels: []string{"method", "code"},
			read: func(s *Snapshot, put putFunc) { putPairs(s.API.Errors, put) }},
		labelled("throng_api_refused_requests_total", "Requests refused whole, by reason.", counter, "reason",
			func(s *Snapshot, put putFunc) {
				put(float64(s.API.Unauthorized), "unauthorized")
				put(float64(s.API.Malformed), "malformed")
				put(float64(s.API.Oversize), "oversize")
				put(float64(s.API.Busy), "busy")
			}),
		single("throng_api_incomplete_surveys_total", "Commands that some node did not answer.", counter,
			func(s *Snapshot) float64 { return float64(s.API.Incomplete) }),
		single("throng_api_unanswered_nodes_total", "Such nodes, over all commands.", counter,
			func(s *Snapshot) float64 { return float64(s.API.Unanswered) }),
		single("throng_api_running_requests", "Requests under way.", gauge,
			func(s *Snapshot) float64 { return float64(s.API.Running) }),
		{name: "throng_proxy_calls_total", help: "Calls of the application backend, by hook and result.", kind: counter, labels: []string{"hook", "result"},
			read: func(s *Snapshot, put putFunc) { putPairs(s.Proxy.Done, put) }},
		labelled("throng_demo_tokens_total", "Requests for a guest's token, by result.", counter, "result",
			func(s *Snapshot, put putFunc) {
				put(float64(s.Demo.Issued), "issued")
				put(float64(s.Demo.Renewed), "renewed")
				put(float64(s.Demo.Limited), "limited")
				put(float64(s.Demo.Refused), "refused")
			}),
		single("throng_proxy_running_calls", "Calls under way.", gauge,
			func(s *Snapshot) float64 { return float64(s.Proxy.Running) }),
		single("throng_proxy_waiting_calls", "Calls in queues.", gauge,
			func(s *Snapshot) float64 { return float64(s.Proxy.Waiting) }),
	}
}
