package lambda

import (
	"net/http"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
)

// Route is the variable with the route of a release, as JSON, in the functions of its versions. Such a
// function prints counts of what it answers, see [release.Printed].
const Route = "TENON_ROUTE"

// counted counts the requests that a handler answers. AWS Lambda gives an instance one request at a time.
type counted struct {
	http.Handler
	asks func(*http.Request) bool // whether a request counts
	n    *release.Printed
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !c.asks(r) {
		c.Handler.ServeHTTP(w, r)
		return
	}
	began, to := time.Now(), &statusWriter{w, http.StatusOK}
	c.Handler.ServeHTTP(to, r)
	c.n.Request(to.status, began)
}

// A statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
