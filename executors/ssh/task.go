package ssh

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/ssh/host"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
)

// newTaskState returns the task state of a task that no host has yet.
func (e *Executor) newTaskState(t executors.Task) taskState {
	return taskState{
		Name: t.Name, Run: e.runName(t.Name), Dir: t.Dir,
		Unit: host.Unit{
			Service: host.Service{State: t.State, Environment: t.Environment, Unit: t.Unit.ID},
			Kind:    t.Unit.Kind, Endpoint: t.Unit.Endpoint,
		},
	}
}

// A task state is what the folder of a run and the handle of a task store about it. It holds
// no secrets: Host names the file of a key.
type taskState struct {
	Host Host   `json:"host"`
	Name string `json:"name"`
	Run  string `json:"run"`           // names its folder on the host
	UID  string `json:"uid,omitempty"` // of the start on the host; "" may be any
	Dir  string `json:"dir,omitempty"` // folder of the run on this machine

	host.Unit
}

func (st taskState) notePath() string { return filepath.Join(st.Dir, "ssh.json") }
func (st taskState) endPath() string  { return filepath.Join(st.Dir, "ended.json") }
func (st taskState) logPath() string  { return filepath.Join(st.Dir, "log") }

// abandonedPath is a file for each host, because a task may be abandoned on several.
func (st taskState) abandonedPath() string {
	return filepath.Join(st.Dir, "abandoned-"+st.Host.id()+".json")
}

func (st taskState) named() host.Named { return host.Named{Run: st.Run, UID: st.UID} }

func (st taskState) handle() (state.Handle, error) {
	h, err := local.Handle(Name, st.Name, st)
	h.Endpoint = st.endpoint()
	return h, err
}

// runName returns the name of the folder of a task on hosts, where other states and machines
// have some too.
func (e *Executor) runName(task string) string {
	sum := sha256.Sum256([]byte(e.opts.State + "\n" + task))
	return hex.EncodeToString(sum[:16])
}

// fromHandle decodes the task state in a handle. It may come from another machine, where the
// folder of the run has another path.
func (e *Executor) fromHandle(h state.Handle) (taskState, error) {
	var st taskState
	if h.Executor != Name {
		return st, fmt.Errorf("handle %s is of executor %q, not of %q", h.ID, h.Executor, Name)
	}
	if err := json.Unmarshal(h.Data, &st); err != nil {
		return st, fmt.Errorf("handle %s: %w", h.ID, err)
	}
	if st.Name == "" || st.Run == "" || st.Host.Address == "" {
		return st, fmt.Errorf("handle %s names nothing on a host", h.ID)
	}
	if e.opts.Runs != "" {
		st.Dir = filepath.Join(e.opts.Runs, st.Name)
	}
	return st, nil
}

// noted returns what the folder of a run says about the host that may have the task, or nil.
func (e *Executor) noted(dir string) (*taskState, error) {
	st := taskState{Dir: dir}
	err := local.ReadJSON(st.notePath(), &st)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	st.Dir = dir
	return &st, err
}

// note writes down which host may have the task. Without a host, none does, except where it is
// abandoned.
func (st taskState) note() error { return st.write(st.notePath(), st) }

// asked reports whether a host may have the task.
func (st taskState) asked() bool { return st.Host.Address != "" }

func (st taskState) write(path string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return files.WriteSynced(path, append(b, '\n'), 0o600)
}

// removed removes a file that may not exist.
func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// An end is how a job ended whose log and outputs are here, so that its host need not be asked
// again.
type end struct {
	UID    string       `json:"uid"`
	Status state.Status `json:"status"`
}

// ended returns how the job ended, if its folder says so.
func (st taskState) ended() (state.Status, bool) {
	var e end
	if local.ReadJSON(st.endPath(), &e) != nil || e.UID != st.UID {
		return state.Status{}, false
	}
	return e.Status, true
}

// abandon writes down that the task has to be ended once its host answers.
func (st taskState) abandon() error {
	if _, err := os.Stat(st.Dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(st.Dir, 0o755); err != nil {
			return err
		}
	}
	return st.write(st.abandonedPath(), st)
}

func (st taskState) isAbandoned() bool {
	var was taskState
	return local.ReadJSON(st.abandonedPath(), &was) == nil && was.UID == st.UID
}

// settled says that nothing is left of an abandoned task.
func (st taskState) settled() error { return removed(st.abandonedPath()) }

// abandoned returns the tasks that have to be ended on a host.
func (e *Executor) abandoned(h Host) (all []taskState) {
	if e.opts.Runs == "" {
		return nil
	}
	paths, _ := filepath.Glob(filepath.Join(e.opts.Runs, "*", "abandoned-*.json")) // the pattern is sound
	for _, path := range paths {
		var st taskState
		if local.ReadJSON(path, &st) == nil && st.Host.same(h) {
			st.Dir = filepath.Dir(path) // the state folder may have moved
			all = append(all, st)
		}
	}
	return all
}

// forget removes scratch and the executor's own files from the folder of the run.
func (st taskState) forget(ctx context.Context) error {
	locked, err := local.Lock(ctx, st.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer locked.Close()
	if err := files.Sweep(st.Dir); err != nil {
		return err
	}
	if err := files.RemoveAll(filepath.Join(st.Dir, "scratch")); err != nil {
		return err
	}
	return errors.Join(removed(st.endPath()), removed(st.notePath()))
}
