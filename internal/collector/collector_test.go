package collector_test

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	_ "github.com/tenon-ml/tenon/internal/collector"
)

var kept [][]byte

// No garbage is collected before the heap is large, and then it is, as usual.
func TestGarbageCollectorStartsLate(t *testing.T) {
	const inner = "TENON_TEST_COLLECTOR"
	if os.Getenv(inner) == "" { // the test itself has allocated before
		cmd := exec.Command(os.Args[0], "-test.run=^TestGarbageCollectorStartsLate$", "-test.v")
		for _, v := range os.Environ() {
			if !strings.HasPrefix(v, "GO") {
				cmd.Env = append(cmd.Env, v)
			}
		}
		cmd.Env = append(cmd.Env, inner+"=yes")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
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
	for range 1000 {
		if debug.SetMemoryLimit(-1) > 1<<40 {
			if percent := debug.SetGCPercent(100); percent != 100 {
				t.Errorf("the collector goes by %d %%", percent)
			}
			return
		}
		runtime.GC()
	}
	t.Error("the limit of a small heap still holds")
}
