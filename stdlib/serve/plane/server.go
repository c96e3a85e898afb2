// Package plane serves a model over HTTP: it reads requests into typed rows, asks the model,
// and writes answers. A model that Go cannot evaluate is asked in workers, see package worker.
// The service that stdlib/serve/http is in Python is the specification of /predict in JSON, of
// health checks and of metrics: clients, Prometheus and operators see the same.
package plane

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/live"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/traces"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
)

// A Config is what a plane serves.
type Config struct {
	Model    Predictor
	About    About
	Task     string    // of the model, as in its signature
	Label    ir.Column // that it predicts
	Features Features  // nil if a request has the columns of the model
	// Explainer answers at /explain, if there is one. Unexplained says why there is none, if it was asked for.
	Explainer   Explainer
	Unexplained string
	// Request and Response document columns for people. Their order does not matter.
	Request, Response ir.Schema

	Instance string // in the header X-Tenon-Instance of health checks
	Ready    string // path that says whether it can answer; "" is /readyz
	MaxRows  int    // of a request
	MaxBytes int64  // of a body
	AtOnce   int    // requests that are computed at the same time
	Waiting  int    // requests that may wait until they are; others are refused with 429

	Labels    map[string]string // of all metrics
	Buckets   []float64         // of the latency, in seconds
	Quantiles []float64         // of the labels in training, if it is a regression
	Created   time.Time         // of the model; zero if unknown
	Report    map[string]float64

	Requests *requestlog.Log // nil if requests are not logged
	shipped  string          // file that says which files of the log are stored elsewhere; "" if none are
	Checks   *live.Check     // nil if requests are not checked while it runs
	Log      func(string)
	Tracer   *traces.Tracer // nil if requests are not traced

	Version string // name, in the header Tenon-Version of answers; "" is none

	workers   *workers   // that Model asks, if it is in Python
	functions *functions // that Features ask; nil if there are none

	eventsConfig
	*process
}

// A Predictor is a model. It is safe for concurrent use.
type Predictor interface {
	// Columns are those of a row.
	Columns() ir.Schema
	// Classes are those of a classification, as JSON, and ClassNames the same as JSON strings.
	Classes() []json.RawMessage
	ClassNames() []string
	// Outputs is how many numbers a prediction is: one, or the probabilities of the classes, in
	// front of any others.
	Outputs() int
	// Probabilities reports whether outputs are probabilities of classes.
	Probabilities() bool
	// Class returns the class that outputs predict, and the probability that goes with it; NaN
	// if the model has no probabilities.
	Class(outputs []float64) (class int, probability float64)
	// Predict makes the predictions for rows, which follow one another, and writes the outputs
	// of each. A [*model.RowError] says which row has none.
	Predict(ctx context.Context, rows []rowsql.Value, outputs []float64, b *model.Buffer) error
}

// About names the model in each answer.
type About struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Digest  string `json:"digest"`
}

// Features compute the row of the model from the row of a request.
type Features interface {
	// Columns are those of a request.
	Columns() ir.Schema
	// Returns are the columns that an answer repeats.
	Returns() ir.Schema
	// NewRow returns what one goroutine computes rows with.
	NewRow() RowComputer
}

// A RowComputer computes rows, one after the other. It is an alias so that packages can
// implement Features without importing this one.
type RowComputer = interface {
	// Compute fills the row of the model and the columns that the answer repeats. It may keep
	// no reference to them. It returns false if the query leaves the row out. An error that is
	// a [*model.ValueError] names a column.
	Compute(request, row, returned []rowsql.Value) (kept bool, err error)
	// Position is how many events of the log the history had for the row that was computed last.
	Position() int64
	// Missed says which lookups had no row for it, or is "".
	Missed() string
}

// A Plane is an [http.Handler].
type Plane struct {
	Config
	decoder  *request.Decoder
	columns  ir.Schema // of a request
	repeated ir.Schema // in an answer
	about    []byte
	returns  [][]byte // names of the columns that answers repeat, as JSON
	openAPI  []byte
	docs     []byte
	routes   map[string]route
	paths    []string // of the routes, in their order
	metrics  *metrics
	work     sync.Pool // of *work
	columnar columnar  // for bodies and answers that have columns
	slots    chan struct{}
	version  []string      // in the header of answers; nil if it has no name
	text     func() []byte // for Prometheus

	fetching  atomic.Int64 // requests that wait for stores
	awaySince atomic.Int64 // when it was last logged that a store is away
}

