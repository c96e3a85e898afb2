package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"

	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// look returns the status of a task, and its result if it has ended and stored one.
func (e *Executor) look(ctx context.Context, c *cloud, st *taskState) (state.Status, *pod.Result, error) {
	absent := state.Status{Phase: state.Absent}
	there, err := c.isActive(ctx, st.Definition)
	if err != nil || !there {
		return absent, nil, err
	}
	if st.Job == "" {
		if err := e.findJob(ctx, c, st); err != nil || st.Job == "" {
			return absent, nil, err
		}
	}
	job, err := c.job(ctx, st.Job)
	if err != nil {
		return absent, nil, err
	}
	if job != nil && !isOver(job.Status) {
		return e.running(ctx, c, *st, *job)
	}
	res, err := e.result(ctx, c, *st)
	if err != nil || job == nil && res == nil {
		return absent, nil, err
	}
	return statusOf(job, res), res, nil
}

// running returns the status of a job that has not ended.
func (e *Executor) running(ctx context.Context, c *cloud, st taskState, job types.JobDetail) (state.Status, *pod.Result, error) {
	now := state.Status{Phase: state.Running, Started: milliseconds(job.StartedAt)}
	switch job.Status {
	case types.JobStatusRunning, types.JobStatusStarting:
		return now, nil, nil
	case types.JobStatusRunnable:
		if time.Since(milliseconds(job.CreatedAt)) > time.Minute {
			q, env, err := c.queue(ctx, st.Queue)
			if err != nil {
				return now, nil, err
			}
			if why := cannotRun(st.Queue, q, env); why != "" {
				now.Phase, now.Message = state.Failed, why
				return now, nil, nil
			}
		}
	}
	now.Queued, now.Started, now.Message = true, time.Time{}, waits(job)
	return now, nil, nil
}

// milliseconds returns a time of AWS Batch, or zero.
func milliseconds(ms *int64) time.Time {
	if aws.ToInt64(ms) == 0 {
		return time.Time{}
	}
	return time.UnixMilli(*ms).UTC()
}

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

// Wait returns once the job has ended, after it has fetched its log, its metrics and, if the job
// succeeded, its outputs. Meanwhile it copies the log and the progress. When ctx is done, it
// leaves the job running.
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
		now, res, err := e.look(ctx, c, &st)
		if err != nil {
			return state.Status{Phase: state.Running}, err
		}
		if now.Phase == state.Absent {
			return now, nil
		}
		if err := e.copyLog(ctx, c, st, log); err != nil {
			return now, err
		}
		if now.Phase != state.Running {
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
		if err := e.abandon(ctx, c, st.Job); err != nil {
			return now, err
		}
		if line := inside.LastLine(st.logPath()); line != "" {
			now.Message += "; it printed last: " + line
		}
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
	return now, local.SaveJSON(st.endPath(), jobEnd{st.Definition, now})
}

// abandon ends a job that has failed because its queue runs nothing: it would start once the queue
// is enabled.
func (e *Executor) abandon(ctx context.Context, c *cloud, id string) error {
	over, err := c.allOver(ctx, []string{id})
	if err != nil || over {
		return err
	}
	return c.terminate(ctx, id, "its queue runs nothing")
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
