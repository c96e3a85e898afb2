package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local/disk"
	"github.com/tenon-ml/tenon/executors/local/pid1"
	"github.com/tenon-ml/tenon/executors/outputs"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// lookEvery is how often the disk and memory usage of the program is measured.
const lookEvery = 200 * time.Millisecond

// A program is a running program.
type program struct {
	pid    int
	output *os.File // its output
	meter  *meter
	route  *routed // nil if it has one version
}

// start fetches the inputs of the task and starts its program.
func (r *runner) start(ctx context.Context) (*program, error) {
	if len(r.task.Command) == 0 {
		return nil, errors.New("the task is damaged: no program to run")
	}
	if err := r.lay(ctx); err != nil {
		return nil, err
	}
	if err := r.readSecrets(ctx); err != nil {
		return nil, err
	}
	if err := r.resume(ctx); err != nil {
		return nil, err
	}
	route, err := r.firstRoute(ctx)
	if err != nil {
		return nil, err
	}
	if r.task.Kind == ir.Job {
		r.tail = newTail(r.at("log"), pod.MaxLog)
	}
	env := r.environ()
	for _, kv := range env { // needed to find the program
		if path, is := strings.CutPrefix(kv, "PATH="); is {
			if err := os.Setenv("PATH", path); err != nil {
				return nil, err
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	output, printing, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer printing.Close()
	// No core dump: it would write the memory, secrets included, to a disk.
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return nil, errors.Join(err, output.Close())
	}
	p := &program{output: output, meter: newMeter(cgroups), route: route}
	r.result.Started = time.Now().UTC()
	var status int
	if p.pid, status, err = pid1.Start(r.task.Step.Code, r.task.Command, env, os.Stdin, printing, printing); err != nil {
		r.ended(status)
		return nil, errors.Join(err, output.Close())
	}
	if r.task.Kind == ir.Service && r.task.Step.Endpoint == nil {
		if r.started, err = announce(); err != nil {
			pid1.EndRest()
			return nil, errors.Join(err, output.Close())
		}
	}
	return p, nil
}

// follow waits until the program and its children are gone, and records how the program
// ended and what it used.
func (r *runner) follow(ctx context.Context, p *program) {
	printed, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(printed)
		_, _ = io.Copy(both{r.log, r.tail}, p.output) // a pipe does not fail
	}()
	var beside sync.WaitGroup
	beside.Go(func() {
		outputs.Tail(r.task.Step.Progress, stop, func(p step.Progress) { _ = r.log.Progress(p) })
	})
	beside.Go(func() { r.watch(ctx, p, stop) })
	if p.route != nil {
		beside.Go(func() { p.route.follow(stop) })
	}

	r.ended(pid1.Follow(p.pid, r.drained()))
	asked := ctx.Err() != nil
	r.result.Finished = time.Now().UTC()
	pid1.EndRest() // this also closes the pipe
	<-printed
	close(stop)
	beside.Wait()
	_ = p.output.Close()

	r.result.Usage, r.result.OutOfMemory = p.meter.read()
	if wrote := r.written(); r.result.Fault == "" && r.result.ExitCode == 0 && wrote > r.task.Disk {
		r.result.Fault = disk.OverQuota(wrote, r.task.Disk)
	}
	if r.result.Asked = asked && r.result.Status() != 0; r.result.Asked && r.result.Fault == "" {
		r.result.Fault = "the pod was stopped"
	}
}

// watch ends a program that exceeds its disk limit or its grace period.
func (r *runner) watch(ctx context.Context, p *program, stop <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	asked := ctx.Done()
	var late <-chan time.Time
	for {
		select {
		case <-stop:
			return
		case <-asked:
			if asked = nil; r.task.Grace > 0 {
				late = time.After(r.task.Drain + r.task.Grace)
			}
		case <-late:
			_ = unix.Kill(-1, unix.SIGKILL) // it may have ended
		case <-timer.C:
			began := time.Now()
			p.meter.look()
			if wrote := r.written(); wrote > r.task.Disk && r.result.Fault == "" {
				r.result.Fault = disk.OverQuota(wrote, r.task.Disk)
				_ = unix.Kill(-1, unix.SIGKILL)
			}
			// Measure a large tree less often, so that measuring stays cheap.
			timer.Reset(max(lookEvery, 20*time.Since(began)))
		}
	}
}

// written returns the disk usage of the program, or 0 if it has no limit.
func (r *runner) written() int64 {
	if r.task.Disk == 0 {
		return 0
	}
	return disk.Written(r.work)
}

// both writes to the log of the pod and to that of the store. An error of one must
// neither affect the other nor stop the program.
type both struct {
	log  io.Writer
	tail *tail
}

func (b both) Write(p []byte) (int, error) {
	_, _ = b.log.Write(p)
	b.tail.write(p)
	return len(p), nil
}

// A tail is a file that keeps the last bytes written to it, as a ring buffer.
type tail struct {
	file  *os.File
	max   int64
	total int64 // bytes written in all
	err   error // why it is unusable
}

func newTail(path string, max int64) *tail {
	f, err := os.Create(path)
	return &tail{file: f, max: max, err: err}
}

func (t *tail) write(b []byte) {
	if t == nil || t.err != nil {
		return
	}
	if over := int64(len(b)) - t.max; over > 0 {
		t.total, b = t.total+over, b[over:]
	}
	for len(b) > 0 && t.err == nil {
		at := t.total % t.max
		n := min(int64(len(b)), t.max-at)
		_, t.err = t.file.WriteAt(b[:n], at)
		t.total, b = t.total+n, b[n:]
	}
}

// end returns the file with the bytes in order, and how many earlier bytes were
// dropped.
func (t *tail) end() (path string, cut int64, err error) {
	if t.err != nil {
		return "", 0, t.err
	}
	defer t.file.Close()
	if t.total <= t.max {
		return t.file.Name(), 0, nil
	}
	first := t.total % t.max
	path = filepath.Join(filepath.Dir(t.file.Name()), "log.tail")
	f, err := os.Create(path)
	if err != nil {
		return "", 0, err
	}
	_, err = io.Copy(f, io.MultiReader(io.NewSectionReader(t.file, first, t.max-first), io.NewSectionReader(t.file, 0, first)))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", 0, fmt.Errorf("put the log in order: %w", err)
	}
	return path, t.total - t.max, nil
}
