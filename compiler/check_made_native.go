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

// checkObjective refuses an objective for numbers in a classification, and one for classes in
// a regression whose label has other numbers than those between 0 and 1.
func (k *madeCheck) checkObjective(c *classes.Class, params object, place []string) {
	model := k.e.outs["model"]
	if model == nil || model.signature == nil {
		return
	}
	label, task := model.signature.Output, model.signature.Task
	if task == "regression" && !k.labelIsAnyNumber(label.Name) {
		return
	}
	wrong, of, fix := "classes", func(p classes.Param) []string { return p.Classes }, "numbers"
	if task == "classification" {
		wrong, of, fix = "numbers", func(p classes.Param) []string { return p.Numbers }, "classes"
	}
	for _, f := range params {
		p := c.Params[f.name]
		if p.Alias != "" {
			p = c.Params[p.Alias]
		}
		value, ok := f.value.(string)
		if !ok || !slices.Contains(of(p), value) {
			continue
		}
		d := diag.Diagnostic{
			Message: fmt.Sprintf("the objective %q is for %s, but %s is evaluated as a %s", value, wrong, k.e, task),
			Spans: []diag.Span{
				k.sys.At("", k.e.path(append(place[:len(place):len(place)], f.name)...)...),
				k.sys.At("", k.e.path("evaluation")...),
			},
			Hint: fmt.Sprintf("use an objective for %s, or leave it out: it follows from the task", fix),
		}
		if span, ok := k.inputSpan(k.e, label.Name, "the label"); ok {
			d.Spans = append(d.Spans, span)
		}
		k.fail(k.e, d)
	}
}

// labelIsAnyNumber reports whether the label is a fraction that may be below 0 or above 1.
func (k *madeCheck) labelIsAnyNumber(label string) bool {
	table := k.e.input("table")
	if table == nil || table.out == nil {
		return false
	}
	col := table.out.schema.Column(label)
	if col == nil || col.Type != "float32" && col.Type != "float64" {
		return false
	}
	low, err1 := strconv.ParseFloat(string(col.Min), 64)
	high, err2 := strconv.ParseFloat(string(col.Max), 64)
	return err1 != nil || err2 != nil || low < 0 || high > 1 // otherwise it is a share, or 0 and 1
}
