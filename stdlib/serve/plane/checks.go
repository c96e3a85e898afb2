package plane

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/live"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A checkedQuery is a query by which training makes the row of the model, as the compiler states
// it.
type checkedQuery struct {
	Row    string            `json:"row"`    // its input with the rows of the request, or of the query before
	Inputs map[string]string `json:"inputs"` // the ports of this step that have its inputs
	Step   step.Step         `json:"step"`   // without inputs
}

// What DuckDB may use for a check. Tables that are larger go to the disk.
const (
	checkMemory = 1 << 30
	checkCPU    = 1000
)

// checkRequests makes the plane check a fraction of requests. The model and the features are there.
func (c *Config) checkRequests(s *step.Step, given params, python []string) error {
	if s.Kept == "" {
		return errors.New("requests cannot be checked: the step has no folder that later versions of the service get too")
	}
	if os.Getenv(step.Duck) == "" {
		return errors.New("requests cannot be checked: $" + step.Duck + " does not name tenon-duck")
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	o := live.Options{
		Fraction: given.Parity, Scratch: s.Scratch, Kept: requests.Checks(s.Kept), Say: c.Log, Command: []string{self, "replay"},
		Replay: requests.Replay{Inputs: map[string]string{}, Model: s.Inputs["model"], Private: given.Private, Duck: os.Getenv(step.Duck), Library: filepath.Join(s.Code, "_tenon")},
	}
	if given.Request != nil {
		if o.Replay.Request, err = json.Marshal(given.Request); err != nil {
			return err
		}
	}
	for i, q := range given.Queries {
		doc := q.Step
		doc.Version, doc.Resources, doc.Inputs = step.Version, ir.Resources{MilliCPU: checkCPU, Memory: checkMemory}, map[string]step.Port{}
		for name, port := range q.Inputs {
			in, ok := s.Inputs[port]
			if !ok {
				return fmt.Errorf("the step has no input %q, which the query of %s reads", port, doc.Unit)
			}
			doc.Inputs[name] = in
		}
		if i == 0 {
			o.Replay.Source = doc.Inputs[q.Row]
		}
		o.Replay.Queries = append(o.Replay.Queries, requests.Query{Step: doc, Row: q.Row})
	}
	// The model is compared only with itself in Python, so only where there is an environment.
	if len(python) > 0 {
		if _, err := os.Stat(python[0]); err == nil {
			o.Replay.Python = python[0]
		}
	}
	if o.Replay.Python == "" {
		c.Log("note: checks of parity compare features, but no predictions: there is no Python here that has the packages of the model")
	}
	if o.Head, err = c.logHead(s, given); err != nil {
		return err
	}
	o.Head.Private = nil // features cannot be computed without them
	c.Checks, err = live.Start(o)
	return err
}

// checked writes the metrics of checks.
func (p *Plane) checked(w *metricText) {
	if p.Checks == nil {
		return
	}
	c := p.Checks.Counts()
	one := func(name, help string, n float64) {
		w.counter(name, help, []sample{{"_total", nil, n}}, nil)
	}
	one("tenon_parity_checked", "Rows of requests that were computed again as in training", float64(c.Checked))
	one("tenon_parity_different", "Rows that training computes otherwise than the service did", float64(c.Different))
	one("tenon_parity_predictions", "Predictions that were compared with those of Python", float64(c.Predictions))
	one("tenon_parity_skipped_rows", "Rows that training leaves out", float64(c.Skipped))
	one("tenon_parity_failed", "Checks that failed: their rows are lost", float64(c.Failed))
	var lost, columns []sample
	for i, n := range c.Lost {
		lost = append(lost, sample{"_total", [][2]string{{"reason", live.Reason(i)}}, float64(n)})
	}
	w.counter("tenon_parity_lost_rows", "Rows that were to be checked and are lost", lost, nil)
	for _, name := range slices.Sorted(maps.Keys(c.Columns)) {
		columns = append(columns, sample{"_total", [][2]string{{"column", name}}, float64(c.Columns[name])})
	}
	if len(columns) > 0 {
		w.counter("tenon_parity_different_cells", "Features that training computes otherwise than the service did", columns, nil)
	}
	if !c.Last.IsZero() {
		w.metric("tenon_parity_last_check_timestamp_seconds", "gauge", "When the last check ended", sample{"", nil, float64(c.Last.UnixMilli()) / 1e3})
	}
}
