package plane

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// logParams are the parameter "log".
type logParams struct {
	Sample   *float64 `json:"sample"`
	Rows     int      `json:"rows"`
	Interval string   `json:"interval"`
	Keep     string   `json:"keep"`
}

// keepRequests makes the plane log requests. The model and the features are there.
func (c *Config) keepRequests(s *step.Step, given params) error {
	if s.Kept == "" {
		return errors.New("requests cannot be logged: the step has no folder that later versions of the service get too")
	}
	o := requestlog.Options{
		Dir: requests.Folder(s.Kept), Sample: 1, Rows: given.Log.Rows, Keep: ir.ParseSize(given.Log.Keep), Interval: duration.Parse(given.Log.Interval), Say: func(line string) { c.Log("note: " + line) },
	}
	if given.Log.Sample != nil {
		o.Sample = *given.Log.Sample
	}
	var err error
	if o.Head, err = c.logHead(s, given); err != nil {
		return err
	}
	if s.Shipped != "" {
		c.shipped = s.ShippedOf(filepath.Base(o.Dir))
		o.Moved, o.File = true, shippedFile
		if o.Head.Pod, err = os.Hostname(); err != nil {
			return fmt.Errorf("log requests: %w", err)
		}
	}
	if c.Requests, err = requestlog.Open(o); err != nil {
		return fmt.Errorf("log requests: %w", err)
	}
	return nil
}

// shippedFile is the size of a file in bytes, at most and about, if files are moved to a store: what
// uploads them has parts of them in memory.
const shippedFile = 8 << 20

// logHead says what logged rows are.
func (c *Config) logHead(s *step.Step, given params) (requestlog.Head, error) {
	h := requestlog.Head{
		Unit: s.Unit, Instance: s.Instance, Model: c.About.Name, Version: c.About.Version, Inputs: map[string]string{},
		Request: c.Model.Columns(), Label: c.Label, Classes: c.Model.Classes(), Private: given.Private, OnlyClasses: len(c.Model.Classes()) > 0 && !c.Model.Probabilities(),
	}
	for name, in := range s.Inputs {
		if in.Kind == ir.Model || in.Kind == ir.Table {
			h.Inputs[name] = in.Digest
		}
	}
	if given.Request != nil {
		b, err := json.Marshal(given.Request)
		if err != nil {
			return h, err
		}
		h.Contract, h.Request, h.Features = ir.Sum(b), c.Features.Columns(), c.Model.Columns()
		h.History = c.Memory != nil
		if c.Events != nil {
			h.Events = c.Events.Name()
		}
	}
	return h, nil
}

// finishes is how long a service that ends may take to write the rows that wait.
const finishes = 5 * time.Second

// identify gives a request its id, which the answer repeats.
func (p *Plane) identify(x *work, r *http.Request) {
	if p.Requests == nil && p.Checks == nil {
		return
	}
	x.id[0] = requestlog.ID(r.Header.Get("X-Request-Id"))
	x.answered.Header()["X-Request-Id"] = x.id[:]
}

// keep logs a request whose predictions were made. rows are those of the model.
func (p *Plane) keep(x *work, rows []rowsql.Value) {
	logs := p.Requests != nil && p.Requests.Sampled()
	checks := p.Checks != nil && p.Checks.Sampled()
	if !logs && !checks || x.began.IsZero() {
		return
	}
	kept := requestlog.Request{ID: x.id[0], Began: x.began, Took: time.Since(x.began), Rows: x.rows.Len(), Values: x.rows.Values, Outputs: x.outputs}
	if kept.ID == "" {
		kept.ID = requestlog.ID("")
	}
	if x.computer != nil {
		kept.Features, kept.Positions, kept.Missed = rows, x.positions, x.missed
	}
	kept.Instead = x.instead
	if len(p.Model.Classes()) > 0 {
		kept.Class = p.Model.Class
	}
	if logs {
		p.Requests.Add(&kept)
	}
	if checks {
		p.Checks.Add(&kept)
	}
}

// logged writes the metrics of the request log.
func (p *Plane) logged(w *metricText) {
	if p.Requests == nil {
		return
	}
	c := p.Requests.Counts()
	one := func(n float64) []sample { return []sample{{"_total", nil, n}} }
	w.counter("tenon_request_log_rows", "Rows in complete files of the request log", one(float64(c.Written)), nil)
	var dropped []sample
	for _, why := range p.Requests.Reasons() {
		dropped = append(dropped, sample{"_total", [][2]string{{"reason", why.String()}}, float64(c.Dropped[why])})
	}
	w.counter("tenon_request_log_dropped_rows", "Rows that the request log has lost", dropped, nil)
	w.counter("tenon_request_log_deleted_files", "Files that were deleted because of the size of the request log", one(float64(c.Deleted)), nil)
	if w.named["tenon_request_log_bytes"] != nil {
		return // another version has said what follows of the same folder
	}
	if p.shipped != "" {
		done := step.ReadShipped(p.shipped)
		w.counter("tenon_request_log_stored_files", "Files of the request log in the store", one(float64(done.Files)), nil)
		w.counter("tenon_request_log_store_failures", "Tries to store files of the request log that failed", one(float64(done.Failed)), nil)
		w.counter("tenon_request_log_removed_files", "Files that this replica has removed from the store because of the size of all", one(float64(done.Removed)), nil)
	}
	w.metric("tenon_request_log_bytes", "gauge", "Size of all files of the request log", sample{"", nil, float64(c.Size)})
}
