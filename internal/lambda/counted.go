package lambda

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/release"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Route is the variable with the route of a release, as JSON, in the functions of its versions. Such a
// function counts what it answers.
const Route = "TENON_ROUTE"

// A Count is what an instance of a function has answered since it printed the count before. Instances have no
// address at which they can be asked, so they print counts into their logs, which outlive them.
type Count struct {
	Since time.Time `json:"since"` // the first of the requests began
	step.Observation
}

// CountPrefix is how the line of a count begins in the log.
const CountPrefix = "tenon-observed "

// ReadCount decodes a line of a log, or returns false if it is none of a count.
func ReadCount(line string) (c Count, is bool) {
	text, is := strings.CutPrefix(line, CountPrefix)
	return c, is && json.Unmarshal([]byte(text), &c) == nil
}

// seldom is how long an instance counts before it prints that. The first count is printed at once, so
// that an instance with few requests has printed all of them.
const seldom = 2 * time.Second

// counted counts the requests that a handler answers. AWS Lambda gives an instance one request at a time.
type counted struct {
	http.Handler
	asks    func(*http.Request) bool // whether a request counts
	out     io.Writer
	now     func() time.Time
	printed time.Time
	since   time.Time
	n       *release.Counts // since then
}

func (c *counted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !c.asks(r) {
		c.Handler.ServeHTTP(w, r)
		return
	}
	began, to := c.now(), &statusWriter{w, http.StatusOK}
	if c.n == nil {
		c.n, c.since = new(release.Counts), began
	}
	c.Handler.ServeHTTP(to, r)
	end := c.now()
	c.n.Request(to.status, end.Sub(began))
	if end.Sub(c.printed) >= seldom {
		c.print(end)
	}
}

// print prints the count before the answer goes out: afterwards, AWS halts the instance.
func (c *counted) print(now time.Time) {
	n := Count{Since: c.since.UTC()}
	c.n.AddTo(&n.Observation)
	last := len(n.Latency)
	for last > 0 && n.Latency[last-1] == 0 {
		last--
	}
	n.Latency = n.Latency[:last]
	text, err := json.Marshal(n)
	if err != nil {
		panic(err) // numbers and times have JSON
	}
	fmt.Fprintf(c.out, "%s%s\n", CountPrefix, text)
	c.n, c.printed = nil, now
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
