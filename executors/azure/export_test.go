package azure

import "net/http"

// RunName returns the name of a task's job.
func RunName(o Options, task string) string { return New(o).named(task).Run }

// Wrap puts something between an executor and Azure's APIs.
func Wrap(e *Executor, wrap func(http.RoundTripper) http.RoundTripper) {
	e.client.plain.Transport = wrap(http.DefaultTransport)
}
