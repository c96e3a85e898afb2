package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// checkClassWeight refuses weights of classes for a regression, and for classes that the label
// cannot have as far as its column declares them.
func (c *checker) checkClassWeight(e *entity, label ir.Column, task string) {
	weight := e.fields.get("class_weight")
	if weight == nil {
		return
	}
	if task != "classification" {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s weighs classes, and a %s has none", e, task),
			Spans:   []diag.Span{c.sys.At("", e.path("class_weight")...), c.sys.At("", e.path("evaluation")...)},
			Hint:    "remove class_weight, or use evaluate.#Classification",
		})
		return
	}
	known := label.Values
	if label.Type == "bool" {
		known = []string{"false", "true"}
	}
	for _, f := range objectOr(weight) {
		if len(known) > 0 && !slices.Contains(known, f.name) {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("class_weight of %s has a class %q, which its label %s cannot be", e, f.name, label.Name),
				Wanted:  "some of " + strings.Join(known, ", "),
				Spans:   []diag.Span{c.sys.Label("", e.path("class_weight", f.name)...), c.sys.At("", e.path("label")...)},
				Hint:    nearest(f.name, known),
			})
		}
	}
}
