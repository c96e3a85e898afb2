package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local/lives"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
)

// KillPatience is how long processes may take to vanish after SIGKILL. A process that
// hangs in the kernel, for example on a dead network disk, takes longer.
const KillPatience = 10 * time.Second

// A TaskState is what all executors of this machine store about a started task. They
// embed it.
type TaskState struct {
	Name     string       `json:"name"`
	Unit     string       `json:"unit"`
	Kind     ir.Kind      `json:"kind"`
	Dir      string       `json:"dir"`
	Began    time.Time    `json:"began"`
	Disk     int64        `json:"disk,omitempty"` // limit, in bytes
	Instance string       `json:"instance,omitempty"`
	Endpoint *ir.Endpoint `json:"endpoint,omitempty"`
}

func (ts *TaskState) common() *TaskState { return ts }

// Probe completes the status of a running task: it asks a service whether it is ready. One
// that shares its address with a stranger has failed. A service without an endpoint is
// ready once it has run for [executors.Settle]. id is the process of the task, see
// [NewClaim].
func (ts *TaskState) Probe(ctx context.Context, st state.Status, id Ident, container bool) state.Status {
	if st.Phase != state.Running || ts.Kind != ir.Service {
		return st
	}
	life, again := lives.Read(filepath.Join(ts.Dir, lives.File))
	if pause := time.Until(life.Since); again && pause > 0 {
		st.Message = fmt.Sprintf("not ready: it %s, and starts again in %s", life.Why, pause.Round(100*time.Millisecond))
		return st
	}
	began := ts.Began
	if again {
		began = life.Since
	}
	ready, why := settled(began, time.Now())
	asleep := ts.asleep()
	switch {
	case asleep:
		ready = true
	case ts.Endpoint != nil:
		ready, why = answers(ctx, ts.Endpoint, ts.Instance)
	}
	if st.Message = why; !ready {
		return st
	}
	var all []string
	if n := ts.replicas(asleep); n != "" {
		all = append(all, n)
	}
	if again {
		all = append(all, life.String())
	}
	if replicas, again := lives.Read(filepath.Join(ts.Dir, lives.Replicas)); again {
		all = append(all, replicas.OfReplicas())
	}
	st.Message = strings.Join(all, "; ")
	st.Phase = state.Ready
	if ts.Endpoint != nil {
		if err := alone(ctx, ts.Endpoint, NewClaim(*ts, id, container)); err != nil {
			st.Phase, st.Message = state.Failed, err.Error()
		}
	}
	return st
}

// asleep reports whether the program of a service does not run because nobody asks it. To ask it
// whether it is ready would start it.
func (ts *TaskState) asleep() bool {
	if ts.Endpoint == nil || ts.Endpoint.Scale == nil {
		return false
	}
	_, err := os.Lstat(filepath.Join(ts.Dir, lives.Asleep))
	return err == nil
}

// replicas says how many replicas a service has, if that follows its load.
func (ts *TaskState) replicas(asleep bool) string {
	e := ts.Endpoint
	if e == nil || e.Scale == nil {
		return ""
	}
	if asleep {
		return fmt.Sprintf("0 replicas of 0 to %d: the next request starts it", e.Scale.Max)
	}
	if n, ok := lives.ReadCount(filepath.Join(ts.Dir, lives.Count)); ok {
		return fmt.Sprintf("%d replicas of %d to %d", n, e.Replicas, e.Scale.Max)
	}
	return fmt.Sprintf("up to %d requests at once in one process", e.Scale.Max) // the model needs no Python
}

// settled reports whether a program has stayed up long enough at a point in time. A clock
// that was set back since the start does not delay this.
func settled(began, now time.Time) (settled bool, why string) {
	if up := now.Sub(began); up >= 0 && up < executors.Settle {
		return false, fmt.Sprintf("not ready: it is ready once it has run for %s", executors.Settle)
	}
	return true, ""
}

// Lives says how often the program of a service that has failed was started, and its
// replicas were started again, or returns "".
func (ts *TaskState) Lives() (all string) {
	if life, again := lives.Read(filepath.Join(ts.Dir, lives.File)); again {
		all = fmt.Sprintf("; it was started %d times", life.Starts)
	}
	if replicas, again := lives.Read(filepath.Join(ts.Dir, lives.Replicas)); again {
		all += "; " + replicas.OfReplicas()
	}
	return all
}

