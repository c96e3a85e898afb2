package aws

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
)

// A task state is what the handle of a task stores about it.
type taskState struct {
	Region  string `json:"region"`
	Account string `json:"account"`
	Place   place  `json:"place,omitempty"` // of its backend; "" is [onBatch]
	Name    string `json:"name"`            // of the task
	Unit    string `json:"unit"`
	// Record is the ARN or the name of what records this start of the task in AWS: for Batch a
	// revision of a job definition, for SageMaker the training job itself.
	Record string `json:"definition,omitempty"`
	Root   string `json:"root"`          // "s3://bucket/folder" of the system
	Dir    string `json:"dir,omitempty"` // folder of the run on this machine

	Run   string `json:"run,omitempty"` // name of its job definition and of its job
	Job   string `json:"job,omitempty"` // id in Batch; "" before it is submitted
	Queue string `json:"queue,omitempty"`
	Group string `json:"group,omitempty"` // of its log

	Function string `json:"function,omitempty"` // name in Lambda, of all versions
	Ready    string `json:"ready,omitempty"`    // path that answers 200 once a service is ready
	URL      string `json:"url,omitempty"`      // of a service
}

// taskState returns the state of a task that has no record yet.
func (e *Executor) taskState(c *cloud, t executors.Task) taskState {
	w := e.names()
	st := taskState{
		Region: c.region, Account: c.account, Place: w.place(&t.Unit), Name: t.Name, Unit: t.Unit.ID, Root: "s3://" + w.bucket(c) + "/" + w.root, Dir: t.Dir,
	}
	e.backend(st.Place).prepare(&st, t)
	return st
}

// names returns what knows the names of resources. It has no units.
func (e *Executor) names() *writer {
	return newWriter(&ir.System{Name: e.opts.System, Env: e.opts.Env}, e.opts.Settings)
}

// runName returns the name of a task in the region, where other states have some too.
func (e *Executor) runName(task string) string {
	const most = 128 - 17 // of a job and its definition
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, "tenon-"+task)
	sum := sha256.Sum256([]byte(e.opts.State + "\n" + task))
	return plain[:min(len(plain), most)] + "-" + hex.EncodeToString(sum[:8])
}

// start names one start of the task: a task that was destroyed may start again.
func (st taskState) start() string {
	return strings.ReplaceAll(st.Record[strings.LastIndexByte(st.Record, '/')+1:], ":", "-")
}

// notes and out are the stores for notes and an output, below the root.
func (st taskState) notes() string           { return st.in(below(st.Unit, "notes")) }
func (st taskState) in(folder string) string { return st.Root + "/" + strings.TrimSuffix(folder, "/") }
func (st taskState) out(port string) string  { return st.in(below(st.Unit, "out", port)) }
func (st taskState) endPath() string         { return filepath.Join(st.Dir, "aws.json") }
func (st taskState) logPath() string         { return filepath.Join(st.Dir, "log") }
func (st taskState) path(file string) string { return filepath.Join(st.Dir, file) }

// handle returns the handle of the task.
func (st taskState) handle() (state.Handle, error) {
	h, err := local.Handle(Name, st.Name, st)
	h.Endpoint = st.URL
	return h, err
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
	st.Place = cmp.Or(st.Place, onBatch)
	if st.Name == "" || st.Region == "" || st.Record == "" || e.backend(st.Place) == nil {
		return st, fmt.Errorf("handle %s names nothing in AWS", h.ID)
	}
	if e.opts.Runs != "" {
		st.Dir = filepath.Join(e.opts.Runs, st.Name)
	}
	return st, nil
}

// A jobEnd is what the folder of a run says about a job that has ended and whose outputs and log
// are all here, so that nobody has to ask AWS again.
type jobEnd struct {
	Record string       `json:"definition"`
	Status state.Status `json:"status"`
}

// ended returns how the job ended, if its folder says so.
func (st taskState) ended() (state.Status, bool) {
	var e jobEnd
	if st.Dir == "" || local.ReadJSON(st.endPath(), &e) != nil || e.Record != st.Record {
		return state.Status{}, false
	}
	return e.Status, true
}

// forget removes scratch and the executor's own files from the folder of the run, which the
// caller has locked if it exists.
func (st taskState) forget() error {
	if _, err := os.Stat(st.Dir); st.Dir == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := files.Sweep(st.Dir); err != nil {
		return err
	}
	if err := files.RemoveAll(st.path("scratch")); err != nil {
		return err
	}
	if err := os.Remove(st.endPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
