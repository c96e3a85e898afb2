package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// result returns what tenon-pod stored at the end of a job, or nil.
func (e *Executor) result(ctx context.Context, c *cloud, st taskState) (*pod.Result, error) {
	s, err := e.store(ctx, c, st.notes())
	if err != nil {
		return nil, err
	}
	b, err := s.Note(ctx, pod.ResultNote(st.start()))
	if errors.Is(err, artifact.ErrMissing) {
		return nil, nil
	}
	res := &pod.Result{}
	if err == nil {
		err = json.Unmarshal(b, res)
	}
	if err != nil {
		return nil, fmt.Errorf("read the result of the job: %w", err)
	}
	return res, nil
}

// Wait returns once a service is ready or has failed, or once a job has ended, after it has fetched
// the log of the job, its metrics and, if it succeeded, its outputs. Meanwhile it copies the log and the
// progress. When ctx is done, it leaves the task running.
func (e *Executor) Wait(ctx context.Context, h state.Handle) (state.Status, error) {
	st, c, err := e.open(ctx, h)
	if err != nil {
		return state.Status{}, err
	}
	if was, ok := st.ended(); ok {
		return was, nil
	}
	now, err := e.wait(ctx, c, st)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return now, fmt.Errorf("wait for %s: %w", st.Unit, err)
	}
	return now, nil
}

func (e *Executor) wait(ctx context.Context, c *cloud, st taskState) (state.Status, error) {
	log, err := st.writeLog()
	if err != nil {
		return state.Status{}, err
	}
	defer log.close()
	said := ""
	for pause := e.opts.Pause; ; pause = min(2*pause, e.opts.Longest) {
		now, res, err := e.backend(st.Place).look(ctx, c, &st)
		if err != nil {
			return state.Status{Phase: state.Running}, err
		}
		if now.Phase == state.Absent {
			return now, nil
		}
		if err := e.copyLog(ctx, c, st, log); err != nil {
			return now, err
		}
		switch {
		case now.Phase == state.Ready:
			if a, ok := e.backend(st.Place).(admitter); ok {
				err = a.admit(ctx, c, st)
			}
			return now, err
		case now.Phase != state.Running && st.Place.serves(): // which may yet recover, so nothing is written down
			log.close()
			now.Message = withLastLine(now.Message, st)
			return now, nil
		case now.Phase != state.Running:
			return e.bring(ctx, c, st, now, res, log)
		}
		if now.Message != said {
			if said = now.Message; said != "" {
				if err := inside.AppendProgress(st.Dir, step.Progress{Waits: said}); err != nil {
					return now, err
				}
			}
		}
		if log.moved {
			pause = e.opts.Pause
		}
		if err := sleep(ctx, pause); err != nil {
			return now, err
		}
	}
}

// bring fetches what a job left that has ended, and writes down that it is here.
func (e *Executor) bring(ctx context.Context, c *cloud, st taskState, now state.Status, res *pod.Result, log *logCopy) (state.Status, error) {
	if res != nil { // the log says so at its end, which may arrive later than the end itself
		if err := e.drain(ctx, c, st, log); err != nil {
			return now, err
		}
	}
	log.close()
	if now.Phase == state.Failed && res == nil {
		if err := e.backend(st.Place).end(ctx, c, &st); err != nil { // it would start once what it waits for is there
			return now, err
		}
		now.Message = withLastLine(now.Message, st)
	}
	locked, err := local.Lock(ctx, st.Dir)
	if err != nil {
		return now, err
	}
	defer locked.Close()
	if had, ok := st.ended(); ok { // another tenon was faster
		return had, nil
	}
	if res != nil {
		if err := e.fetch(ctx, c, st, now, res); err != nil {
			return now, err
		}
	}
	return now, local.SaveJSON(st.endPath(), jobEnd{st.Record, now})
}

// withLastLine adds to the message of a failure what the program printed last.
func withLastLine(message string, st taskState) string {
	if line := inside.LastLine(st.logPath()); line != "" {
		return message + "; it printed last: " + line
	}
	return message
}

// fetch gets the log, the metrics and the outputs from the bucket.
func (e *Executor) fetch(ctx context.Context, c *cloud, st taskState, now state.Status, res *pod.Result) error {
	tmp, err := os.MkdirTemp(st.Dir, files.HalfWritten)
	if err != nil {
		return err
	}
	defer files.RemoveAll(tmp) //nolint:errcheck // what is left is swept
	if res.Log != nil {
		notes, err := e.store(ctx, c, st.notes())
		if err == nil {
			err = notes.Get(ctx, *res.Log, filepath.Join(tmp, "log"))
		}
		if err != nil {
			return fmt.Errorf("its log: %w", err)
		}
		if err := os.Rename(filepath.Join(tmp, "log"), st.logPath()); err != nil {
			return err
		}
	}
	return inside.Fetch(ctx, st.Dir, res, now.Phase == state.Succeeded, func(ctx context.Context, port string) (*remote.Store, error) {
		return e.store(ctx, c, st.out(port))
	})
}

// saveLog copies the log of a job that is ended, as far as CloudWatch has it.
func (e *Executor) saveLog(ctx context.Context, c *cloud, st taskState) {
	if _, err := os.Stat(st.Dir); st.Dir == "" || errors.Is(err, fs.ErrNotExist) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	log, err := st.writeLog()
	if err != nil {
		return
	}
	defer log.close()
	_ = e.copyLog(ctx, c, st, log) // what can be had
}