// New returns a plane that can answer.
func New(c Config) (*Plane, error) {
	p := &Plane{Config: c, columns: c.Model.Columns()}
	if c.Features != nil {
		p.columns, p.repeated = c.Features.Columns(), c.Features.Returns()
	}
	p.Ready = cmp.Or(c.Ready, "/readyz")
	p.AtOnce = max(c.AtOnce, 1)
	p.join()
	if p.Log == nil {
		p.Log = func(string) {}
	}
	var err error
	if p.decoder, err = request.New(p.columns, c.MaxRows); err != nil {
		return nil, err
	}
	if p.about, err = json.Marshal(c.About); err != nil {
		return nil, err
	}
	for _, col := range p.repeated {
		switch col.Name {
		case "prediction", "probability", "probabilities":
			return nil, fmt.Errorf("an answer cannot repeat the column %s: it has a field of this name", col.Name)
		}
		name, err := json.Marshal(col.Name)
		if err != nil {
			return nil, err
		}
		p.returns = append(p.returns, append(name, ':'))
	}
	if p.openAPI, err = json.Marshal(p.document()); err != nil {
		return nil, err
	}
	if p.docs, err = p.page(); err != nil {
		return nil, err
	}
	p.handle("/predict", http.MethodPost, p.predict)
	if err := p.explains(); err != nil {
		return nil, err
	}
	p.handle("/healthz", http.MethodGet, func(x *work, _ *http.Request) { p.health(&x.answered, http.StatusOK, "ok") })
	for _, path := range slices.Compact([]string{"/readyz", p.Ready}) {
		p.handle(path, http.MethodGet, p.ready)
	}
	p.handle("/metrics", http.MethodGet, func(x *work, _ *http.Request) {
		write(&x.answered, "text/plain; version=1.0.0; charset=utf-8", p.text())
	})
	for _, path := range []string{"/docs", "/redoc"} {
		p.handle(path, http.MethodGet, func(x *work, _ *http.Request) { write(&x.answered, "text/html; charset=utf-8", p.docs) })
	}
	p.handle("/openapi.json", http.MethodGet, func(x *work, _ *http.Request) { write(&x.answered, jsonType[0], p.openAPI) })
	if err := p.takeEvents(); err != nil {
		return nil, err
	}
	if err := p.handleInference(); err != nil {
		return nil, err
	}
	p.metrics = newMetrics(p)
	p.text = func() []byte { return p.metricsText(p.Labels, p.metrics.write) }
	p.work.New = func() any { return p.newWork() }
	return p, nil
}

// A route is what answers at a path.
type route struct {
	method string
	answer func(*work, *http.Request)
	access edge.Access
	kind   string // of paths that may be on the port for management
}

// handle adds a path. All are added before metrics are made, which count each.
func (p *Plane) handle(path, method string, answer func(*work, *http.Request)) {
	if p.routes == nil {
		p.routes = map[string]route{}
	}
	p.routes[path] = route{method, answer, p.accessOf(path), p.kindOf(path)}
	p.paths = append(p.paths, path)
}

// answer is a response whose status is noted.
type answer struct {
	http.ResponseWriter
	status   int
	draining *atomic.Bool
	protocol protocol // how it says what is wrong
}

var closing, jsonType = []string{"close"}, []string{"application/json"}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	if a.draining.Load() {
		a.Header()["Connection"] = closing
	}
	a.ResponseWriter.WriteHeader(status)
}

// front is what a server asks for this plane.
func (p *Plane) front() front { return front{process: p.process, of: p, log: p.Log} }

// ServeHTTP answers, counts and measures a request. A fault of this program answers 500.
func (p *Plane) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.front().ServeHTTP(w, r) }

func (p *Plane) find(path string) (to route, ok bool) {
	to, ok = p.routes[path]
	return to, ok
}

func (p *Plane) answer(w http.ResponseWriter, r *http.Request, c *call) { p.serveTurn(w, r, nil, c) }

// serveTurn answers a request. Where several versions answer, it is a turn of this one. It returns
// true if it has not answered, so that another one has to.
func (p *Plane) serveTurn(w http.ResponseWriter, r *http.Request, t *turn, c *call) (left bool) {
	x := p.work.Get().(*work)
	start := c.began
	x.began = start
	x.answered, x.instead = answer{w, 0, &p.draining, jsonErrors}, t != nil && t.instead
	if p.version != nil {
		w.Header()[versionHeader] = p.version
	}
	askToReconnect(w, r)
	path := p.metrics.path(r.URL.Path)
	defer func() {
		fault := recover()
		x.reader.release()
		if fault != nil {
			p.Log(fmt.Sprintf("panic: %v\n%s", fault, debug.Stack()))
			if x.answered.status == 0 {
				p.failed(&x.answered)
			}
			p.metrics.observe(path, x.answered.status, time.Since(start))
			x.span.End(r.Method, p.metrics.names[path], x.answered.status)
			c.answered(p, x)
			t.end(nil, r, x.answered.status, time.Since(start))
			return // without the memory of the request, which may be in any state
		}
		status := x.answered.status
		if status == answerElsewhere {
			x.span.End(r.Method, p.metrics.names[path], http.StatusServiceUnavailable)
			t.leave(p, x, r, time.Since(start))
			left = true
			return
		}
		p.metrics.observe(path, status, time.Since(start))
		x.span.End(r.Method, p.metrics.names[path], status)
		c.answered(p, x)
		t.end(x, r, status, time.Since(start))
		p.putBack(x)
		if status == clientLeft {
			panic(http.ErrAbortHandler) // what is left of the connection is closed without an answer
		}
	}()
	p.route(x, r, c)
	return false
}

