package compiler

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/classes"
	"github.com/tenon-ml/tenon/internal/diag"
)

// checkParams checks the arguments of an object, and the objects within them. The class
// is nil if nothing is known about it.
func (k *madeCheck) checkParams(c *classes.Class, params object, place, classAt []string, nested string) {
	for _, f := range params {
		at := append(place[:len(place):len(place)], f.name)
		within := k.checkNested(f.value, at, nested)
		if c == nil || c.Params == nil {
			continue
		}
		p, ok := c.Params[f.name]
		if p.Alias != "" {
			p = c.Params[p.Alias]
		}
		switch {
		case !ok && !c.Open:
			k.fail(k.e, diag.Diagnostic{
				Message: fmt.Sprintf("%s has no parameter %q", shortName(c), f.name),
				Spans:   []diag.Span{k.sys.Label("", k.written(at)...)},
				Hint:    paramHint(c, f.name),
			})
		case within && f.name == c.Members:
			k.checkMembers(c, f.value, at, nested)
		case !within && !p.Accepts(f.value):
			k.checkValue(c, f, p, at)
		case !within && !p.InOrder(f.value):
			pair := f.value.([]any)
			k.fault(diag.Diagnostic{
				Message: fmt.Sprintf("%s does not take this %s", shortName(c), f.name),
				Wanted:  map[string]string{"<": "the smaller of two numbers first", "<=": "two numbers, the first of which is not above the second"}[p.Ordered],
				Found:   valueText(f.value),
				Hint:    fmt.Sprintf("did you mean %s?", valueText([]any{pair[1], pair[0]})),
			}, at)
		case f.name == "class_weight" && c.Is == "classifier":
			k.checkClasses(c, f.value, at)
		}
	}
	if c == nil {
		return
	}
	k.checkAliases(c, params, place)
	k.checkObjective(c, params, place)
	if c.Open {
		return
	}
	for _, name := range paramNames(c) {
		if c.Params[name].Required && !params.has(name) {
			k.fault(diag.Diagnostic{
				Message: fmt.Sprintf("%s needs a parameter %q", shortName(c), name),
				Hint:    "set it in params",
			}, classAt)
		}
	}
}

// shortName returns how messages call a class: functions need their module.
func shortName(c *classes.Class) string {
	if name := c.Name(); strings.ToLower(name[:1]) != name[:1] {
		return name
	}
	return c.Path
}

func paramHint(c *classes.Class, name string) string {
	near := diag.Nearest(name, paramNames(c))
	if near == "" {
		return diag.DidYouMean(name, paramNames(c))
	}
	if of := c.Params[near].Alias; of != "" {
		near = of
	}
	hint := fmt.Sprintf("did you mean %s?", near)
	p := c.Params[near]
	wanted := p.Wanted()
	switch {
	case wanted != "" && p.Default != "":
		hint += fmt.Sprintf(" It takes %s (default %s)", wanted, p.Default)
	case wanted != "":
		hint += fmt.Sprintf(" It takes %s", wanted)
	case p.Default != "" && p.Default != "null":
		hint += fmt.Sprintf(" Its default is %s", p.Default)
	}
	return hint
}

func (k *madeCheck) checkValue(c *classes.Class, f field, p classes.Param, at []string) {
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s does not take this %s", shortName(c), f.name),
		Wanted:  p.Wanted(),
		Found:   valueText(f.value),
	}
	if s, ok := f.value.(string); ok {
		if near := diag.Nearest(s, p.Options()); near != "" {
			d.Hint = fmt.Sprintf("did you mean %q?", near)
		}
	} else if n, ok := f.value.(json.Number); ok && d.Hint == "" {
		// A number of the other kind, such as 100.0 for 100.
		if v, err := strconv.ParseFloat(string(n), 64); err == nil && v == float64(int64(v)) {
			if whole := json.Number(strconv.FormatInt(int64(v), 10)); whole != n && p.Accepts(whole) {
				d.Hint = fmt.Sprintf("write %s", whole)
			}
		}
	}
	k.fault(d, at)
}

// valueText returns a value as messages show it.
func valueText(v any) string {
	b, err := json.Marshal(plain(v))
	if err != nil || len(b) > 60 {
		return "a longer value"
	}
	return string(b)
}

