package gcp

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
)

// A task state is what the handle of a task stores about it.
type taskState struct {
	Project string `json:"project"`
	Region  string `json:"region"`
	Name    string `json:"name"` // of the task
	Unit    string `json:"unit"`
	Run     string `json:"run"`               // name of its job, or that of its revision without the token
	Token   string `json:"token"`             // with which the name of its execution or revision ends
	Root    string `json:"root"`              // "gs://bucket/folder" of the system
	Custom  string `json:"custom,omitempty"`  // full name of its job on Vertex AI
	Service string `json:"service,omitempty"` // of a service
	URL     string `json:"url,omitempty"`     // of a service
	State   string `json:"state,omitempty"`   // lineage, of a service
	Idle    bool   `json:"idle,omitempty"`    // a service may have no instance
	Dir     string `json:"dir,omitempty"`
	cloud.HostedState
}

// taskState returns the state of a task that has no job yet.
func (e *Executor) taskState(t executors.Task) taskState {
	w := e.names()
	st := taskState{
		Project: w.Project, Region: w.Region, Name: t.Name, Unit: t.Unit.ID, Run: e.runName(t.Name), Root: e.root(), Dir: t.Dir,
	}
	if p := t.Unit.Endpoint; p != nil {
		least, _ := cloud.Replicas(p)
		st.Idle, st.State = least == 0, e.opts.State
	}
	return st
}

// root returns the URL of the folder of the system.
func (e *Executor) root() string {
	w := e.names()
	return "gs://" + w.bucket() + "/" + w.root
}

// names returns what knows the names of resources. It has no units.
func (e *Executor) names() *writer {
	return newWriter(&ir.System{Name: e.opts.System, Env: e.opts.Env}, e.opts.Settings)
}

// runName returns the name of a task's job in the region, where other states have some too.
func (e *Executor) runName(task string) string {
	sum := sha256.Sum256([]byte(e.opts.State + "\n" + task))
	return e.names().prefix + "-" + hex.EncodeToString(sum[:8])
}

// newToken returns what names a start of a task: a task that was destroyed may start again. The names of
// a job and of its execution have at most 63 characters together with it.
func newToken() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// start names one start of the task, and its execution.
func (st taskState) start() string { return st.Run + "-" + st.Token }

func (st taskState) handle() (state.Handle, error) {
	h, err := local.Handle(Name, st.Name, st)
	h.Endpoint = st.URL
	return h, err
}

// fromHandle decodes the task state in a handle. It may come from another machine, where the
// folder of the run has another path.
func (e *Executor) fromHandle(h state.Handle) (st taskState, err error) {
	if err := cloud.Decode(h, Name, &st); err != nil {
		return st, err
	}
	if st.Name == "" || st.Project == "" || st.Region == "" || st.Run == "" || st.Token == "" {
		return st, fmt.Errorf("handle %s names nothing on Google Cloud", h.ID)
	}
	if e.opts.Runs != "" {
		st.Dir = filepath.Join(e.opts.Runs, st.Name)
	}
	return st, nil
}

// bucket returns where the system of a task has its artifacts.
func (e *Executor) bucket(st taskState) cloud.Bucket {
	return cloud.Bucket{Stores: &e.stores, Sender: &e.sender, URL: func(folder string) string { return st.Root + "/" + filepath.Clean(folder) }}
}

// codeOf returns the store with what a unit runs, which the account of the unit may read and not write.
func (e *Executor) codeOf(ctx context.Context, st taskState) (*remote.Store, error) {
	s, err := e.stores.At(ctx, e.bucket(st).URL(cloud.Below(st.Unit, "code")))
	if err != nil {
		return nil, fmt.Errorf("%w; the infrastructure has the bucket and the rights: apply what tenon compile --format=terraform writes", err)
	}
	return s, nil
}

// run returns where a start of a task keeps things.
func (e *Executor) run(st taskState) cloud.Run {
	at := e.bucket(st).URL
	return cloud.Run{
		Start: st.start(), Record: st.start(), Serves: st.Service != "" || st.Endpoint != "", Dir: st.Dir, File: "gcp.json", Notes: at(cloud.Below(st.Unit, "notes")),
		Out:   func(port string) string { return at(cloud.Below(st.Unit, "out", port)) },
		Pause: e.opts.Pause, Longest: e.opts.Longest, Stores: &e.stores,
	}
}

// Annotations of a job, whose values may be any text, unlike those of labels.
const (
	noteUnit  = "tenon.dev/unit"
	noteTask  = "tenon.dev/task"
	noteToken = "tenon.dev/token"
	noteRoot  = "tenon.dev/root"
	noteState = "tenon.dev/state" // lineage
)

// take completes the state of a task with what its job says.
func (st *taskState) take(job runJob) error {
	a := job.Annotations
	if a[noteToken] == "" || a[noteUnit] == "" {
		return fmt.Errorf("the region %s has a job %s that tenon has not made: choose another prefix or region", st.Region, st.Run)
	}
	if st.Unit != "" && a[noteUnit] != st.Unit {
		return fmt.Errorf("the region %s already has %s of %s: choose another prefix or region", st.Region, st.Run, a[noteUnit])
	}
	st.Unit, st.Token, st.Root = a[noteUnit], a[noteToken], cmp.Or(a[noteRoot], st.Root)
	return nil
}
