// Package probe reads from /proc what a run costs: memory and CPU of the server's
// processes, kernel memory, and what else the machine did meanwhile. It also pins
// processes to cores and states the machine's facts and limits.
//
// It measures and does not judge; nothing here starts a process or a goroutine.
// Every call reads files and may take milliseconds (smaps_rollup walks page
// tables): call it between phases or about once a second, not per message.
//
// Source: proc(5), sched_setaffinity(2), Documentation/filesystems/proc.rst.
package probe
