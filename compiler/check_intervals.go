package compiler

import (
	"encoding/json"
	"fmt"

	"github.com/tenon-ml/tenon/internal/diag"
)

// rulesOfGates are the fields of a gate that require something.
var rulesOfGates = []string{"min", "max", "baseline_gain", "serving_drop", "quantized_drop"}

// checkWorst refuses a gate that compares the worst end of an interval which the report lacks.
func (c *checker) checkWorst(e *entity, evaluation object, metric string, gate object) {
	if gate.get("bound") != "worst" {
		return
	}
	d := diag.Diagnostic{
		Message: fmt.Sprintf("evaluation.gates.%s of %s compares the worst end of an interval, and there is none", metric, e),
		Spans:   []diag.Span{c.sys.Label("", e.path("evaluation", "gates", metric, "bound")...)},
	}
	none, _ := evaluation.at("intervals.resamples").(json.Number)
	switch {
	case metric == "max_error":
		d.Found = "an extreme value has no bootstrap interval"
		d.Hint = `remove bound: "worst", or gate another metric, such as root_mean_squared_error`
	case none == "0":
		d.Spans = append(d.Spans, c.sys.At("this makes none", e.path("evaluation", "intervals", "resamples")...))
		d.Hint = `remove bound: "worst", or resamples: 0`
	default:
		return
	}
	c.fail(e, d)
}
