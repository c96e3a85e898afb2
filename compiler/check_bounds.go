package compiler

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/duration"
)

// rangeOf holds the lowest and the highest value that a metric can have, "" for none.
var rangeOf = map[string][2]json.Number{
	"accuracy": {"0", "1"}, "balanced_accuracy": {"0", "1"}, "precision": {"0", "1"}, "recall": {"0", "1"}, "f1": {"0", "1"},
	"roc_auc": {"0", "1"}, "average_precision": {"0", "1"}, "log_loss": {"0", ""}, "brier_score_loss": {"0", "2"},
	"matthews_corrcoef": {"-1", "1"},
	"r2":                {"", "1"}, "explained_variance": {"", "1"}, "mean_absolute_error": {"0", ""}, "mean_squared_error": {"0", ""},
	"root_mean_squared_error": {"0", ""}, "median_absolute_error": {"0", ""}, "mean_absolute_percentage_error": {"0", ""},
	"max_error": {"0", ""},
}

// checkBounds refuses bounds of a metric that no value of it can have, or that exclude one
// another.
func (c *checker) checkBounds(e *entity, metric string, bounds object, path ...string) {
	at := func(field, label string) diag.Span { return c.sys.At(label, e.path(append(path, field)...)...) }
	low, high := rangeOf[metric][0], rangeOf[metric][1]
	what := strings.Join(path, ".")
	for _, field := range []string{"min", "max"} {
		bound, ok := bounds.get(field).(json.Number)
		if !ok || !above(low, bound) && !above(bound, high) {
			continue
		}
		d := diag.Diagnostic{
			Message: fmt.Sprintf("%s of %s has a %s that %s cannot have", what, e, field, metric),
			Wanted:  between(low, high), Found: bound.String(),
			Spans: []diag.Span{at(field, "")},
		}
		if percent := number(bound); low == "0" && above(bound, "10") && !above(bound, "100") {
			d.Hint = fmt.Sprintf("a metric is a share, not a percentage: did you mean %s?", new(big.Rat).Quo(percent, big.NewRat(100, 1)).FloatString(2))
		}
		c.fail(e, d)
		return
	}
	lowest, hasMin := bounds.get("min").(json.Number)
	highest, hasMax := bounds.get("max").(json.Number)
	if hasMin && hasMax && above(lowest, highest) {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s of %s has a min above its max, which no value satisfies", what, e),
			Found:   fmt.Sprintf("min %s, max %s", lowest, highest),
			Spans:   []diag.Span{at("min", ""), at("max", "")},
		})
	}
	gain, ok := bounds.get("baseline_gain").(json.Number)
	if !ok || low == "" || high == "" {
		return
	}
	if most := new(big.Rat).Sub(number(high), number(low)); number(gain).Cmp(most) > 0 {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s of %s asks for a larger baseline_gain than %s can have", what, e, metric),
			Wanted:  "at most " + most.RatString(), Found: gain.String(),
			Spans: []diag.Span{at("baseline_gain", "")},
		})
	}
}

// above reports whether both numbers are given, and the first is greater.
func above(a, b json.Number) bool { return a != "" && b != "" && number(a).Cmp(number(b)) > 0 }

func between(low, high json.Number) string {
	switch {
	case low == "":
		return "at most " + high.String()
	case high == "":
		return "at least " + low.String()
	}
	return fmt.Sprintf("from %s to %s", low, high)
}

// quantiles lists those of a latency in their order.
var quantiles = []string{"p50", "p90", "p95", "p99"}

// checkLatency refuses an objective for a quantile that one for a higher quantile implies: two
// of them are confused.
func (c *checker) checkLatency(e *entity) {
	latency, _ := e.fields.get("latency").(object)
	for i, low := range quantiles {
		for _, high := range quantiles[i+1:] {
			if !latency.has(low) || !latency.has(high) {
				continue
			}
			if l, h := stringOf(latency.get(low)), stringOf(latency.get(high)); duration.Parse(l) > duration.Parse(h) {
				c.fail(e, diag.Diagnostic{
					Message: fmt.Sprintf("latency.%s of %s is above latency.%s, which includes these requests", low, e, high),
					Wanted:  "at most " + h, Found: l,
					Spans: []diag.Span{c.sys.At("", e.path("latency", low)...), c.sys.At("", e.path("latency", high)...)},
				})
				return
			}
		}
	}
}

// checkFreshness refuses a freshness of a model whose data arrives less often: the model is
// not trained again before there is new data.
func (c *checker) checkFreshness(e *entity, model *entity) {
	fresh := duration.Parse(e.string("freshness"))
	if fresh == 0 {
		return
	}
	source, age := c.soonest(model)
	if source == nil || age <= fresh {
		return
	}
	c.fail(e, diag.Diagnostic{
		Message: fmt.Sprintf("the freshness of %s is shorter than the time in which new data for %s arrives", e, model),
		Wanted:  "at least " + source.string("max_age"), Found: e.string("freshness"),
		Spans: []diag.Span{c.sys.At("", e.path("freshness")...), c.sys.At(fmt.Sprintf("%s is fetched again after this time", source), source.path("max_age")...)},
		Hint:  fmt.Sprintf("set max_age of %s to %s or less", source, e.string("freshness")),
	})
}

// soonest returns the source behind a model that is fetched most often. It returns nil if one
// of them may change at any time, such as a file.
func (c *checker) soonest(model *entity) (*entity, time.Duration) {
	var first *entity
	var least time.Duration
	seen := map[*entity]bool{}
	var visit func(e *entity) bool
	visit = func(e *entity) bool {
		if seen[e] {
			return true
		}
		seen[e] = true
		for _, p := range e.ports {
			if p.out == nil || !visit(p.out.entity) {
				return false
			}
		}
		if len(e.ports) > 0 {
			return true
		}
		age := duration.Parse(e.string("max_age"))
		if age == 0 || slices.ContainsFunc(e.component.stages, func(s stage) bool { return len(s.Files) > 0 }) {
			return false
		}
		if first == nil || age < least {
			first, least = e, age
		}
		return true
	}
	if !visit(model) {
		return nil, 0
	}
	return first, least
}
