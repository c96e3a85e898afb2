package cloud

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
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

// BurnRates are the long windows of the alerts on error budgets that the Prometheus rules have,
// as far as an alarm may look back: the Site Reliability Workbook, chapter 5, table 5-8. The
// budget is the share of the error budget that is gone in the window.
var BurnRates = []struct {
	Window time.Duration
	Budget float64
}{{time.Hour, 0.02}, {6 * time.Hour, 0.05}, {24 * time.Hour, 0.10}}

// Number writes a number with at most 12 digits, which hides what binary fractions add.
func Number(x float64) string {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 12, 64), 64)
	if err != nil {
		rounded = x
	}
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}
