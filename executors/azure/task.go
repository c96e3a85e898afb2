package azure

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"path/filepath"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
)

// A task state is what the handle of a task stores about it.
type taskState struct {
	Subscription string `json:"subscription"`
	Group        string `json:"resource_group"`
	Name         string `json:"name"` // of the task
	Unit         string `json:"unit"`
	Run          string `json:"run"`                 // name of its job, or that of its revision without the token
	Token        string `json:"token"`               // of this start
	Root         string `json:"root"`                // "container/folder" of the system
	Account      string `json:"account"`             // of storage
	Log          string `json:"log"`                 // name of the workspace with its log
	Service      string `json:"service,omitempty"`   // name of the app of a service
	URL          string `json:"url,omitempty"`       // of a service
	State        string `json:"state,omitempty"`     // lineage, of a service
	Idle         bool   `json:"idle,omitempty"`      // a service may have no replica
	Workspace    string `json:"workspace,omitempty"` // of Azure Machine Learning, of what runs there
	Dir          string `json:"dir,omitempty"`
	cloud.HostedState
}

// named returns the state of a task of which only the name is known.
func (e *Executor) named(task string) taskState {
	sum := sha256.Sum256([]byte(e.opts.State + "\n" + task))
	w := e.names()
	return taskState{
		Subscription: w.Subscription, Group: w.Group, Name: task, Run: plain(w.prefix, mostJob-jobDigits-1) + "-" + hex.EncodeToString(sum[:jobDigits/2]),
		Root: w.container() + "/" + w.root, Account: w.account(), Log: w.prefix,
	}
}

// jobDigits is how many hexadecimal digits of a digest name a job in the resource group, where other states have some
// too.
const jobDigits = 12

// names returns what knows the names of resources. It has no units.
func (e *Executor) names() *writer {
	return newWriter(&ir.System{Name: e.opts.System, Env: e.opts.Env}, e.opts.Settings)
}

// newToken returns what names a start of a task: a task that was destroyed may start again.
func newToken() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// start names one start of the task.
func (st taskState) start() string { return st.Run + "-" + st.Token }

func (st taskState) handle() (state.Handle, error) {
	h, err := local.Handle(Name, st.Name, st)
	h.Endpoint = st.URL
	return h, err
}

// fromHandle decodes the task state in a handle. It may come from another machine, where the
// folder of the run has another path.
func (e *Executor) fromHandle(h state.Handle) (st taskState, err error) {
	if err = cloud.Decode(h, Name, &st); err == nil && (st.Name == "" || st.Subscription == "" || st.Group == "" || st.Run == "" || st.Token == "") {
		err = fmt.Errorf("handle %s names nothing on Azure", h.ID)
	}
	if e.opts.Runs != "" {
		st.Dir = filepath.Join(e.opts.Runs, st.Name)
	}
	return st, err
}

// bucket returns where the system of a task has its artifacts.
func (e *Executor) bucket(st taskState) cloud.Bucket {
	return cloud.Bucket{Stores: &e.stores, Sender: &e.sender, URL: func(folder string) string {
		return "azblob://" + path.Join(st.Root, folder) + "?storage_account=" + st.Account
	}}
}

// run returns where a start of a task keeps things.
func (e *Executor) run(st taskState) cloud.Run {
	at := e.bucket(st).URL
	return cloud.Run{
		Start: st.start(), Record: st.start(), Serves: st.Service != "" || st.Endpoint != "", Dir: st.Dir, File: "azure.json", LateLog: true,
		Notes: at(cloud.Below(st.Unit, "notes")), Out: func(port string) string { return at(cloud.Below(st.Unit, "out", port)) },
		Pause: e.opts.Pause, Longest: e.opts.Longest, Stores: &e.stores,
	}
}

// Tags of a job, from which a handle is made again.
const (
	tagUnit    = "tenon-unit"
	tagTask    = "tenon-task"
	tagToken   = "tenon-token"
	tagRoot    = "tenon-root"
	tagAccount = "tenon-account"
	tagState   = "tenon-state" // lineage
)

// take completes the state of a task with what its job says.
func (st *taskState) take(job appJob) error {
	has := job.Tags
	switch {
	case has[tagToken] == "" || has[tagUnit] == "":
		return fmt.Errorf("the resource group %s has a job %s that tenon has not made: choose another prefix or resource group", st.Group, st.Run)
	case st.Unit != "" && has[tagUnit] != st.Unit:
		return fmt.Errorf("the resource group %s already has %s of %s: choose another prefix or resource group", st.Group, st.Run, has[tagUnit])
	}
	st.Unit, st.Token, st.Root, st.Account = has[tagUnit], has[tagToken], cmp.Or(has[tagRoot], st.Root), cmp.Or(has[tagAccount], st.Account)
	return nil
}

// taskState returns the state of a task that has no job yet.
func (e *Executor) taskState(t executors.Task) taskState {
	st := e.named(t.Name)
	st.Unit, st.Dir = t.Unit.ID, t.Dir
	if e.opts.place(&t.Unit) == onML {
		st.Workspace = e.names().workspace()
	}
	if p := t.Unit.Endpoint; p != nil {
		least, _ := cloud.Replicas(p)
		st.Idle, st.State = least == 0, e.opts.State
	}
	return st
}
