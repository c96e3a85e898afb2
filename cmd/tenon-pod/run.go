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
	"github.com/tenon-ml/tenon/executors/local/pid1"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// options are the flags of the command.
type options struct {
	url, digest   string // of the store, and of the task
	work, message string // paths
	patience      time.Duration
}

// A runner is one run of a task.
type runner struct {
	options
	log       *pod.LogWriter
	signals   <-chan os.Signal // for the program
	container []string         // the variables of the container
	store     *remote.Store
	stores    stores
	task      pod.Task
	tail      *tail     // the end of the program's output; nil for a service
	keeper    *keeper   // of checkpoints; nil if the job keeps none
	started   io.Closer // set once the program of a service without an endpoint has started
	result    pod.Result
}

// run runs the task and returns how it ended.
func (o options) run(stdout io.Writer) pod.End {
	r := &runner{options: o, log: pod.NewLogWriter(stdout)}
	r.result.ExitCode, r.result.Started = pid1.ExitFault, time.Now().UTC()
	// ctx is done once the pod was asked to end.
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if done, err := r.begin(ctx); err != nil {
		r.fail(ctx, err)
	} else if !done {
		r.do(ctx)
	}
	r.stores.close()
	if r.store != nil {
		_ = r.store.Close() // it has acknowledged everything it has
	}
	if r.result.Stored {
		_ = r.log.Last() // without it, a reader waits for the cluster to report the end
	}
	return r.result.End
}

// begin sets up the first process of a container and reads the task. done reports that
// the task has ended before.
func (r *runner) begin(ctx context.Context) (done bool, err error) {
	if err := pid1.Check(); err != nil {
		return false, err
	}
	r.signals, r.container = pid1.Signals(), os.Environ()
	if err := withdraw(r.container); err != nil {
		return false, err
	}
	return r.open(ctx)
}

// do runs the program of the task.
func (r *runner) do(ctx context.Context) {
	p, err := r.start(ctx)
	if err == nil {
		finish, kept := r.ship(ctx), r.keep(ctx)
		r.follow(ctx, p)
		finish()
		kept()
	} else {
		r.fail(ctx, err)
		r.patience = 0 // there are no outputs to lose
	}
	// A pod that was asked to end may have to start over, unless it has succeeded.
	if r.task.Kind == ir.Job && !r.result.Asked {
		r.upload(context.WithoutCancel(ctx))
		r.forget(context.WithoutCancel(ctx))
	}
}

// fail records and prints why the program could not be started.
func (r *runner) fail(ctx context.Context, err error) {
	r.result.Finished = time.Now().UTC()
	if r.result.Asked = ctx.Err() != nil; r.result.Asked {
		r.ended(128 + int(unix.SIGTERM))
		err = errors.New("the pod was stopped before its program started")
	}
	r.fault(err)
	fmt.Fprintf(both{r.log, r.tail}, "tenon: %s\n", r.result.Fault)
}

// fault records in one line why the run failed.
func (r *runner) fault(err error) { r.result.Fault = strings.Join(strings.Fields(err.Error()), " ") }

// ended records an exit status.
func (r *runner) ended(status int) {
	if r.result.ExitCode, r.result.Signal = status, ""; status > 128 {
		r.result.Signal = unix.SignalName(unix.Signal(status - 128))
	}
}
