package azure

import (
	"net/http"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// RunName returns the name of a task's job, or with what the name of its revision begins.
func RunName(o Options, task executors.Task) string {
	e := New(o)
	st := e.taskState(task)
	if task.Unit.Kind == ir.Service {
		e.revisionOf(&st, task.Unit.ID)
	}
	return st.Run
}

// AppName returns the name of the app of a task.
func AppName(o Options, task executors.Task) string { return New(o).names().service(task.Unit.ID) }

// Wrap puts something between an executor and Azure's APIs.
func Wrap(e *Executor, wrap func(http.RoundTripper) http.RoundTripper) {
	e.client.plain.Transport = wrap(http.DefaultTransport)
}
