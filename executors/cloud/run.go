package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Stores are the stores that an executor has opened, by URL. Those in one bucket share its connections.
type Stores struct {
	mu   sync.Mutex
	open map[string]*remote.Store
}

// At returns the store at a URL.
func (s *Stores) At(ctx context.Context, url string) (*remote.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.open[url]; x != nil {
		return x, nil
	}
	for _, other := range s.open {
		if x := other.Beside(url); x != nil {
			s.open[url] = x
			return x, nil
		}
	}
	x, err := remote.Open(context.WithoutCancel(ctx), url)
	if err != nil {
		return nil, err
	}
	if s.open == nil {
		s.open = map[string]*remote.Store{}
	}
	s.open[url] = x
	return x, nil
}

// Close closes all of them.
func (s *Stores) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for url, x := range s.open {
		err = errors.Join(err, x.Close())
		delete(s.open, url)
	}
	return err
}

// A Job is a job or a service in a cloud, as [Run] follows it.
type Job interface {
	// Look returns the status of the job, and its result if it has ended and stored one.
	Look(context.Context) (state.Status, *pod.Result, error)
	// Printed returns the lines that the job has printed since the last call, also those that it has
	// read before an error.
	Printed(context.Context) ([]byte, error)
	// Abandon ends a job that has failed without a result, and may start later.
	Abandon(context.Context) error
}

// A paged job is one whose log arrives in pages, so that a long one is never in memory as a whole.
type paged interface {
	// More reports whether [Job.Printed] has more to return at once.
	More() bool
}

// A Run is a start of a task: where it keeps things here and in the bucket.
type Run struct {
	Start  string                   // names it in the bucket
	Record string                   // names it in the cloud, where no other start of any task has this name
	Serves bool                     // the task is a service
	Dir    string                   // folder on this machine, or ""
	File   string                   // in this folder, which says how it has ended
	Notes  string                   // URL of the store with its log and its result
	Out    func(port string) string // URLs of the stores of its outputs
	// Pause is how long to wait between two looks. It doubles up to Longest while nothing happens.
	Pause, Longest time.Duration
	LateLog        bool // lines arrive in the cloud after minutes, so that the last one is not waited for
	Stores         *Stores
}

// A runEnd is what the folder of a run says about a job that has ended and whose outputs and log
// are all here, so that nobody has to ask the cloud again.
type runEnd struct {
	Record string       `json:"definition"` // what AWS Batch, the first cloud, calls it
	Status state.Status `json:"status"`
}

func (r Run) endPath() string { return filepath.Join(r.Dir, r.File) }
func (r Run) logPath() string { return filepath.Join(r.Dir, "log") }

// Ended returns how the job ended, if its folder says so.
func (r Run) Ended() (state.Status, bool) {
	var e runEnd
	if r.Dir == "" || local.ReadJSON(r.endPath(), &e) != nil || e.Record != r.Record {
		return state.Status{}, false
	}
	return e.Status, true
}

// here reports whether the folder of the run exists.
func (r Run) here() bool {
	_, err := os.Stat(r.Dir)
	return r.Dir != "" && !errors.Is(err, fs.ErrNotExist)
}

// Forget removes the notes of the run from the bucket, and scratch and the executor's own files from
// its folder, which the caller has locked if it exists.
func (r Run) Forget(ctx context.Context) error {
	notes, err := r.Stores.At(ctx, r.Notes)
	if err == nil {
		err = notes.DeleteNotes(ctx, "runs/"+r.Start+"/")
	}
	if err != nil || !r.here() {
		return err
	}
	if err := files.Sweep(r.Dir); err != nil {
		return err
	}
	if err := files.RemoveAll(filepath.Join(r.Dir, "scratch")); err != nil {
		return err
	}
	if err := os.Remove(r.endPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Result returns what tenon-pod stored at the end of the job, or nil.
func (r Run) Result(ctx context.Context) (*pod.Result, error) {
	s, err := r.Stores.At(ctx, r.Notes)
	if err != nil {
		return nil, err
	}
	b, err := s.Note(ctx, pod.ResultNote(r.Start))
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

// Wait returns once a service is ready or has failed, or once a job has ended, after it has fetched the
// log of the job, its metrics and, if it succeeded, its outputs. Meanwhile it copies the log and the
// progress.
func (r Run) Wait(ctx context.Context, j Job) (state.Status, error) {
	log, err := r.writeLog()
	if err != nil {
		return state.Status{}, err
	}
	defer log.close()
	said := ""
	for pause := r.Pause; ; pause = min(2*pause, r.Longest) {
		now, res, err := j.Look(ctx)
		if err != nil {
			return state.Status{Phase: state.Running}, err
		}
		if now.Phase == state.Absent {
			return now, nil
		}
		if err := log.copy(ctx, j); err != nil {
			return now, err
		}
		switch {
		case now.Phase == state.Ready:
			return now, nil
		case now.Phase != state.Running && r.Serves: // it may yet recover, so nothing is written down
			log.close()
			now.Message = r.withLastLine(now.Message)
			return now, nil
		case now.Phase != state.Running:
			return r.bring(ctx, j, now, res, log)
		}
		if now.Message != said {
			if said = now.Message; said != "" {
				if err := inside.AppendProgress(r.Dir, step.Progress{Waits: said}); err != nil {
					return now, err
				}
			}
		}
		if log.moved {
			pause = r.Pause
		}
		if err := Sleep(ctx, pause); err != nil {
			return now, err
		}
	}
}

// bring fetches what a job left that has ended, and writes down that it is here.
func (r Run) bring(ctx context.Context, j Job, now state.Status, res *pod.Result, log *logCopy) (state.Status, error) {
	if res != nil { // the log says so at its end, which may arrive later than the end itself
		if err := r.drain(ctx, j, log); err != nil {
			return now, err
		}
	}
	log.close()
	if now.Phase == state.Failed && res == nil {
		if err := j.Abandon(ctx); err != nil {
			return now, err
		}
		now.Message = r.withLastLine(now.Message)
	}
	locked, err := local.Lock(ctx, r.Dir)
	if err != nil {
		return now, err
	}
	defer locked.Close()
	if had, ok := r.Ended(); ok { // another tenon was faster
		return had, nil
	}
	if res != nil {
		if err := r.fetch(ctx, now, res); err != nil {
			return now, err
		}
	}
	return now, local.SaveJSON(r.endPath(), runEnd{r.Record, now})
}

// withLastLine adds to the message of a failure what the program printed last.
func (r Run) withLastLine(message string) string {
	if line := inside.LastLine(r.logPath()); line != "" {
		return message + "; it printed last: " + line
	}
	return message
}

// fetch gets the log, the metrics and the outputs from the bucket.
func (r Run) fetch(ctx context.Context, now state.Status, res *pod.Result) error {
	tmp, err := os.MkdirTemp(r.Dir, files.HalfWritten)
	if err != nil {
		return err
	}
	defer files.RemoveAll(tmp) //nolint:errcheck // what is left is swept
	if res.Log != nil {
		notes, err := r.Stores.At(ctx, r.Notes)
		if err == nil {
			err = notes.Get(ctx, *res.Log, filepath.Join(tmp, "log"))
		}
		if err != nil {
			return fmt.Errorf("its log: %w", err)
		}
		if err := os.Rename(filepath.Join(tmp, "log"), r.logPath()); err != nil {
			return err
		}
	}
	return inside.Fetch(ctx, r.Dir, res, now.Phase == state.Succeeded, func(ctx context.Context, port string) (*remote.Store, error) {
		return r.Stores.At(ctx, r.Out(port))
	})
}

// Sleep waits, at most until ctx is done.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