// answered notes what a plane has answered.
func (c *call) answered(p *Plane, x *work) {
	c.status, c.id, c.version = x.answered.status, x.id[0], p.Version
	if x.received && x.answered.status == http.StatusOK {
		c.rows = x.rows.Len()
	}
}

// answerElsewhere is the status of a request that another version has to answer.
const answerElsewhere = -1

// clientLeft is the status that other servers count for a client that does not wait.
const clientLeft = 499

func (p *Plane) route(x *work, r *http.Request, c *call) {
	w := &x.answered
	to, ok := p.routes[r.URL.Path]
	switch {
	case c.preflight:
		w.WriteHeader(http.StatusNoContent)
	case !ok || !p.onPort(to.kind, c.managed):
		p.unknown(w, r, c.managed)
	case c.refusal != nil:
		w.protocol = protocolOf(r)
		detail(w, c.refusal.Status, c.refusal.Says)
	case r.Method != to.method:
		w.Header().Set("Allow", to.method)
		detail(w, http.StatusMethodNotAllowed, "Method Not Allowed")
	case to.access.Health || r.URL.Path == "/metrics":
		to.answer(x, r)
	default:
		p.load.Begin()
		defer p.load.End()
		to.answer(x, r)
	}
}

func (p *Plane) ready(x *work, _ *http.Request) {
	if why := p.unready(); why != "" {
		p.health(&x.answered, http.StatusServiceUnavailable, why)
		return
	}
	p.health(&x.answered, http.StatusOK, "ready")
}

// unknown answers for a path that is none, or is one with a slash too many.
func (p *Plane) unknown(w http.ResponseWriter, r *http.Request, managed bool) {
	path := r.URL.Path
	for len(path) > 1 && path[len(path)-1] == '/' {
		path = path[:len(path)-1]
	}
	if _, ok := p.routes[path]; !ok || path == r.URL.Path {
		detail(w, http.StatusNotFound, "Not Found")
		return
	}
	to := p.scheme(managed) + r.Host + path
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusTemporaryRedirect)
}

func (p *Plane) health(w http.ResponseWriter, status int, says string) {
	w.Header().Set("X-Tenon-Instance", p.Instance)
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"status":%q}`, says)
}

func write(w http.ResponseWriter, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the client may be gone
}

// detail answers with what is wrong: a text or a list of errors.
func detail(w http.ResponseWriter, status int, what any) {
	if a, ok := w.(*answer); ok && a.protocol != jsonErrors {
		a.refuse(status, what)
		return
	}
	body, err := marshal(object{{"detail", what}})
	if err != nil {
		panic(err) // texts, numbers and names have JSON
	}
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

// refuse answers 422 with one error.
func refuse(w http.ResponseWriter, says string, where ...any) {
	loc := append([]any{"body"}, where...)
	detail(w, http.StatusUnprocessableEntity, []request.Error{{Type: "value_error", Loc: loc, Msg: says}})
}

func (p *Plane) failed(w http.ResponseWriter) {
	detail(w, http.StatusInternalServerError, "the model failed; the log of the service says why")
}

// refuseRow answers 422 for an instance that has no prediction, 503 for a store that is away,
// 504 if it took too long, and 500 for any other error. A client that has left gets no answer.
func (p *Plane) refuseRow(w *answer, err error) {
	var row *model.RowError
	var function *worker.FailedError
	switch {
	case errors.Is(err, context.Canceled):
		w.status = clientLeft
		return
	case errors.Is(err, worker.ErrAway):
		w.status = answerElsewhere
		return
	case p.away(w, err):
		return
	case errors.Is(err, context.DeadlineExceeded):
		detail(w, http.StatusGatewayTimeout, tooLate)
		return
	case errors.Is(err, worker.ErrTimeout):
		detail(w, http.StatusGatewayTimeout, err.Error())
		return
	case errors.As(err, &function):
		p.Log("error: " + err.Error())
		detail(w, http.StatusInternalServerError, function.Name+" failed; the log of the service says why")
		return
	case !errors.As(err, &row):
		p.Log("error: " + err.Error())
		p.failed(w)
		return
	}
	var value *model.ValueError
	if errors.As(err, &value) {
		refuse(w, value.Reason, "instances", row.Row, value.Column)
		return
	}
	refuse(w, row.Err.Error(), "instances", row.Row)
}

// A noPrediction is a number that is none.
type noPrediction float64

func (n noPrediction) Error() string {
	says := "nan"
	if math.IsInf(float64(n), 1) {
		says = "inf"
	} else if math.IsInf(float64(n), -1) {
		says = "-inf"
	}
	return "the model has no prediction: it is " + says
}

var errDropped = errors.New("the query of the features leaves this row out")
