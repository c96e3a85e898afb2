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
					Message: fmt.Sprintf("%s names a column %q that is no input of the model", k.e, name),
					Hint:    diag.DidYouMean(name, inputs),
				}, at)
			} else if col != nil && !changed[name] && onlyWords(col) {
				k.checkReads(o, col, at, "encode it in a step before, or name another column")
			}
			changed[name] = true
		}
		some = some || o.class == nil || !o.class.Column
	}
	if len(all) == 0 || len(changed) > 0 {
		return
	}
	first := &all[0] // what the others get, it made
	if first.Role == "" || len(first.Raw) == 0 || !isRaw(first.Raw, fields) {
		return
	}
	for i := range model.signature.Input {
		if col := &model.signature.Input[i]; onlyWords(col) {
			k.checkReads(first, col, first.at, "exclude the column, or leave out "+rawText(first.Raw))
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

// onlyWords reports whether a column certainly holds texts that are no numbers: texts of
// digits are read as numbers.
func onlyWords(c *ir.Column) bool {
	if c.Type != "string" || c.Nullable || len(c.Values) == 0 {
		return false
	}
	return !slices.ContainsFunc(c.Values, func(v string) bool {
		s := strings.ReplaceAll(strings.TrimSpace(v), "_", "")
		_, err := strconv.ParseFloat(s, 64)
		return err == nil || s == ""
	})
}

// rawText returns the fields with which nothing is encoded, as they are written.
func rawText(raw map[string]string) string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		texts = append(texts, fmt.Sprintf("%s: %q", name, raw[name]))
	}
	return strings.Join(texts, ", ")
}

// checkReads checks that an object can read a column of strings.
func (k *madeCheck) checkReads(o *instance, col *ir.Column, at []string, hint string) {
	if o.class == nil || !o.class.Numbers || k.hasNested(o.params, o.Nested) {
		return
	}
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s takes numbers, but the column %s holds strings", o.path, col.Name),
		Hint:    hint,
	}
	if span, ok := k.labelSpan(col.Name); ok {
		span.Label = "a string"
		d.Spans = append(d.Spans, span)
	}
	k.fault(d, at)
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