// A taskStatePointer is a pointer to an executor's type of task state.
type taskStatePointer[T any] interface {
	*T
	common() *TaskState
}

// TaskStates stores the task states of an executor: each is a file in the run's folder,
// with a copy in the handle.
type TaskStates[T any, P taskStatePointer[T]] struct {
	Executor string   // its name in handles
	File     string   // file name of the task state in a run's folder
	Beside   []string // file names of what else the executor writes there for a start
}

// Read reads the task state in a folder. It returns [os.ErrNotExist] if there is none.
func (s TaskStates[T, P]) Read(dir string) (T, error) {
	var ts T
	err := ReadJSON(filepath.Join(dir, s.File), &ts)
	P(&ts).common().Dir = dir
	return ts, err
}

// Save writes the task state to its folder.
func (s TaskStates[T, P]) Save(ts T) error {
	return SaveJSON(filepath.Join(P(&ts).common().Dir, s.File), ts)
}

// In reports whether a folder has a task state: a task was started there and has not been
// destroyed.
func (s TaskStates[T, P]) In(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, s.File))
	return err == nil
}

// Handle returns the handle of a task state.
func (s TaskStates[T, P]) Handle(ts T) (state.Handle, error) {
	return Handle(s.Executor, P(&ts).common().Name, ts)
}

// Of returns the task state in a handle.
func (s TaskStates[T, P]) Of(h state.Handle) (T, error) {
	var ts T
	if h.Executor != s.Executor {
		return ts, fmt.Errorf("handle %s is of executor %q, not of %q", h.ID, h.Executor, s.Executor)
	}
	if err := json.Unmarshal(h.Data, &ts); err != nil {
		return ts, fmt.Errorf("handle %s: %w", h.ID, err)
	}
	if P(&ts).common().Dir == "" {
		return ts, fmt.Errorf("handle %s names no folder", h.ID)
	}
	return ts, nil
}

// Current returns the task state in the folder if it has the same name as that in the
// handle, otherwise the latter. After a restart of a service, the task state in the folder
// is newer.
func (s TaskStates[T, P]) Current(h state.Handle) (T, error) {
	ts, err := s.Of(h)
	if err != nil {
		return ts, err
	}
	was := P(&ts).common()
	if now, err := s.Read(was.Dir); err == nil && P(&now).common().Name == was.Name {
		return now, nil
	}
	return ts, nil
}

// Forget removes what an executor wrote about an earlier start in the folder, including
// half-written files. It removes the task state last, because the rest is found through it.
func (s TaskStates[T, P]) Forget(dir string) error {
	if err := files.Sweep(dir); err != nil {
		return err
	}
	for _, name := range append(s.Beside[:len(s.Beside):len(s.Beside)], s.File) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Clear calls end to remove a task that has ended, then removes scratch and the task state.
// It does nothing if the folder now holds another start.
func (s TaskStates[T, P]) Clear(ctx context.Context, dir string, same func(now T) bool, end func() error) error {
	locked, err := Lock(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return end()
	}
	if err != nil {
		return err
	}
	defer locked.Close()
	if now, err := s.Read(dir); err == nil && !same(now) {
		return nil
	}
	if err := end(); err != nil {
		return err
	}
	if err := files.RemoveAll(filepath.Join(dir, "scratch")); err != nil {
		return err
	}
	return s.Forget(dir)
}

// ReadJSON reads a file that [SaveJSON] wrote. One that was cut off by a power failure
// counts as absent: what it described is gone too.
func ReadJSON(path string, value any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, value); err != nil {
		return fmt.Errorf("%s is truncated: %w", path, os.ErrNotExist)
	}
	return nil
}

// SaveJSON writes a value to a file.
func SaveJSON(path string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return files.Write(path, append(b, '\n'), 0o644)
}

// Handle returns the handle that holds a task state.
func Handle(executor, id string, taskState any) (state.Handle, error) {
	b, err := json.Marshal(taskState)
	if err != nil {
		return state.Handle{}, err
	}
	return state.Handle{Executor: executor, ID: id, Data: b}, nil
}
