package planner

import (
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
)

// warn collects the warnings of a plan: what the compiler found, and units that usually take
// longer than their timeout allows.
func (p *Plan) warn() {
	for i := range p.System.Entities {
		p.Warnings = append(p.Warnings, p.System.Entities[i].Warnings...)
	}
	if !slices.ContainsFunc(p.Items, func(i Item) bool { return i.Estimate.Runs > 0 }) {
		return
	}
	entities := map[string]*ir.Entity{}
	for i := range p.System.Entities {
		entities[p.System.Entities[i].ID] = &p.System.Entities[i]
	}
	units := map[string]*ir.Unit{}
	for i := range p.System.Units {
		units[p.System.Units[i].ID] = &p.System.Units[i]
	}
	for _, it := range p.Items {
		u := units[it.Unit]
		if u == nil || it.Kind != ir.Job || !it.Estimate.Own() || u.Timeout == 0 || it.Estimate.Time <= u.Timeout {
			continue
		}
		w := ir.Warning{
			Message: fmt.Sprintf("%s took %s, the median of its last %d runs, and its timeout is %s", it.Unit, length(it.Estimate.Time), it.Estimate.Runs, length(u.Timeout)),
			Hint:    "raise the timeout",
		}
		if it.Estimate.Runs == 1 {
			w.Message = fmt.Sprintf("%s took %s in its last run, and its timeout is %s", it.Unit, length(it.Estimate.Time), length(u.Timeout))
		}
		if e := entities[u.Entity]; e != nil {
			w.At = e.Place("timeout")
		}
		p.Warnings = append(p.Warnings, w)
	}
}

// length writes a length of time for a reason.
func length(d time.Duration) string { return duration.Text(d) }
