package compiler

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/duration"
)

// releaseOf returns how a new version of a service replaces the current one, or nil if it does so
// at once. It refuses a release that contradicts itself.
func (c *lowerer) releaseOf(e *entity, s *stage, u *ir.Unit) *ir.Release {
	o, _ := e.fields.at(s.Release).(object)
	if s.Release == "" || o == nil {
		return nil
	}
	r := &ir.Release{Each: duration.Parse(stringOf(o.get("each"))), By: stringOf(o.get("by"))}
	steps, _ := o.get("steps").([]any)
	for _, step := range steps {
		r.Steps = append(r.Steps, int(whole(step)))
	}
	r.Shadow, _ = fraction(o.get("shadow"))
	judge, _ := o.get("judge").(object)
	r.Judge = ir.Judge{P99: duration.Parse(stringOf(judge.get("p99"))), Requests: whole(judge.get("requests"))}
	if judge.has("within") {
		r.Judge.Within, r.Judge.Otherwise = duration.Parse(stringOf(judge.get("within"))), stringOf(judge.get("otherwise"))
	}
	for name, to := range map[string]**float64{"error_rate": &r.Judge.ErrorRate, "disagreement": &r.Judge.Disagreement} {
		if limit, ok := judge.get(name).(object); ok {
			if most, ok := fraction(limit.get("max")); ok {
				*to = &most
			}
		}
	}
	if k := e.component.Edge; k != nil {
		r.Edge = ir.Edge{Params: k.All(), Identifies: []string{k.Auth, k.clientCA()}, Secrets: k.secrets(s.Secrets)}
	}
	c.checkRelease(e, s, r, o, u)
	return r
}

func fraction(v any) (float64, bool) {
	n, ok := v.(json.Number)
	f, _ := n.Float64()
	return f, ok
}

func (c *lowerer) checkRelease(e *entity, s *stage, r *ir.Release, o object, u *ir.Unit) {
	judge, _ := o.get("judge").(object)
	at := func(text string, field ...string) diag.Span {
		return c.sys.At(text, e.path(append([]string{s.Release}, field...)...)...)
	}
	for i := 1; i < len(r.Steps); i++ {
		if r.Steps[i] <= r.Steps[i-1] {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("the steps of %s do not ascend: %d comes after %d", e, r.Steps[i], r.Steps[i-1]),
				Spans:   []diag.Span{at("", "steps", strconv.Itoa(i)), at("after this", "steps", strconv.Itoa(i-1))},
				Hint:    "a challenger answers more requests in each step: steps: [1, 10, 50, 100]",
			})
			return
		}
	}
	switch {
	case r.Each >= duration.Century:
		c.tooLarge(e, at("", "each").Pos, "less than a hundred years")
	case judge.has("p99") && r.Judge.P99 <= 0:
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("no request of %s can be answered within a p99 of %s", e, stringOf(judge.get("p99"))),
			Spans:   []diag.Span{at("", "judge", "p99")}, Hint: "write a length of time, such as 50ms, or remove p99",
		})
	case judge.has("within") && r.Judge.Within <= r.Each:
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the judge of %s waits for requests no longer than %s, but a step lasts %s", e, stringOf(judge.get("within")), stringOf(o.get("each"))),
			Spans:   []diag.Span{at("", "judge", "within"), at("how long a step lasts", "each")},
			Hint:    "write a longer time, such as 2h, or remove within to wait until the requests are there",
		})
	case r.Judge.Disagreement != nil && r.Shadow == 0:
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the judge of %s limits disagreement, but no rows are compared", e),
			Spans:   []diag.Span{at("", "judge", "disagreement"), c.sys.Label("it has no shadow", e.path(s.Release)...)},
			Hint:    "add the fraction of requests that the new version computes without answering: shadow: 0.1",
		})
	case r.By != "":
		c.checkReleaseBy(e, r.By, at("", "by"), u)
	}
}

// checkReleaseBy refuses a column that a request does not have.
func (c *lowerer) checkReleaseBy(e *entity, by string, at diag.Span, u *ir.Unit) {
	for _, o := range u.Outputs {
		if o.Kind != ir.EndpointOf || o.Request.Column(by) != nil {
			continue
		}
		var names []string
		for _, column := range o.Request {
			names = append(names, column.Name)
		}
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("by of %s names %q, which is no column of its requests", e, by),
			Spans:   []diag.Span{at}, Wanted: strings.Join(names, ", "), Hint: nearest(by, names),
		})
	}
}
