package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
)

// A jobEnd is what the folder of a run says about a job that has ended and whose outputs and
// log are all here, so that nobody has to ask the cluster again.
type jobEnd struct {
	UID    types.UID    `json:"uid"` // of the task's ConfigMap
	Status state.Status `json:"status"`
}

func jobEndPath(dir string) string   { return filepath.Join(dir, "kubernetes.json") }
func (ts taskState) logPath() string { return filepath.Join(ts.Dir, "log") }

// ended returns how the job ended, if its folder says so.
func (ts taskState) ended() (state.Status, bool) {
	var e jobEnd
	if ts.Dir == "" || local.ReadJSON(jobEndPath(ts.Dir), &e) != nil || e.UID != ts.UID {
		return state.Status{}, false
	}
	return e.Status, true
}

// bring puts the log, the metrics and, if the job succeeded, the outputs where the
// engine looks for them.
func (e *Executor) bring(ctx context.Context, l *link, ts taskState, st state.Status, res *pod.Result, p *corev1.Pod, f *follower) (state.Status, error) {
	whole := f.stop() == nil && ts.whole(res)
	locked, err := local.Lock(ctx, ts.Dir)
	if err != nil {
		return st, err
	}
	defer locked.Close()
	if had, ok := ts.ended(); ok { // another tenon was faster
		return had, nil
	}
	if !whole {
		if err := e.fetchLog(ctx, l, ts, res, p); err != nil {
			return st, err
		}
	}
	if res != nil {
		if err := e.fetch(ctx, ts, st, res); err != nil {
			return st, err
		}
	}
	return st, local.SaveJSON(jobEndPath(ts.Dir), jobEnd{ts.UID, st})
}

// whole reports whether the log in the folder is as long as the one that the pod
// stored. Nodes keep only the end of a long log.
func (ts taskState) whole(res *pod.Result) bool {
	if res == nil || res.Log == nil {
		return true
	}
	info, err := os.Stat(ts.logPath())
	return err == nil && info.Size() == res.Log.Size
}

// fetchLog replaces the log with the whole one: from the store, or from the node if the
// pod could not store it.
func (e *Executor) fetchLog(ctx context.Context, l *link, ts taskState, res *pod.Result, p *corev1.Pod) error {
	tmp, err := os.MkdirTemp(ts.Dir, files.HalfWritten)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // what is left is swept
	log := filepath.Join(tmp, "log")
	switch {
	case res != nil && res.Log != nil:
		s, err := e.store(ctx, ts.Store)
		if err == nil {
			err = s.Get(ctx, *res.Log, log)
		}
		if err != nil {
			return fmt.Errorf("its log: %w", err)
		}
	case started(p):
		if err := ts.readLog(ctx, l, p, log, false); err != nil {
			return err
		}
	default:
		return nil
	}
	return os.Rename(log, ts.logPath())
}

// logPatience is how long reading the log of an abandoned task may take: its node may
// not answer.
const logPatience = 10 * time.Second

// saveLog saves the log of a service in the folder of the run, because it is deleted
// with the pods. If the service died, the log is that of the program that ended.
func (ts taskState) saveLog(ctx context.Context, l *link, p *corev1.Pod, died bool) error {
	if ts.Dir == "" || !started(p) {
		return errors.New("it printed nothing")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logPatience)
	defer cancel()
	tmp, err := os.MkdirTemp(ts.Dir, files.HalfWritten)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // what is left is swept
	log, before := filepath.Join(tmp, "log"), filepath.Join(tmp, "before")
	s := p.Status.ContainerStatuses[0]
	err = ts.readLog(ctx, l, p, log, false)
	// The cluster restarts the program, at once after its first end. What runs now then
	// has another log, even if that is not visible here yet.
	if died && (s.State.Running != nil || s.RestartCount == 0) && ts.readLog(ctx, l, p, before, true) == nil {
		log, err = before, nil
	}
	if err != nil {
		return err
	}
	return os.Rename(log, ts.logPath())
}

// readLog reads the log of a pod that has ended, or with before that of the program
// that ran before the current one. If the log of an ended pod cannot be read, the file
// says so: a missing log must not fail a task that succeeded.
func (ts taskState) readLog(ctx context.Context, l *link, p *corev1.Pod, to string, before bool) error {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	reader, lost := pod.NewLogReader(f, nil), (*unreachable)(nil)
	if before {
		var body io.ReadCloser
		if body, err = l.openLog(ctx, p, false, true); err == nil {
			_, err = io.Copy(reader, body)
			body.Close()
		}
		return errors.Join(err, reader.Close(), f.Close())
	}
	limited, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	err = l.copyLog(limited, p, reader, ts.Kind == ir.Job) // it has ended, so following only resumes broken connections
	if err != nil && ctx.Err() == nil && !errors.As(err, &lost) {
		_, err = fmt.Fprintf(f, "tenon: the rest of the log is missing: %v\n", err)
	}
	return errors.Join(err, reader.Close(), f.Close())
}

// fetch gets the metrics and outputs from the store.
func (e *Executor) fetch(ctx context.Context, ts taskState, st state.Status, res *pod.Result) error {
	return inside.Fetch(ctx, ts.Dir, res, st.Phase == state.Succeeded, func(ctx context.Context, _ string) (*remote.Store, error) {
		return e.store(ctx, ts.Store)
	})
}

// forget removes the executor's own files from the folder.
func (ts taskState) forget(ctx context.Context) error {
	if ts.Dir == "" {
		return nil
	}
	locked, err := local.Lock(ctx, ts.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer locked.Close()
	if err := files.Sweep(ts.Dir); err != nil {
		return err
	}
	if err := files.RemoveAll(filepath.Join(ts.Dir, "scratch")); err != nil {
		return err
	}
	if err := os.Remove(jobEndPath(ts.Dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
