package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// cgroups is where a container finds its control group.
const cgroups = "/sys/fs/cgroup"

// A meter measures what the program uses. The kernel adds up the CPU time and disk
// traffic of processes when they are reaped, which leaves out what this process uses to
// fetch and to store. The memory leaves out cached pages of files. Only the control
// group reports the memory of all processes at once, and whether the kernel killed one.
type meter struct {
	memory, events string   // files of the control group, "" if there is none
	fields         []string // fields of memory, whose sum is the memory in use
	peak           int64
	kills          int64 // before the program started
}

// newMeter looks for the container's control group, of version 2 or 1. It ignores the
// root control group of the machine.
func newMeter(root string) *meter {
	m := &meter{}
	exists := func(path string) bool {
		_, err := os.Stat(filepath.Join(root, path))
		return err == nil
	}
	switch {
	case exists("cgroup.type"):
		m.memory, m.events = filepath.Join(root, "memory.stat"), filepath.Join(root, "memory.events")
		m.fields = []string{"anon", "shmem"}
	case exists("memory/memory.stat") && !exists("memory/release_agent"):
		m.memory, m.events = filepath.Join(root, "memory/memory.stat"), filepath.Join(root, "memory/memory.oom_control")
		m.fields = []string{"total_rss", "total_shmem"}
	}
	m.kills = field(m.events, "oom_kill")
	return m
}

// look samples the memory in use.
func (m *meter) look() {
	var now int64
	for _, name := range m.fields {
		now += field(m.memory, name)
	}
	m.peak = max(m.peak, now)
}

// read returns what the program used, after all its processes have ended, and whether
// the kernel killed a process of the container because it ran out of memory.
func (m *meter) read() (u pod.Usage, outOfMemory bool) {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_CHILDREN, &r) == nil {
		u.CPU = time.Duration(r.Utime.Nano() + r.Stime.Nano())
		u.PeakMem = r.Maxrss << 10
		u.ReadBytes, u.WriteBytes = r.Inblock*512, r.Oublock*512
	}
	u.PeakMem = max(u.PeakMem, m.peak)
	return u, field(m.events, "oom_kill") > m.kills
}

// field returns the number on the line of a file that begins with name, or 0.
func field(path, name string) int64 {
	if path == "" {
		return 0
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), " "); k == name {
			n, err := strconv.ParseInt(v, 10, 64)
			if err == nil {
				return n
			}
		}
	}
	return 0
}