// checkNested checks the objects within a value, and reports whether there are any.
func (k *madeCheck) checkNested(v any, at []string, nested string) bool {
	found := false
	switch v := v.(type) {
	case []any:
		for i, x := range v {
			found = k.checkNested(x, append(at[:len(at):len(at)], strconv.Itoa(i)), nested) || found
		}
	case object:
		if nested == "" || !v.has(nested) {
			for _, f := range v {
				found = k.checkNested(f.value, append(at[:len(at):len(at)], f.name), nested) || found
			}
			return found
		}
		for _, f := range v {
			if f.name != nested && f.name != "params" {
				k.fail(k.e, diag.Diagnostic{
					Message: fmt.Sprintf("there is no %q next to %s", f.name, nested),
					Spans:   []diag.Span{k.sys.Label("", k.written(append(at[:len(at):len(at)], f.name))...)},
					Hint:    fmt.Sprintf("%s and params describe an object; put its parameters in params", nested),
				})
			}
		}
		pathAt := append(at[:len(at):len(at)], nested)
		path := stringOf(v.get(nested))
		params, _ := v.get("params").(object)
		k.checkParams(k.find(path, pathAt, ""), params, append(at[:len(at):len(at)], "params"), pathAt, nested)
		return true
	}
	return found
}

// checkMembers checks that the estimators of an ensemble are of its kind. Each item of the
// list is a name and an estimator.
func (k *madeCheck) checkMembers(c *classes.Class, v any, at []string, nested string) {
	list, _ := v.([]any)
	for i, item := range list {
		pair, _ := item.([]any)
		if len(pair) != 2 {
			continue
		}
		o, _ := pair[1].(object)
		path := stringOf(o.get(nested))
		x := k.index(path)
		if path == "" || x == nil {
			continue
		}
		member, _, _ := x.Find(path)
		if member == nil || member.Is == c.Is || member.Is != "classifier" && member.Is != "regressor" {
			continue
		}
		d := diag.Diagnostic{
			Message: fmt.Sprintf("%s is a %s, but %s takes only %ss", path, member.Is, shortName(c), c.Is),
			Hint:    "choose a " + c.Is,
		}
		if other := counterpart(x, member, c.Is); other != "" {
			d.Hint = fmt.Sprintf("did you mean %q?", other)
		}
		k.fault(d, append(at[:len(at):len(at)], strconv.Itoa(i), "1", nested))
	}
}

// checkClasses checks that weights of classes name values of the label. The keys are
// strings, which are no classes of another type of label.
func (k *madeCheck) checkClasses(c *classes.Class, v any, at []string) {
	weights, _ := v.(object)
	model := k.model()
	if len(weights) == 0 || model == nil {
		return
	}
	label := model.signature.Output
	labelAt := k.sys.At("the label", k.e.path("label")...)
	if span, ok := k.inputSpan(k.e, label.Name, "the label"); ok {
		labelAt = span
	}
	if label.Type != "string" {
		k.fault(diag.Diagnostic{
			Message: fmt.Sprintf("class_weight names classes by strings, but the label %s is %s %s", label.Name, article(label.Type), label.Type),
			Spans:   []diag.Span{labelAt},
			Hint:    `set class_weight: "balanced", or make the label a string`,
		}, at)
		return
	}
	if len(label.Values) == 0 {
		return
	}
	for _, f := range weights {
		if slices.Contains(label.Values, f.name) {
			continue
		}
		k.fail(k.e, diag.Diagnostic{
			Message: fmt.Sprintf("class_weight names a class %q, but %s has no such value", f.name, label.Name),
			Spans:   []diag.Span{k.sys.Label("", k.written(append(at[:len(at):len(at)], f.name))...), labelAt},
			Hint:    diag.DidYouMean(f.name, label.Values),
		})
	}
}

// inputSpan returns where a column of an input of an entity is declared.
func (c *program) inputSpan(e *entity, name, label string) (diag.Span, bool) {
	for _, p := range e.ports {
		if p.out != nil && p.out.schema.Column(name) != nil {
			span, ok := c.sys.Column(p.out.entity.section, p.out.entity.name, name)
			span.Label = label
			return span, ok
		}
	}
	return diag.Span{}, false
}

// article returns the article before a type.
func article(name string) string {
	if strings.ContainsAny(name[:1], "aeiou") {
		return "an"
	}
	return "a"
}
