package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local/first"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// options are what the pod's command says.
type options struct {
	url, digest   string // of the store, of the task
	work, message string // paths
	patience      time.Duration
}

// A runner is one run of a task.
type runner struct {
	options
	log    *pod.LogWriter
	store  *remote.Store
	task   pod.Task
	tail   *tail // of what the program prints; nil for a service
	result pod.Result
}

// run does all of it, and says how it ended.
func (o options) run(stdout io.Writer) pod.End {
	r := &runner{options: o, log: pod.NewLogWriter(stdout)}
	r.result.ExitCode, r.result.Started = first.ExitFault, time.Now().UTC()
	// It is done once the pod was asked to end.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := r.all(ctx); err != nil {
		r.fault(err)
		fmt.Fprintf(r.log, "tenon: %s\n", r.result.Fault)
	}
	return r.result.End
}

// all returns an error if the program could not be started.
func (r *runner) all(ctx context.Context) error {
	if err := first.Check(); err != nil {
		return err
	}
	signals := first.Signals()
	container := os.Environ()
	if err := withdraw(container); err != nil {
		return err
	}
	done, err := r.open(ctx)
	if r.store != nil {
		defer r.store.Close() //nolint:errcheck // what it has it has acknowledged
	}
	if err != nil || done {
		return r.orAsked(ctx, err)
	}
	p, err := r.start(ctx, container)
	if err != nil {
		if err = r.orAsked(ctx, err); ctx.Err() == nil && r.task.Kind == ir.Job {
			r.fault(err)
			r.patience = 0 // nothing would be lost
			r.keep(ctx)
		}
		return err
	}
	r.follow(ctx, p, signals)
	if r.task.Kind == ir.Job && (ctx.Err() == nil || r.result.Status() == 0) {
		r.keep(context.WithoutCancel(ctx))
	}
	return nil
}

// fault notes in one line why the run failed.
func (r *runner) fault(err error) { r.result.Fault = strings.Join(strings.Fields(err.Error()), " ") }

// orAsked says in the place of what came of it that the pod was asked to end.
func (r *runner) orAsked(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		r.ended(128 + int(unix.SIGTERM))
		return errors.New("the pod was asked to end before its program ran")
	}
	return err
}

// ended notes a status.
func (r *runner) ended(status int) {
	if r.result.ExitCode, r.result.Signal = status, ""; status > 128 {
		r.result.Signal = unix.SignalName(unix.Signal(status - 128))
	}
}
