package collector_test

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/collector"
)

var kept [][]byte

// apart runs a test in a process of its own, because the others have allocated before, and
// reports whether this is that process.
func apart(t *testing.T) bool {
	t.Helper()
	const inner = "TENON_TEST_COLLECTOR"
	if os.Getenv(inner) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GO") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, inner+"=yes")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// works waits until the collector works.
func works(t *testing.T) {
	t.Helper()
	for range 1000 {
		if debug.SetMemoryLimit(-1) > 1<<40 {
			return
		}
		runtime.GC()
	}
	t.Fatal("the limit of a small heap still holds")
}

// A percentage that is set before the collector works holds as well.
func TestPercentHoldsUntilItIsRestored(t *testing.T) {
	if !apart(t) {
		return
	}
	restore := collector.Percent(60)
	if percent := debug.SetGCPercent(-1); percent != -1 {
		t.Errorf("in a small heap, the collector goes by %d %%", percent)
	}
	works(t)
	if percent := debug.SetGCPercent(60); percent != 60 {
		t.Errorf("the collector goes by %d %%", percent)
	}
	restore()
	if percent := debug.SetGCPercent(100); percent != 100 {
		t.Errorf("afterwards, it goes by %d %%", percent)
	}
}

// No garbage is collected before the heap is large, and then it is, as usual.
func TestGarbageCollectorStartsLate(t *testing.T) {
	if !apart(t) {
		return
	}
	collections := func() uint32 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NumGC
	}
	for range 32 {
		kept = append(kept, make([]byte, 1<<20))
	}
	if n := collections(); n > 0 {
		t.Errorf("%d collections in a small heap", n)
	}
	kept = nil
	for range 300 {
		kept = append(kept[:0], make([]byte, 1<<20))
	}
	if n := collections(); n == 0 {
		t.Errorf("300 MB of garbage are not collected")
	}
	works(t)
	if percent := debug.SetGCPercent(100); percent != 100 {
		t.Errorf("the collector goes by %d %%", percent)
	}
}
