package gcp

import (
	"net/http"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// RunName returns the name of a task's job, or with what the name of its revision begins.
func RunName(o Options, task executors.Task) string {
	e := New(o)
	if task.Unit.Kind != ir.Service {
		return e.runName(task.Name)
	}
	st := e.taskState(task)
	e.revisionOf(&st, task.Unit.ID)
	return st.Run
}

// ServiceName returns the name of the service of a task.
func ServiceName(o Options, task executors.Task) string { return New(o).names().service(task.Unit.ID) }

// Wrap puts something between an executor and Google's APIs.
func Wrap(e *Executor, wrap func(http.RoundTripper) http.RoundTripper) {
	e.client.plain.Transport = wrap(http.DefaultTransport)
}

// DeployedID returns the id of the deployed model of a variant of a task.
func DeployedID(t *testing.T, e *Executor, h state.Handle, variant string) string {
	t.Helper()
	st, err := e.fromHandle(h)
	if err != nil {
		t.Fatal(err)
	}
	return st.deployed(variant)
}
