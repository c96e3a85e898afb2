package cloud

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
)

// Objectives are the fields of an objective that alarms are made from.
type Objectives struct {
	Window       string            `json:"window"`
	Availability json.Number       `json:"availability"`
	Latency      map[string]string `json:"latency"`
	Freshness    string            `json:"freshness"`
	Quality      map[string]any    `json:"quality"`
	Parity       json.Number       `json:"parity"`
}

// ObjectivesOf returns the objectives of a record with them.
func ObjectivesOf(u *ir.Unit) (Objectives, bool) {
	var p struct {
		Objectives *Objectives `json:"objectives"`
	}
	on := slices.ContainsFunc(u.Inputs, func(in ir.Input) bool { return in.Kind == ir.EndpointOf })
	if u.Kind != ir.Record || !on || json.Unmarshal(u.Params, &p) != nil || p.Objectives == nil {
		return Objectives{}, false
	}
	return *p.Objectives, true
}

// EachObjective calls a function for each objective of a service, in the order of their names.
func EachObjective(sys *ir.System, do func(slo, on *ir.Unit, o Objectives)) {
	units := slices.SortedFunc(slices.Values(sys.Units), func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	for i := range units {
		o, ok := ObjectivesOf(&units[i])
		if !ok {
			continue
		}
		for _, in := range units[i].Inputs {
			if on := sys.Unit(in.Unit); on != nil && on.Kind == ir.Service {
				do(&units[i], on, o)
			}
		}
	}
}

// burnRates are the long windows of the alerts on error budgets that the Prometheus rules have,
// as far as an alarm may look back: the Site Reliability Workbook, chapter 5, table 5-8. The
// budget is the share of the error budget that is gone in the window.
var burnRates = []struct {
	window time.Duration
	budget float64
}{{time.Hour, 0.02}, {6 * time.Hour, 0.05}, {24 * time.Hour, 0.10}}

// A Burn is an alert on the error budget of a service: in a window, too many of its requests fail.
type Burn struct {
	Name, Description string
	Window            time.Duration
	Share             string // of requests, above which there is an alert: "0.0144"
}

// Burns returns the alerts on the error budget of a service, the shortest window first. One is left out if more than
// every request would have to fail.
func (o Objectives) Burns(on *ir.Unit) (all []Burn) {
	goal, err := o.Availability.Float64()
	if err != nil {
		return nil // there is no objective
	}
	for _, r := range burnRates {
		share := r.budget * duration.Parse(o.Window).Hours() / r.window.Hours() * (1 - goal)
		if share >= 1 {
			continue
		}
		all = append(all, Burn{
			Name:        "availability-" + strconv.Itoa(int(r.window.Hours())) + "h",
			Description: fmt.Sprintf("%s%% of the error budget of %s for %s is used up in %gh", Number(r.budget*100), on.ID, o.Window, r.window.Hours()),
			Window:      r.window, Share: Number(share),
		})
	}
	return all
}

// A Slowness is an alert on a quantile of the time that a service takes to answer.
type Slowness struct {
	Name, Description string
	Quantile          string        // as in the objective: "p99.9"
	Percent           float64       // 99.9
	Limit             time.Duration // above which there is an alert
}

// Slow returns the alerts on the time that a service takes, in the order of their quantiles.
func (o Objectives) Slow(on *ir.Unit) (all []Slowness) {
	for _, q := range slices.Sorted(maps.Keys(o.Latency)) {
		percent, err := strconv.ParseFloat(strings.TrimPrefix(q, "p"), 64)
		if err != nil {
			continue // the language checks it
		}
		all = append(all, Slowness{
			Name:        "latency-" + strings.ReplaceAll(q, ".", "_"),
			Description: fmt.Sprintf("%s of the time that %s takes is above %s for 15 minutes", q, on.ID, o.Latency[q]),
			Quantile:    q, Percent: percent, Limit: duration.Parse(o.Latency[q]),
		})
	}
	return all
}

// Number writes a number with at most 12 digits, which hides what binary fractions add.
func Number(x float64) string {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 12, 64), 64)
	if err != nil {
		rounded = x
	}
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}
