package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// lookEvery is how often tenon polls for what no watch reports: why no pod can be
// created, and what a probe answers.
const lookEvery = 3 * time.Second

// movedEvery is how often tenon checks whether requests have moved to another version.
const movedEvery = 50 * time.Millisecond

// pullTries is how often an image pull may fail for a reason that may resolve by
// itself.
const pullTries = 3

// Wait returns when a job has ended and its outputs and log are in the run's folder.
// For a service it returns when the service is ready and its Service, if any, selects
// it, or when it has died. Meanwhile it writes the log and the progress of a job to the
// folder. When ctx is done, it returns the current status and leaves the task running.
// It waits for a cluster that stops answering.
func (e *Executor) Wait(ctx context.Context, h state.Handle) (st state.Status, err error) {
	ts, err := e.fromHandle(h)
	if err != nil {
		return st, err
	}
	err = e.visit(ctx, ts, func(l *link, now *taskState) (err error) {
		if now == nil {
			st = state.Status{Phase: state.Absent}
			return nil
		}
		if ts = *now; ts.Kind == ir.Service {
			st, err = e.waitForService(ctx, l, ts)
		} else {
			st, err = e.waitForJob(ctx, l, ts)
		}
		return err
	})
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return st, fmt.Errorf("wait for %s: %w", ts.Unit, err)
	}
	return st, nil
}

// A waiting is one wait for a task, with everything that wakes it.
type waiting struct {
	l       *link
	changed <-chan struct{}
	tick    *time.Ticker
}

// next waits until there may be something new to see.
func (w *waiting) next(ctx context.Context, more <-chan struct{}, patience time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.changed:
	case <-more:
	case <-w.tick.C:
	}
	return w.l.broken(patience)
}

func (e *Executor) waitForJob(ctx context.Context, l *link, ts taskState) (state.Status, error) {
	st := state.Status{Phase: state.Running}
	changed, end := l.watch(ts.Name)
	defer end()
	tick := time.NewTicker(refusedAfter)
	defer tick.Stop()
	w := waiting{l, changed, tick}
	if err := l.ready(ctx, e.opts.Patience, jobs, pods); err != nil {
		return st, err
	}
	var f *follower
	defer func() { f.stop() }()
	pulls, said := newPulls(), ""
	var all []*corev1.Pod
	for seen := false; ; {
		job := one[*batchv1.Job](l.watcher, ts.Name)
		if job == nil {
			// The watch may lag behind an object just created.
			if now, err := e.ask(ctx, l, ts); err != nil || now.Phase == state.Absent || seen {
				return state.Status{Phase: state.Absent}, err
			}
			if err := w.next(ctx, nil, e.opts.Patience); err != nil {
				return st, err
			}
			continue
		}
		seen = true
		if there := current(job, of[*corev1.Pod](l.watcher, ts.Name)); len(there) > 0 {
			all = there // a deleted pod gave its reason before its Job does
		}
		now, res, err := e.lookAtJob(ctx, l, ts, job, all)
		if err != nil {
			return st, err
		}
		if st = now; st.Queued {
			all = nil
		}
		if st.Phase == state.Running && !st.Queued && f.ended() && !several(job) { // the program has reported its end; the kubelet takes a second to notice
			if res, err = e.result(ctx, ts); err != nil {
				return st, err
			}
			if res != nil && res.ExitCode == 0 && res.Fault == "" {
				st = ts.end(job, res, nil)
			}
		}
		p := decisivePod(all)
		if st.Phase == state.Running && pulls.failed(p) {
			st.Phase = state.Failed
		}
		if st.Phase != state.Running {
			return e.bring(ctx, l, ts, st, res, p, f)
		}
		if f != nil && (st.Queued || started(p) && p.UID != f.pod) { // it was suspended and starts over
			f.stop()
			f = nil
		}
		if f == nil && started(p) {
			f = e.follow(ctx, l, ts, p)
		}
		if st.Message != said {
			said = st.Message
			if err := ts.say(said); err != nil {
				return st, err
			}
			tick.Reset(lookEvery)
		}
		if err := w.next(ctx, f.done(), e.opts.Patience); err != nil {
			return st, err
		}
	}
}

// started reports whether the program of a pod has started.
func started(p *corev1.Pod) bool {
	if p == nil {
		return false
	}
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running != nil || s.State.Terminated != nil {
			return true
		}
	}
	return false
}

// pulls counts the failed pulls of an image.
type pulls struct{ seen map[string]bool }

func newPulls() *pulls { return &pulls{map[string]bool{}} }

// failed reports whether the pull has failed too often. Each try is reported once, as a
// new version of the pod.
func (n *pulls) failed(p *corev1.Pod) bool {
	if p == nil {
		return false
	}
	for _, s := range containerStatuses(p) {
		if w := s.State.Waiting; w != nil && w.Reason == "ErrImagePull" {
			n.seen[p.ResourceVersion] = true
		}
	}
	return len(n.seen) >= pullTries
}

func (e *Executor) waitForService(ctx context.Context, l *link, ts taskState) (st state.Status, err error) {
	st.Phase = state.Running
	var shown *corev1.Pod // why it is not ready
	defer func() {
		if ctx.Err() != nil { // the caller may remove the pod next, and its log with it
			_ = ts.saveLog(ctx, l, shown, false)
		}
	}()
	changed, end := l.watch(ts.Name)
	defer end()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	w := waiting{l, changed, tick}
	if err := l.ready(ctx, e.opts.Patience, deployments, pods); err != nil {
		return st, err
	}
	pulls, said := newPulls(), ""
	var known map[ending]bool // before this wait
	for seen := false; ; {
		d, all := one[*appsv1.Deployment](l.watcher, ts.Name), of[*corev1.Pod](l.watcher, ts.Name)
		if d == nil {
			// The watch may lag behind an object just created.
			if now, err := e.ask(ctx, l, ts); err != nil || now.Phase == state.Absent || seen {
				return state.Status{Phase: state.Absent}, err
			}
			if err := w.next(ctx, nil, e.opts.Patience); err != nil {
				return st, err
			}
			continue
		}
		if !seen {
			seen, known = true, map[ending]bool{}
			for _, p := range all {
				maps.Copy(known, endsOf(p))
			}
		}
		if ts.Service != "" && ts.available(d) {
			if err := e.lead(ctx, l, ts); err != nil {
				return st, err
			}
			moved, err := ts.moved(ctx, l, all)
			if err != nil {
				return st, err
			}
			if !moved { // the pods of another version must not be ended yet
				tick.Reset(movedEvery)
				if err := w.next(ctx, nil, e.opts.Patience); err != nil {
					return st, err
				}
				continue
			}
		}
		now, p, err := e.lookAtService(ctx, l, ts, d, all, known)
		if err != nil {
			return st, err
		}
		if st, shown = now, p; st.Phase == state.Running && pulls.failed(last(all)) {
			st.Phase = state.Failed
		}
		if st.Phase == state.Failed && ts.saveLog(ctx, l, p, true) == nil {
			st.Message = ts.withLog(st.Message)
		}
		if st.Phase != state.Running {
			return st, nil
		}
		if st.Message != said {
			said = st.Message
			if err := ts.say(said); err != nil {
				return st, err
			}
		}
		if err := w.next(ctx, nil, e.opts.Patience); err != nil {
			return st, err
		}
	}
}
