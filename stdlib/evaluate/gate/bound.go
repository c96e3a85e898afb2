package gate

import "fmt"

// intervals are those of an evaluation, see tenon_intervals.py.
type intervals struct {
	Level   float64         `json:"level"` // 0.95: of 95 %
	Metrics map[string]ends `json:"metrics"`
	// Differences are the metrics less those of the baseline, of the model in service
	// ("serving"), or of the model before it was quantized ("unquantized").
	Differences map[string]map[string]ends `json:"differences"`
}

// ends are the lower and the upper end of an interval.
type ends [2]float64

// compared holds what the rules about differences compare with: its name in the report and
// in messages.
var compared = map[string][2]string{
	"baseline_gain":  {"baseline", "the baseline"},
	"serving_drop":   {"serving", "the model in service"},
	"quantized_drop": {"unquantized", "the model before it was quantized"},
}

// atWorst checks a rule, which could be checked for the estimates, at the end of the interval
// that is less likely to pass.
func atWorst(metric, rule string, wanted float64, e evaluation) gateResult {
	percent := number(100*e.Intervals.Level) + " %"
	other, isDifference := compared[rule]
	found, ok := e.Intervals.Metrics[metric]
	if isDifference {
		found, ok = e.Intervals.Differences[other[0]][metric]
	}
	if !ok {
		r := unknown(metric, "the report's intervals"+e.why(metric, "interval")+e.why("there are no intervals"))
		r.text += `; without bound: "worst", the gate compares the estimate`
		return r
	}
	switch {
	case rule == "min":
		low := found[0]
		return gateResult{Value: &low, Passed: low >= wanted,
			text: fmt.Sprintf("%s may be as low as %s (%s: %s), below the floor %s", metric, number(low), percent, span(found), number(wanted))}
	case rule == "max":
		high := found[1]
		return gateResult{Value: &high, Passed: high <= wanted,
			text: fmt.Sprintf("%s may be as high as %s (%s: %s), above the ceiling %s", metric, number(high), percent, span(found), number(wanted))}
	}
	gain := ends{exact(found[0]), exact(found[1])}
	if !e.HigherIsBetter[metric] {
		gain = ends{exact(0 - found[1]), exact(0 - found[0])}
	}
	worst := gain[0]
	if rule == "baseline_gain" {
		return gateResult{Value: &worst, Passed: worst >= wanted,
			text: fmt.Sprintf("%s may be only %s %s (%s: %s better), wanted at least %s better", metric, comparison(worst), other[1], percent, span(gain), number(wanted))}
	}
	worse := 0 - worst // not -0 for no difference
	return gateResult{Value: &worse, Passed: worse <= wanted,
		text: fmt.Sprintf("%s may be %s %s (%s: %s better), wanted at most %s worse", metric, comparison(worst), other[1], percent, span(gain), number(wanted))}
}

func span(e ends) string { return number(e[0]) + " to " + number(e[1]) }
