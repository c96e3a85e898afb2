package ssh_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/ssh"
	"github.com/tenon-ml/tenon/planner/state"
)

// GPUs of hosts are found there, and each has one job, whichever system asks. The hosts have an
// nvidia-smi that says what a real one printed: no program of the test uses a GPU.
func TestGPUs(t *testing.T) {
	l, runs := newLab(t), t.TempDir()
	install := func(i int, table string) {
		t.Helper()
		script := fmt.Sprintf("#!/bin/sh\ncase \"$1\" in\n--query-gpu=*) echo '%s' ;;\nesac\n", table)
		ok(t, os.WriteFile(filepath.Join(l.All[i].Home, "bin/nvidia-smi"), []byte(script), 0o755))
	}
	for i, table := range []string{
		"0, GPU-a0, NVIDIA A10G, 23028",
		"0, GPU-b0, NVIDIA H100 80GB HBM3, 81559\n1, GPU-b1, NVIDIA H100 80GB HBM3, 81559",
	} {
		ok(t, os.Mkdir(filepath.Join(l.All[i].Home, "bin"), 0o755))
		install(i, table)
	}
	executor := func(system string) *ssh.Executor {
		return l.executor(t, func(o *ssh.Options) { o.Runs, o.State = filepath.Join(runs, system), system })
	}
	// asks starts a job that says which GPUs it sees, and returns that.
	asks := func(system, name string, needs ir.Resources) (*ssh.Executor, state.Handle, string) {
		t.Helper()
		e, task := executor(system), job(t, filepath.Join(runs, system), name)
		task.Unit.Code.Command = []string{"/bin/sh", "-c", `cd "${TENON_STEP%/*}/out" && mkdir -p out && echo "sees:$CUDA_VISIBLE_DEVICES" >out/says.tmp && mv out/says.tmp out/says && exec sleep 600`}
		task.Unit.Needs = needs
		h := apply(t, e, task)
		return e, h, l.sees(t, task)
	}
	large := ir.Resources{GPU: 1, GPUModel: "H100", GPUMemory: 40 << 30}
	e, first, got := asks("one", "first", large)
	if got != "sees:GPU-b0" {
		t.Errorf("the first job %s", got)
	}
	// Another index does not make it another device.
	install(1, "0, GPU-b1, NVIDIA H100 80GB HBM3, 81559\n1, GPU-b0, NVIDIA H100 80GB HBM3, 81559")
	if _, _, other := asks("two", "second", large); other == got {
		t.Errorf("jobs of two systems %s both", other)
	}
	if _, _, none := asks("one", "none", ir.Resources{}); none != "sees:" {
		t.Errorf("a job without GPUs %s", none)
	}

	task := job(t, filepath.Join(runs, "two"), "third", "exit", "0")
	task.Unit.Needs = large
	started := make(chan state.Handle, 1)
	go func() { started <- apply(t, executor("two"), task) }()
	select {
	case <-started:
		t.Fatal("a third job has one of two GPUs")
	case <-time.After(500 * time.Millisecond):
	}
	ok(t, e.Destroy(within(t), first))
	wait(t, e, <-started, state.Succeeded)

	task = job(t, filepath.Join(runs, "two"), "many", "exit", "0")
	task.Unit.Needs = ir.Resources{GPU: 3}
	_, err := e.Apply(within(t), task, nil)
	if err == nil || !strings.Contains(err.Error(), "host "+l.All[1].Address+": it needs 3 GPUs, and the host has 2 of 2") {
		t.Errorf("apply gave %v", err)
	}
}

// sees waits for what a job says.
func (l *lab) sees(t testing.TB, task executors.Task) (text string) {
	t.Helper()
	eventually(t, "it says what it sees", func() bool {
		for _, dir := range l.runs(task) {
			if b, err := os.ReadFile(filepath.Join(dir, "out/out/says")); err == nil {
				text = strings.TrimSpace(string(b))
				return true
			}
		}
		return false
	})
	return text
}
