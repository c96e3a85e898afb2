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

// A Record is the part of a task's record that all executors of this machine share.
// They embed it.
type Record struct {
	Name     string       `json:"name"`
	Unit     string       `json:"unit"`
	Kind     ir.Kind      `json:"kind"`
	Dir      string       `json:"dir"`
	Began    time.Time    `json:"began"`
	Disk     int64        `json:"disk,omitempty"` // limit, in bytes
	Instance string       `json:"instance,omitempty"`
	Endpoint *ir.Endpoint `json:"endpoint,omitempty"`
}

func (r *Record) common() *Record { return r }

// Probe completes the status of a running task: it asks a service whether it is ready. One
// that shares its address with a stranger has failed. A service without an endpoint is
// ready once it has run for [executors.Settle]. id is the process of the task, see
// [NewClaim].
func (r *Record) Probe(ctx context.Context, st state.Status, id Ident, container bool) state.Status {
	if st.Phase != state.Running || r.Kind != ir.Service {
		return st
	}
	life, again := lives.Read(filepath.Join(r.Dir, lives.File))
	if pause := time.Until(life.Since); again && pause > 0 {
		st.Message = fmt.Sprintf("not ready: it %s, and starts again in %s", life.Why, pause.Round(100*time.Millisecond))
		return st
	}
	began := r.Began
	if again {
		began = life.Since
	}
	ready, why := settled(began, time.Now())
	if r.Endpoint != nil {
		ready, why = answers(ctx, r.Endpoint, r.Instance)
	}
	if st.Message = why; !ready {
		return st
	}
	var all []string
	if again {
		all = append(all, life.String())
	}
	if replicas, again := lives.Read(filepath.Join(r.Dir, lives.Replicas)); again {
		all = append(all, replicas.OfReplicas())
	}
	st.Message = strings.Join(all, "; ")
	st.Phase = state.Ready
	if r.Endpoint != nil {
		if err := alone(ctx, r.Endpoint, NewClaim(*r, id, container)); err != nil {
			st.Phase, st.Message = state.Failed, err.Error()
		}
	}
	return st
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
func (r *Record) Lives() (all string) {
	if life, again := lives.Read(filepath.Join(r.Dir, lives.File)); again {
		all = fmt.Sprintf("; it was started %d times", life.Starts)
	}
	if replicas, again := lives.Read(filepath.Join(r.Dir, lives.Replicas)); again {
		all += "; " + replicas.OfReplicas()
	}
	return all
}

// Recorded is a pointer to an executor's type of record.
type Recorded[R any] interface {
	*R
	common() *Record
}

// Records stores the records of an executor: each is a file in the run's folder, with a
// copy in the handle.
type Records[R any, P Recorded[R]] struct {
	Executor string   // its name in handles
	File     string   // file name of the record in a run's folder
	Beside   []string // file names of what else the executor writes there for a start
}

// Read reads the record in a folder. It returns [os.ErrNotExist] if there is none.
func (s Records[R, P]) Read(dir string) (R, error) {
	var r R
	err := ReadRecord(filepath.Join(dir, s.File), &r)
	P(&r).common().Dir = dir
	return r, err
}

// Save writes the record to its folder.
func (s Records[R, P]) Save(r R) error {
	return SaveRecord(filepath.Join(P(&r).common().Dir, s.File), r)
}

// In reports whether a folder has a record: a task was started there and has not been
// destroyed.
func (s Records[R, P]) In(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, s.File))
	return err == nil
}

// Handle returns the handle of a record.
func (s Records[R, P]) Handle(r R) (state.Handle, error) {
	return Handle(s.Executor, P(&r).common().Name, r)
}

// Of returns the record in a handle.
func (s Records[R, P]) Of(h state.Handle) (R, error) {
	var r R
	if h.Executor != s.Executor {
		return r, fmt.Errorf("handle %s is of executor %q, not of %q", h.ID, h.Executor, s.Executor)
	}
	if err := json.Unmarshal(h.Data, &r); err != nil {
		return r, fmt.Errorf("handle %s: %w", h.ID, err)
	}
	if P(&r).common().Dir == "" {
		return r, fmt.Errorf("handle %s names no folder", h.ID)
	}
	return r, nil
}

// Current returns the record in the folder if it has the same name as that in the
// handle, otherwise the latter. After a restart of a service, the record in the folder
// is newer.
func (s Records[R, P]) Current(h state.Handle) (R, error) {
	r, err := s.Of(h)
	if err != nil {
		return r, err
	}
	was := P(&r).common()
	if now, err := s.Read(was.Dir); err == nil && P(&now).common().Name == was.Name {
		return now, nil
	}
	return r, nil
}

// Forget removes what an executor wrote about an earlier start in the folder, including
// half-written files. It removes the record last, because the rest is found through it.
func (s Records[R, P]) Forget(dir string) error {
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

// Clear calls end to remove a task that has ended, then removes scratch and the record.
// It does nothing if the folder now holds another start.
func (s Records[R, P]) Clear(ctx context.Context, dir string, same func(now R) bool, end func() error) error {
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

// ReadRecord reads a record from a file. A record that was cut off by a power failure
// counts as absent: what it described is gone too.
func ReadRecord(path string, record any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, record); err != nil {
		return fmt.Errorf("%s is truncated: %w", path, os.ErrNotExist)
	}
	return nil
}

// SaveRecord writes a record to a file.
func SaveRecord(path string, record any) error {
	b, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return files.Write(path, append(b, '\n'), 0o644)
}

// Handle returns the handle that holds a record.
func Handle(executor, id string, record any) (state.Handle, error) {
	b, err := json.Marshal(record)
	if err != nil {
		return state.Handle{}, err
	}
	return state.Handle{Executor: executor, ID: id, Data: b}, nil
}
