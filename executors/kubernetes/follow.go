package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A follower writes the log and the progress of a job to its folder while the job runs.
type follower struct {
	pod    types.UID
	cancel context.CancelFunc
	over   chan struct{} // closed at the end of the log
	err    error         // valid once over is closed: why the log in the folder is incomplete
}

var errElsewhere = errors.New("another tenon writes the log")

// follow starts to follow the log of a pod. If another tenon already follows it, this
// one does not.
func (e *Executor) follow(ctx context.Context, l *link, ts taskState, p *corev1.Pod) *follower {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{pod: p.UID, cancel: cancel, over: make(chan struct{})}
	go func() {
		defer close(f.over)
		f.err = ts.writeLog(ctx, l, p)
	}()
	return f
}

// done returns a channel that is closed at the end of the log.
func (f *follower) done() <-chan struct{} {
	if f == nil || f.ended() {
		return nil
	}
	return f.over
}

// ended reports whether the follower has reached the end of the log.
func (f *follower) ended() bool {
	if f == nil {
		return false
	}
	select {
	case <-f.over:
		return true
	default:
		return false
	}
}

// stop stops the follower. It returns nil if all of the log was written.
func (f *follower) stop() error {
	if f == nil {
		return errElsewhere
	}
	f.cancel()
	<-f.over
	return f.err
}

// writeLog appends the log to the folder of the run as it arrives.
func (ts taskState) writeLog(ctx context.Context, l *link, p *corev1.Pod) (err error) {
	log, err := inside.OpenToWrite(ts.logPath())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	if err := unix.Flock(int(log.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errElsewhere
	}
	if err := log.Truncate(0); err != nil {
		return err
	}
	reader := pod.NewLogReader(log, func(s step.Progress) { _ = inside.AppendProgress(ts.Dir, s) })
	return errors.Join(l.copyLog(ctx, p, untilLast{reader}, true), reader.Close())
}

// untilLast is a writer that accepts nothing after the last line.
type untilLast struct{ *pod.LogReader }

var errLast = errors.New("that was the last line")

func (u untilLast) Write(b []byte) (int, error) {
	n, err := u.LogReader.Write(b)
	if err == nil && u.Last() {
		err = errLast
	}
	return n, err
}

// say adds to the progress of a run why the task does not run.
func (ts taskState) say(waits string) error {
	if waits == "" || ts.Dir == "" {
		return nil
	}
	return inside.AppendProgress(ts.Dir, step.Progress{Waits: waits})
}

// openLog opens the log of a pod's program.
func (l *link) openLog(ctx context.Context, p *corev1.Pod, follow, previous bool) (io.ReadCloser, error) {
	r, err := l.request(http.MethodGet, p)
	if err != nil {
		return nil, err
	}
	r = r.Name(p.Name).SubResource("log").Param("container", container)
	if follow {
		r = r.Param("follow", "true")
	}
	if previous {
		r = r.Param("previous", "true")
	}
	body, err := r.Stream(ctx)
	return body, l.explain(err)
}

// copyLog copies the log of a pod. With follow it continues until the program has
// ended. It reconnects when a connection breaks, and skips what it has already copied.
func (l *link) copyLog(ctx context.Context, p *corev1.Pod, to io.Writer, follow bool) error {
	changed, end := l.watch(p.Labels[labelTask])
	defer end()
	pause := againFirst
	for taken := int64(0); ; {
		// Ask before copying, so that everything printed before the end is copied.
		now, err := l.pod(ctx, p)
		if err != nil && !passing(err) {
			return err
		}
		over := err == nil && (now == nil || !runs(now))
		body, err := l.openLog(ctx, p, follow, false)
		if err == nil {
			if _, err = io.CopyN(io.Discard, body, taken); err == nil {
				var n int64
				n, err = io.Copy(to, body)
				taken += n
			} else if errors.Is(err, io.EOF) {
				err = nil // the node has rotated the log
			}
			body.Close()
		}
		switch {
		case errors.Is(err, errLast):
			return nil
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), err)
		case err == nil && (over || !follow):
			return nil
		case err == nil:
			pause = againFirst
		case apierrors.IsNotFound(err):
			return fmt.Errorf("its log was lost with its pod: %w", err)
		case err != nil && !follow:
			return err
		}
		select { // the end may become visible any moment
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-time.After(pause):
			pause = min(2*pause, againLast) // its node may be away for long
		}
	}
}

// pod returns the current version of a pod, or nil.
func (l *link) pod(ctx context.Context, p *corev1.Pod) (*corev1.Pod, error) {
	now := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: p.Name}}
	err := l.get(ctx, now)
	if apierrors.IsNotFound(err) || err == nil && now.UID != p.UID {
		return nil, nil
	}
	return now, err
}

// runs reports whether the program of a pod may still print something.
func runs(p *corev1.Pod) bool {
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Terminated == nil {
			return p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed
		}
	}
	return len(p.Status.ContainerStatuses) == 0
}

// Logs copies the output of the task to w: from the folder of the run if the log there
// is complete, otherwise from the cluster. With follow it continues until the task has
// ended. If ctx is done first, it returns its error. For a service with several pods it
// copies the log of the newest pod.
func (e *Executor) Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error {
	ts, err := e.fromHandle(h)
	if err == nil {
		err = e.logs(ctx, ts, w, follow)
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("log of %s: %w", ts.Unit, err)
	}
	return nil
}

func (e *Executor) logs(ctx context.Context, ts taskState, w io.Writer, follow bool) error {
	l, err := e.at(ctx, ts.Place)
	if err != nil {
		return err
	}
	now, err := e.read(ctx, l, ts.Name, ts.Dir, ts.Place)
	if err != nil {
		return err
	}
	if _, whole := ts.ended(); now == nil || whole {
		return local.Follow(ctx, ts.logPath(), w, func() bool { return false }, nil)
	}
	p, err := e.newest(ctx, l, *now, follow)
	if err != nil || p == nil {
		return err
	}
	reader := pod.NewLogReader(w, nil)
	return errors.Join(l.copyLog(ctx, p, untilLast{reader}, follow), reader.Close())
}

// newest returns the newest pod of a task whose program has started, or nil. With wait
// it waits for one.
func (e *Executor) newest(ctx context.Context, l *link, ts taskState, wait bool) (*corev1.Pod, error) {
	changed, end := l.watch(ts.Name)
	defer end()
	workload := jobs
	if ts.Kind == ir.Service {
		workload = deployments
	}
	if err := l.ready(ctx, e.opts.Patience, pods, workload); err != nil {
		return nil, err
	}
	for {
		if p := last(of[*corev1.Pod](l.watcher, ts.Name)); started(p) {
			return p, nil
		}
		st, err := e.ask(ctx, l, ts)
		if err != nil || !wait || st.Phase != state.Running {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		case <-time.After(lookEvery):
		}
		if err := l.broken(e.opts.Patience); err != nil {
			return nil, err
		}
	}
}

// withLog adds the last output of the program to a message, from the log in the folder.
func (ts taskState) withLog(message string) string {
	line := inside.LastLine(ts.logPath())
	if line == "" || message != "" && strings.HasPrefix(strings.TrimPrefix(line, "tenon: "), message) {
		return message // the runner has printed it too
	}
	return cmp.Or(message, "it ended") + "; it printed last: " + line
}
