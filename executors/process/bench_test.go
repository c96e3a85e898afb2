package process_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/process"
)

// The difference between these two is the cost of a step on top of fork and exec.

func BenchmarkExec(b *testing.B) {
	for b.Loop() {
		if err := exec.Command("/bin/true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApplyAndWait(b *testing.B) {
	e := newExecutor(process.Options{})
	root := b.TempDir()
	n := 0
	for b.Loop() {
		n++
		h, err := e.Apply(b.Context(), command(b, filepath.Join(root, strconv.Itoa(n)), "/bin/true"), nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := e.Wait(b.Context(), h); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDestroyEnded(b *testing.B) {
	e := newExecutor(process.Options{})
	root := b.TempDir()
	n := 0
	for b.Loop() {
		n++
		b.StopTimer()
		h, err := e.Apply(b.Context(), command(b, filepath.Join(root, strconv.Itoa(n)), "/bin/true"), nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := e.Wait(b.Context(), h); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := e.Destroy(b.Context(), h); err != nil {
			b.Fatal(err)
		}
	}
}

func command(tb testing.TB, dir string, argv ...string) executors.Task {
	tb.Helper()
	mkdir(tb, dir)
	return executors.Task{
		Unit: ir.Unit{ID: "steps/x/run", Entity: "steps/x", Kind: ir.Job, Component: "command",
			Code: ir.Code{Runtime: ir.Command, Command: argv}},
		Key: "k", Name: "steps-x-run-k-1", Dir: dir,
	}
}

// BenchmarkFiles creates what every run folder needs: a slow disk shows here.
func BenchmarkFiles(b *testing.B) {
	root := b.TempDir()
	n := 0
	for b.Loop() {
		n++
		dir := filepath.Join(root, strconv.Itoa(n))
		for _, d := range []string{dir, filepath.Join(dir, "out"), filepath.Join(dir, "scratch")} {
			if err := os.Mkdir(d, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		for _, f := range []string{"step.json", "log", "process.json", "exit"} {
			if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
}
