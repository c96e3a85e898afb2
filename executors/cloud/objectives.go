package cloud

import (
	"encoding/json"
	"slices"
	"strconv"
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
