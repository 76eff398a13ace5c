// Command bench measures WebSocket servers from outside: how much memory an idle
// connection costs, how much CPU a delivery, how long a message takes, how a node
// takes a storm of reconnects, and whether any message was lost, doubled or
// disordered on the way.
//
//	go run ./bench -h                       what there is
//	go run ./bench idle -c 10000 --spawn './throng --addr {addr} --admin-addr {admin}'
//	go run ./bench fanout -c 10000 --window 1,8 --target ws://127.0.0.1:8080/livechat
//	go run ./bench million --connections 100000
//	go run ./bench recover -c 10000 --target ws://127.0.0.1:8080/connection/websocket --channel history:bench
//
// # How it is built
//
//	main      flags, progress, reports: the one place that knows a terminal
//	scenario  what each subcommand does, phase by phase, and whether its goal was met
//	load      spreads a load over processes and machines, merges what they count
//	engine    thousands of connections in one epoll loop, in flat tables
//	probe     /proc, /metrics, cores
//	result    reports: JSON under a schema, tables, HTML, plots
//	nullserver  a bare epoll writer: floor, ceiling, and source of injected faults
//	flame     flame graphs of pprof profiles
//	peers     servers to compare with, in a module of its own
//
// # What the figures mean
//
// User memory is Pss_Anon + Pss_Shmem of the server's processes, less what it was
// before the first connection, per connection. CPU is utime + stime of those
// processes from /proc. On loopback the sender of a message also pays the
// receiver's TCP path, the same for every server: compare ratios, and compare with
// the floor that each report carries.
//
// Latency runs from the intended send time to the delivery, so a server (or a
// harness) that falls behind shows it. Sequence numbers in each payload give sent,
// received, lost, duplicated and out of order, per channel and publisher. Warm-up
// messages are counted apart.
//
// Acknowledged publications (bench publish) are counted by their answers, errors by
// their code; the time to an answer runs from the write of the command. Deliveries
// that come with the answer to a recovery (bench recover) are judged like all
// others, but their age is the outage's and stays out of the latency.
//
// A report says what else used the CPU meanwhile, how server and load were pinned,
// and what the harness reached against the null server: no figure can be better.
//
// # Exit codes
//
// 0 the goal was met; 1 it was not, or the run was interrupted (the report is then
// marked partial); 2 wrong flags, or limits that forbid the run.
//
// # Goroutines
//
// A run is one goroutine plus one for progress; load processes have one loop each
// (package engine) and one that reads orders.
package main
