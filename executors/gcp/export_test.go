package gcp

import "net/http"

// RunName returns the name of a task's job.
func RunName(o Options, task string) string { return New(o).runName(task) }

// Wrap puts something between an executor and Google's APIs.
func Wrap(e *Executor, wrap func(http.RoundTripper) http.RoundTripper) {
	e.client.plain.Transport = wrap(http.DefaultTransport)
}
