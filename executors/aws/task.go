package aws

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/local"
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

	Endpoint string            `json:"endpoint,omitempty"` // name in SageMaker, of all versions
	Instance string            `json:"instance,omitempty"` // type of its instances
	Versions map[string]string `json:"versions,omitempty"` // names of the versions of a service, by variant

	Cluster string `json:"cluster,omitempty"` // of Amazon ECS
	Service string `json:"service,omitempty"` // name there, of all versions
	Host    string `json:"host,omitempty"`    // that the target has given a service, or ""
	Network string `json:"network,omitempty"` // that the target has given a service, or "" for one that Tenon makes
	Machine string `json:"machine,omitempty"` // architecture of its tasks, as Amazon ECS spells it
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
	return plain[:min(len(plain), most)] + "-" + e.taskSum(task)
}

// taskSum is what no other task has, of this state or another.
func (e *Executor) taskSum(task string) string {
	sum := sha256.Sum256([]byte(e.opts.State + "\n" + task))
	return hex.EncodeToString(sum[:sumLength/2])
}

// sumLength is the number of characters of a sum.
const sumLength = 16

// start names one start of the task: a task that was destroyed may start again.
func (st taskState) start() string {
	return strings.ReplaceAll(st.Record[strings.LastIndexByte(st.Record, '/')+1:], ":", "-")
}

// notes is the store for notes, and in is the one in a folder, both below the root.
func (st taskState) notes() string           { return st.in(below(st.Unit, "notes")) }
func (st taskState) in(folder string) string { return st.Root + "/" + strings.TrimSuffix(folder, "/") }

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
	if err := clouds.Decode(h, Name, &st); err != nil {
		return st, err
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

// run returns where a start of a task keeps things.
func (e *Executor) run(c *cloud, st taskState) clouds.Run {
	return clouds.Run{
		Start: st.start(), Record: st.Record, Serves: st.Place.serves(), Dir: st.Dir, File: "aws.json",
		Notes: c.url(st.notes()), Out: func(port string) string { return c.url(st.in(below(st.Unit, "out", port))) },
		Pause: e.opts.Pause, Longest: e.opts.Longest, Stores: &e.stores,
	}
}
