package plane

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// process adds what Prometheus usually knows of a process.
func (w *metricText) process() {
	gauge := func(name, help string, v float64) { w.metric(name, "gauge", help, sample{"", nil, v}) }
	const ticks = 100 // a second, on Linux always
	if b, err := os.ReadFile("/proc/self/stat"); err == nil {
		// The name of the program, in parentheses, may contain blanks.
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		at := func(i int) float64 {
			v, _ := strconv.ParseFloat(string(fields[i-3]), 64)
			return v
		}
		if len(fields) > 22 {
			gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", at(23))
			gauge("process_resident_memory_bytes", "Resident memory size in bytes.", at(24)*float64(os.Getpagesize()))
			gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", bootTime()+at(22)/ticks)
			w.metric("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", sample{"", nil, (at(14) + at(15)) / ticks})
		}
	}
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		gauge("process_open_fds", "Number of open file descriptors.", float64(len(files)))
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		gauge("process_max_fds", "Maximum number of open file descriptors.", float64(limit.Cur))
	}
}

// bootTime is when the machine started, in seconds since 1970.
func bootTime() float64 {
	b, _ := os.ReadFile("/proc/stat")
	_, after, found := bytes.Cut(b, []byte("\nbtime "))
	if !found {
		return 0
	}
	line, _, _ := bytes.Cut(after, []byte("\n"))
	v, _ := strconv.ParseFloat(string(line), 64)
	return v
}
