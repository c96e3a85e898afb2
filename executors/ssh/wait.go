package ssh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/ssh/host"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
)

// Wait returns once a service is ready or has died, or a job has ended, after it has fetched its
// log, its metrics and, if it succeeded, its outputs. Meanwhile it copies the progress. A task whose host is lost has
// failed. When ctx is done, it leaves the task running.
func (e *Executor) Wait(ctx context.Context, h state.Handle) (state.Status, error) {
	st, err := e.fromHandle(h)
	if err != nil {
		return state.Status{}, err
	}
	if was, ok := st.ended(); ok {
		return was, nil
	}
	if st.isAbandoned() {
		return state.Status{Phase: state.Absent}, nil
	}
	now, err := e.wait(ctx, st)
	var gone *lostError
	if errors.As(err, &gone) && gone.idle && st.Kind == ir.Job && len(e.line(st.Host).host.Start) > 0 {
		now, err = e.waitAwake(ctx, st, gone)
	}
	switch {
	case errors.As(err, &gone):
		return lost(gone), nil
	case ctx.Err() != nil && err != nil:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			_ = e.bringLog(context.WithoutCancel(ctx), st) // to see why it took so long
		}
		return now, fmt.Errorf("wait for %s: %w", st.Service.Unit, ctx.Err())
	case err != nil:
		return now, fmt.Errorf("wait for %s: %w", st.Service.Unit, err)
	}
	return now, nil
}

// waitAwake starts the host of a job that does not answer, and waits there: the job may have ended before the host stopped
// itself, while nobody was connected. One that had not ended was interrupted. A host that cannot be started is lost.
func (e *Executor) waitAwake(ctx context.Context, st taskState, gone *lostError) (state.Status, error) {
	if err := e.line(st.Host).wake(ctx); err != nil {
		if ctx.Err() == nil && !errors.As(err, new(*lostError)) {
			err = &lostError{gone.host, err, true}
		}
		return state.Status{}, err
	}
	now, err := e.wait(ctx, st)
	if local.CutOff(now) {
		now.Interrupted = true
	}
	return now, err
}

func (e *Executor) wait(ctx context.Context, st taskState) (now state.Status, err error) {
	now = state.Status{Phase: state.Running}
	err = e.line(st.Host).patiently(ctx, e.opts.Patience, func(l *link) error {
		at, err := st.follow(ctx, l)
		if err != nil {
			return err
		}
		// What a service leaves is fetched when it is destroyed: until then it may be started again.
		if now = here(at); now.Phase == state.Absent || st.Kind == ir.Service {
			return nil
		}
		now, err = st.bring(ctx, l, now)
		return err
	})
	return now, err
}

