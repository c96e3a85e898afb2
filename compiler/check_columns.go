package compiler

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

func (c *checker) checkColumn(e *entity, col ir.Column, at []string) {
	if _, ok := ir.Types[col.Type]; !ok {
		var types []string
		for t := range ir.Types {
			types = append(types, t)
		}
		slices.Sort(types)
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("column %q of %s has a type %q that does not exist", col.Name, e, col.Type),
			Wanted:  "one of " + strings.Join(types, ", "),
			Spans:   []diag.Span{c.sys.At("", e.path(at...)...)},
			Hint:    diag.DidYouMean(col.Type, types),
		})
	}
	if order, ok := col.Min.Compare(col.Max); ok && order > 0 {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("column %q of %s has a min above its max", col.Name, e),
			Found:   fmt.Sprintf("min %s, max %s", col.Min, col.Max),
			Spans:   []diag.Span{c.sys.At("", e.path(at...)...)},
		})
	}
	if col.Values != nil && len(col.Values) == 0 {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("column %q of %s allows no value: its values are an empty list", col.Name, e),
			Spans:   []diag.Span{c.sys.At("", e.path(at...)...)},
			Hint:    "list the allowed values, or leave out values if any is allowed",
		})
	}
	if (col.Min != "" || col.Max != "") && !isNumber(col.Type) && !isTime(col.Type) {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("column %q of %s is a %s, which has no min or max", col.Name, e, col.Type),
			Spans:   []diag.Span{c.sys.At("", e.path(at...)...)},
		})
		return
	}
	for _, b := range []struct {
		name  string
		bound ir.Bound
	}{{"min", col.Min}, {"max", col.Max}} {
		if !boundFits(col.Type, b.bound) {
			found, _ := b.bound.MarshalJSON()
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("the %s of column %q of %s is no value of a %s", b.name, col.Name, e, col.Type),
				Wanted:  cmp.Or(wantedBounds[col.Type], "a number"), Found: string(found),
				Spans: []diag.Span{c.sys.At("", e.path(append(slices.Clone(at), b.name)...)...)},
			})
		}
	}
}

// wantedBounds describes the bounds of times.
var wantedBounds = map[string]string{
	"date":        `a date such as "2024-07-01"`,
	"timestamp":   `a date or a time without a zone, such as "2024-07-01 12:00:00"`,
	"timestamptz": `a date or a time, such as "2024-07-01T12:00:00Z"`,
}

// boundFits reports whether a bound, if there is one, is a value of the type.
func boundFits(typ string, b ir.Bound) bool {
	if b == "" || ir.Types[typ] == "" {
		return true
	}
	if isTime(typ) {
		_, ok := ir.TimeBound(typ, b.String())
		return ok
	}
	_, ok := new(big.Rat).SetString(b.String())
	return ok && json.Valid([]byte(b))
}
