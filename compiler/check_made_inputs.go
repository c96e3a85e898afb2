package compiler

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// checkInputs checks that the objects can read the inputs that they get as they are: a
// transformer its columns, and the first of the others all of them, where nothing encodes
// them before.
func (k *madeCheck) checkInputs(all []instance, fields object) {
	model := k.model()
	if model == nil {
		return
	}
	var inputs []string
	for _, c := range model.signature.Input {
		inputs = append(inputs, c.Name)
	}
	changed := map[string]bool{} // columns that an object before made or changed
	some := false
	for i := range all {
		o := &all[i]
		if len(o.columns) == 0 {
			continue
		}
		for n, name := range o.columns {
			col := model.signature.Input.Column(name)
			at := append(o.columnsAt[:len(o.columnsAt):len(o.columnsAt)], strconv.Itoa(n))
			if col == nil && !some {
				k.fault(diag.Diagnostic{
					Message: fmt.Sprintf("%s names a column %q that is not an input of the model", k.e, name),
					Hint:    diag.DidYouMean(name, inputs),
				}, at)
			} else if col != nil && !changed[name] {
				k.checkReads(o, col, at, "encode it in a step before, or name another column", "impute it in a step before, or name another column")
			}
			changed[name] = true
		}
		some = some || o.class == nil || !o.class.Column
	}
	n := slices.IndexFunc(all, func(o instance) bool { return len(o.columns) == 0 })
	if n < 0 {
		return
	}
	first := &all[n] // what the others get, it made
	if first.Role == "" || len(first.Raw) == 0 || !isRaw(first.Raw, fields) {
		return
	}
	for i := range model.signature.Input {
		col := &model.signature.Input[i]
		leave := "exclude the column, or leave out " + rawText(first.Raw)
		if !changed[col.Name] && k.checkReads(first, col, first.at, leave, "impute it in a step before, "+leave) {
			return
		}
	}
}

// isRaw reports whether fields have the values with which nothing is encoded.
func isRaw(raw map[string]string, fields object) bool {
	for name, value := range raw {
		if fields.at(name) != value {
			return false
		}
	}
	return true
}

// words reports whether a column may hold texts that are no numbers: texts of digits are
// read as numbers.
func words(c *ir.Column) bool {
	return c.Type == "string" && (len(c.Values) == 0 || !slices.ContainsFunc(c.Values, func(v string) bool {
		s := strings.ReplaceAll(strings.TrimSpace(v), "_", "")
		_, err := strconv.ParseFloat(s, 64)
		return err == nil || s == ""
	}))
}

// rawText returns the fields with which nothing is encoded, as they are written.
func rawText(raw map[string]string) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		texts = append(texts, fmt.Sprintf("%s: %q", name, raw[name]))
	}
	return strings.Join(texts, ", ")
}

// checkReads checks that an object can read a column: strings, and missing values. It
// reports whether there is a fault. encode and impute say how to repair it.
func (k *madeCheck) checkReads(o *instance, col *ir.Column, at []string, encode, impute string) bool {
	if o.class == nil || k.hasNested(o.params, o.Nested) {
		return false
	}
	var d diag.Diagnostic
	var label string
	switch {
	case o.class.Numbers && words(col):
		d.Message, d.Hint = fmt.Sprintf("%s takes numbers, but the column %s holds strings", o.path, col.Name), encode
		label = "a string"
	case o.class.Present && col.Nullable:
		d.Message, d.Hint = fmt.Sprintf("%s takes no missing values, but the column %s may be null", o.path, col.Name), impute
		label = "may be null"
	default:
		return false
	}
	if span, ok := k.inputSpan(k.e, col.Name, label); ok {
		d.Spans = append(d.Spans, span)
	}
	k.fault(d, at)
	return true
}

// hasNested reports whether there is an object within a value.
func (k *madeCheck) hasNested(v any, nested string) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, func(x any) bool { return k.hasNested(x, nested) })
	case object:
		return v.has(nested) || slices.ContainsFunc(v, func(f field) bool { return k.hasNested(f.value, nested) })
	}
	return false
}
