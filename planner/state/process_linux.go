package state

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

var host = sync.OnceValue(func() Process {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	ns, _ := os.Readlink("/proc/self/ns/pid")
	return Process{Boot: strings.TrimSpace(string(boot)), Namespace: ns}
})

func processOf(pid int) Process {
	p := host()
	p.Start = startOf(pid)
	return p
}

// startOf returns when the process started, in clock ticks since boot, or "" if it does
// not exist.
func startOf(pid int) string {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field is the name in parentheses and may contain anything. The third is
	// the state, the twenty-second the start time.
	_, rest, ok := cutLast(string(b), ") ")
	f := strings.Fields(rest)
	if !ok || len(f) < 20 || f[0] == "Z" {
		return ""
	}
	return f[19]
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// alive reports whether the process that had this number and start still runs.
func alive(pid int, start string) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	now := startOf(pid)
	if now == "" {
		// A zombie, or /proc is not available.
		_, err := os.Stat("/proc/self/stat")
		return err != nil
	}
	return start == "" || now == start
}