// follow copies the progress of a job until it has ended, and returns how.
func (st taskState) follow(ctx context.Context, l *link) (host.Status, error) {
	path := filepath.Join(st.Dir, executors.ProgressFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return host.Status{}, own(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return host.Status{}, own(err)
	}
	defer f.Close()
	named := st.named()
	if named.Offset, err = f.Seek(0, io.SeekEnd); err != nil {
		return host.Status{}, own(err)
	}
	body, err := l.ask(ctx, host.WaitPath, named)
	if err != nil {
		return host.Status{}, err
	}
	defer body.Close()
	for moments := json.NewDecoder(body); ; {
		var m host.Moment
		if err := moments.Decode(&m); err != nil {
			return host.Status{}, err
		}
		switch {
		case m.Error != "":
			return host.Status{}, &saidError{l.host, 0, m.Error}
		case m.Status != nil:
			return *m.Status, nil
		}
		if _, err := f.Write(m.Progress); err != nil {
			return host.Status{}, own(err)
		}
	}
}

// bring fetches what a job left that has ended, and writes down that it is here.
func (st taskState) bring(ctx context.Context, l *link, now state.Status) (state.Status, error) {
	locked, err := local.Lock(ctx, st.Dir)
	if err != nil {
		return now, own(err)
	}
	defer locked.Close()
	if had, ok := st.ended(); ok { // another tenon was faster
		return had, nil
	}
	res, err := ask[host.Result](ctx, l, host.ResultPath, st.named())
	if err == nil {
		err = st.fetchLog(ctx, l)
	}
	var said *saidError
	if errors.As(err, &said) {
		// It may have been destroyed since.
		at, again := ask[host.Status](ctx, l, host.InspectPath, st.named())
		if again == nil && at.Phase == state.Absent {
			return at.Status, nil
		}
	}
	if err != nil {
		return now, err
	}
	if len(res.Metrics) > 0 {
		if err := files.Write(filepath.Join(st.Dir, executors.MetricsFile), res.Metrics, 0o644); err != nil {
			return now, own(err)
		}
	}
	if now.Phase == state.Succeeded {
		for _, port := range slices.Sorted(maps.Keys(res.Faults)) {
			now.Phase, now.Message = state.Failed, oneLine("output "+port+": "+res.Faults[port])
		}
	}
	if now.Phase == state.Succeeded {
		if err := st.fetch(ctx, l, res); err != nil {
			return now, err
		}
	}
	return now, own(local.SaveJSON(st.endPath(), end{st.UID, now}))
}

// fetch puts the outputs where the engine looks for them.
func (st taskState) fetch(ctx context.Context, l *link, res host.Result) error {
	out := filepath.Join(st.Dir, "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return own(err)
	}
	tmp, err := os.MkdirTemp(st.Dir, files.HalfWritten)
	if err != nil {
		return own(err)
	}
	defer files.RemoveAll(tmp) //nolint:errcheck // what is left is swept
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for port, ref := range res.Outputs {
		group.Go(func() error {
			if !portOf(port) {
				return own(fmt.Errorf("host %s reports an unknown output %q", l.host, port))
			}
			at, to := filepath.Join(tmp, port), filepath.Join(out, port)
			if err := l.get(inGroup, ref, at); err != nil {
				return fmt.Errorf("output %s: %w", port, err)
			}
			// An attempt that was interrupted may have left some.
			return own(errors.Join(files.RemoveAll(to), os.Rename(at, to)))
		})
	}
	return group.Wait()
}

// fetchLog replaces the log in the folder of the run with what the host has.
func (st taskState) fetchLog(ctx context.Context, l *link) error {
	body, err := l.ask(ctx, host.LogsPath, st.named())
	if err != nil {
		return err
	}
	defer body.Close()
	tmp, err := os.MkdirTemp(st.Dir, files.HalfWritten)
	if err != nil {
		return own(err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // what is left is swept
	f, err := os.Create(filepath.Join(tmp, "log"))
	if err != nil {
		return own(err)
	}
	_, err = io.Copy(ownWriter{f}, body)
	if err = errors.Join(err, own(f.Close())); err != nil {
		return err
	}
	return own(os.Rename(f.Name(), st.logPath()))
}

// logPatience is how long it may take to fetch the log of a job that is given up.
const logPatience = 5 * time.Second

// bringLog fetches the log of a job, unless its host does not answer at once.
func (e *Executor) bringLog(ctx context.Context, st taskState) error {
	if _, err := os.Stat(st.Dir); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	l, err := e.line(st.Host).connected(ctx)
	if err != nil {
		return err
	}
	return st.fetchLog(ctx, l)
}

// Logs copies the output of a job: from this machine once that is complete here, and otherwise
// from its host. With follow it continues until the job has ended.
func (e *Executor) Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error {
	st, err := e.fromHandle(h)
	if err != nil {
		return err
	}
	if err := e.logs(ctx, st, w, follow); err != nil {
		return fmt.Errorf("log of %s: %w", st.Service.Unit, err)
	}
	return nil
}

func (e *Executor) logs(ctx context.Context, st taskState, w io.Writer, follow bool) error {
	if _, ok := st.ended(); ok {
		return local.Follow(ctx, st.logPath(), w, func() bool { return false }, nil)
	}
	named := st.named()
	named.Follow = follow
	var written int64
	err := e.line(st.Host).patiently(ctx, e.opts.Patience, func(l *link) error {
		body, err := l.ask(ctx, host.LogsPath, named)
		if err != nil {
			return err
		}
		defer body.Close()
		// After a connection has broken, the log is sent again from its beginning.
		if _, err := io.CopyN(io.Discard, body, written); err != nil {
			return err
		}
		n, err := io.Copy(ownWriter{w}, body)
		written += n
		return err
	})
	var said *saidError
	if _, gone := os.Stat(st.logPath()); errors.As(err, &said) && said.absent() && !errors.Is(gone, fs.ErrNotExist) {
		return local.Follow(ctx, st.logPath(), w, func() bool { return false }, nil)
	}
	return err
}

// ownWriter marks errors of this machine.
type ownWriter struct{ w io.Writer }

func (o ownWriter) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	return n, own(err)
}
