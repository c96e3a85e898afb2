// Package gate decides whether a model may be registered.
package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/builtin"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// gates are the conditions on one metric.
type gates struct {
	Min *float64 `json:"min"`
	Max *float64 `json:"max"`
	// BaselineGain is by how much the model has to be better than the baseline.
	BaselineGain *float64 `json:"baseline_gain"`
	// ServingDrop is by how much it may be worse than the model in service.
	ServingDrop *float64 `json:"serving_drop"`
	// QuantizedDrop is by how much a quantized model may be worse than with float weights.
	QuantizedDrop *float64 `json:"quantized_drop"`
	// Incomparable is "pass" if the model may pass where it cannot be compared with the
	// model in service.
	Incomparable string `json:"incomparable"`
	// Bound is "worst" if the worst end of an interval is compared, not the estimate.
	Bound string `json:"bound"`
}

// evaluation is what report.json holds for a gate.
type evaluation struct {
	Metrics        figures         `json:"metrics"`
	Baseline       figures         `json:"baseline"`
	Serving        figures         `json:"serving"`      // nil if no model is in service, or if it cannot be compared
	Unquantized    figures         `json:"unquantized"`  // of a quantized model, with float weights
	Incomparable   string          `json:"incomparable"` // why the model in service cannot be compared
	Intervals      intervals       `json:"intervals"`
	HigherIsBetter map[string]bool `json:"higher_is_better"`
	Notes          []string        `json:"notes"` // why a metric is left out
}

// why returns the note about all subjects, as the end of a sentence.
func (e evaluation) why(subjects ...string) string {
	for _, note := range e.Notes {
		if !slices.ContainsFunc(subjects, func(s string) bool { return !strings.Contains(note, s) }) {
			return ": " + note
		}
	}
	return ""
}

// figures are metrics that have a value. A metric that could not be computed is
// null in a report, which must not count as 0.
type figures map[string]float64

func (f *figures) UnmarshalJSON(b []byte) error {
	var values map[string]*float64
	if err := json.Unmarshal(b, &values); err != nil {
		return err
	}
	*f = figures{}
	for name, v := range values {
		if v != nil {
			(*f)[name] = *v
		}
	}
	return nil
}

// verdict is the output of a gate.
type verdict struct {
	Passed bool         `json:"passed"`
	Checks []gateResult `json:"checks"`
}

// gateResult is one condition and what came of it. Value is what was compared:
// the metric, the gain or the drop; it is absent if it is not known.
type gateResult struct {
	Metric string   `json:"metric"`
	Rule   string   `json:"rule"` // the name of the condition: "min"
	Value  *float64 `json:"value,omitempty"`
	Wanted float64  `json:"wanted"`
	Passed bool     `json:"passed"`
	Note   string   `json:"note,omitempty"`

	text string // of the failure
}

// Run lets a model through or not. The verdict is written in both cases.
func Run(_ context.Context, s *step.Step) error {
	var p struct {
		Gates map[string]gates `json:"gates"`
	}
	if err := builtin.Params(s, &p); err != nil {
		return err
	}
	in, err := builtin.Input(s, "report")
	if err != nil {
		return err
	}
	out, err := builtin.Output(s, "verdict")
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(in.Path, "report.json"))
	if err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	var e evaluation
	if err := json.Unmarshal(b, &e); err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	v := judge(p.Gates, e)
	if b, err = json.MarshalIndent(v, "", "  "); err != nil {
		return fmt.Errorf("write the verdict: %w", err)
	}
	if err := os.WriteFile(out.Path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the verdict: %w", err)
	}
	var failed []error
	for _, c := range v.Checks {
		if !c.Passed {
			failed = append(failed, errors.New(c.text))
		} else if c.Note != "" {
			fmt.Printf("%s, %s: passed: %s\n", c.Metric, c.Rule, c.Note)
		}
	}
	return errors.Join(failed...)
}

// judge checks every condition, in the order of the metrics' names.
func judge(all map[string]gates, e evaluation) verdict {
	v := verdict{Passed: true, Checks: []gateResult{}}
	for _, metric := range slices.Sorted(maps.Keys(all)) {
		g := all[metric]
		for _, c := range []struct {
			rule   string
			wanted *float64
			check  func(string, float64, evaluation) gateResult
		}{
			{"min", g.Min, floor}, {"max", g.Max, ceiling}, {"baseline_gain", g.BaselineGain, gain}, {"serving_drop", g.ServingDrop, drop(g.Incomparable == "pass")},
			{"quantized_drop", g.QuantizedDrop, quantized},
		} {
			if c.wanted == nil {
				continue
			}
			r := c.check(metric, *c.wanted, e)
			if g.Bound == "worst" && r.Value != nil {
				r = atWorst(metric, c.rule, *c.wanted, e)
			}
			r.Metric, r.Rule, r.Wanted = metric, c.rule, *c.wanted
			v.Passed = v.Passed && r.Passed
			v.Checks = append(v.Checks, r)
		}
	}
	return v
}

