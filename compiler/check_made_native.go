package compiler

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/classes"
	"github.com/tenon-ml/tenon/internal/diag"
)

// checkAliases refuses two names of one parameter with different values: the library would
// ignore one of them.
func (k *madeCheck) checkAliases(c *classes.Class, params object, place []string) {
	first := map[string]field{}
	for _, f := range params {
		name := f.name
		if of := c.Params[name].Alias; of != "" {
			name = of
		}
		other, twice := first[name]
		if !twice {
			first[name] = f
			continue
		}
		if valueText(other.value) == valueText(f.value) {
			continue
		}
		at := func(f field) []string { return k.e.path(append(place[:len(place):len(place)], f.name)...) }
		k.fail(k.e, diag.Diagnostic{
			Message: fmt.Sprintf("%s gets two values for %s", shortName(c), name),
			Found:   fmt.Sprintf("%s: %s and %s: %s", other.name, valueText(other.value), f.name, valueText(f.value)),
			Spans:   []diag.Span{k.sys.Label("", at(f)...), k.sys.Label("the other name", at(other)...)},
			Hint:    "remove one of them: they are names of the same parameter",
		})
	}
}

// checkObjective refuses an objective for classes in a regression whose label has other
// numbers than those between 0 and 1.
func (k *madeCheck) checkObjective(c *classes.Class, params object, place []string) {
	model := k.e.outs["model"]
	if model == nil || model.signature == nil || model.signature.Task != "regression" {
		return
	}
	label := model.signature.Output
	table := k.e.input("table")
	if table == nil || table.out == nil {
		return
	}
	col := table.out.schema.Column(label.Name)
	if col == nil || col.Type != "float32" && col.Type != "float64" {
		return
	}
	low, err1 := strconv.ParseFloat(string(col.Min), 64)
	high, err2 := strconv.ParseFloat(string(col.Max), 64)
	if err1 == nil && err2 == nil && low >= 0 && high <= 1 {
		return // shares, or 0 and 1
	}
	for _, f := range params {
		p := c.Params[f.name]
		if p.Alias != "" {
			p = c.Params[p.Alias]
		}
		value, ok := f.value.(string)
		if !ok || !slices.Contains(p.Classes, value) {
			continue
		}
		d := diag.Diagnostic{
			Message: fmt.Sprintf("the objective %q is for classes, but %s is evaluated as a regression", value, k.e),
			Spans: []diag.Span{
				k.sys.At("", k.e.path(append(place[:len(place):len(place)], f.name)...)...),
				k.sys.At("", k.e.path("evaluation")...),
			},
			Hint: "use an objective for numbers, or leave it out: it follows from the task",
		}
		if span, ok := k.labelSpan(label.Name); ok {
			d.Spans = append(d.Spans, span)
		}
		k.fail(k.e, d)
	}
}