func floor(metric string, wanted float64, e evaluation) gateResult {
	value, ok := e.Metrics[metric]
	if !ok {
		return unknown(metric, "the report"+e.why(metric))
	}
	return gateResult{Value: &value, Passed: value >= wanted,
		text: fmt.Sprintf("%s %s is below the floor %s", metric, number(value), number(wanted))}
}

func ceiling(metric string, wanted float64, e evaluation) gateResult {
	value, ok := e.Metrics[metric]
	if !ok {
		return unknown(metric, "the report"+e.why(metric))
	}
	return gateResult{Value: &value, Passed: value <= wanted,
		text: fmt.Sprintf("%s %s is above the ceiling %s", metric, number(value), number(wanted))}
}

func gain(metric string, wanted float64, e evaluation) gateResult {
	better, r, ok := improvement(metric, e, e.Baseline, "the baseline")
	if !ok {
		return r
	}
	return gateResult{Value: &better, Passed: better >= wanted,
		text: fmt.Sprintf("%s %s is %s the baseline %s, wanted at least %s better",
			metric, number(e.Metrics[metric]), comparison(better), number(e.Baseline[metric]), number(wanted))}
}

// drop returns the check against the model in service. The first model has none to be
// compared with. Otherwise a comparison that is not possible fails, unless lenient.
func drop(lenient bool) func(metric string, wanted float64, e evaluation) gateResult {
	return func(metric string, wanted float64, e evaluation) gateResult {
		if e.Serving == nil && e.Incomparable == "" {
			return gateResult{Passed: true, Note: "no other model is in service"}
		}
		why := e.Incomparable
		if _, ok := e.Serving[metric]; why == "" && !ok {
			why = "the model in service has no " + metric + e.why("incumbent", metric)
		}
		if _, ok := e.Metrics[metric]; ok && why != "" {
			return incomparable(metric, why, lenient)
		}
		better, r, ok := improvement(metric, e, e.Serving, "the model in service")
		if !ok {
			return r
		}
		worse := 0 - better // not -0 for no difference
		return gateResult{Value: &worse, Passed: worse <= wanted,
			text: fmt.Sprintf("%s %s is %s the model in service %s, wanted at most %s worse",
				metric, number(e.Metrics[metric]), comparison(better), number(e.Serving[metric]), number(wanted))}
	}
}

func quantized(metric string, wanted float64, e evaluation) gateResult {
	better, r, ok := improvement(metric, e, e.Unquantized, "the model before it was quantized")
	if !ok {
		return r
	}
	worse := 0 - better // not -0 for no difference
	return gateResult{Value: &worse, Passed: worse <= wanted,
		text: fmt.Sprintf("%s %s is %s the model before it was quantized %s, wanted at most %s worse",
			metric, number(e.Metrics[metric]), comparison(better), number(e.Unquantized[metric]), number(wanted))}
}

func incomparable(metric, why string, lenient bool) gateResult {
	return gateResult{Passed: lenient, Note: why, text: fmt.Sprintf(
		`%s cannot be compared with the model in service: %s; if the new model may replace it all the same, add incomparable: "pass" to the gate`, metric, why)}
}

// improvement is how much better the metric is than in other, in the metric's
// good direction.
func improvement(metric string, e evaluation, other figures, name string) (float64, gateResult, bool) {
	value, ok := e.Metrics[metric]
	if !ok {
		return 0, unknown(metric, "the report"+e.why(metric)), false
	}
	base, ok := other[metric]
	if !ok {
		return 0, unknown(metric, "the report's values for "+name), false
	}
	higher, ok := e.HigherIsBetter[metric]
	if !ok {
		text := fmt.Sprintf("the report does not say whether a higher %s is better", metric)
		return 0, gateResult{Note: text, text: text}, false
	}
	if higher {
		return exact(value - base), gateResult{}, true
	}
	return exact(base - value), gateResult{}, true
}

// exact takes away what subtraction of decimal fractions adds, so that 0.70 is
// 0.05 better than 0.65.
func exact(difference float64) float64 {
	const digits = 1e12
	if r := math.Round(difference*digits) / digits; math.Abs(difference) < 1000 {
		return r
	}
	return difference
}

func unknown(metric, where string) gateResult {
	text := fmt.Sprintf("%s is not in %s", metric, where)
	return gateResult{Note: text, text: text}
}

func comparison(better float64) string {
	if better < 0 {
		return number(-better) + " worse than"
	}
	return number(better) + " better than"
}

// number writes a metric as people do, with at most six significant digits.
func number(f float64) string { return strconv.FormatFloat(f, 'g', 6, 64) }
