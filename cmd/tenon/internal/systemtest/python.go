package systemtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// isPython reports whether a unit is a feature in Python: its tables are all that it
// depends on.
func isPython(u *ir.Unit) bool {
	tables := !slices.ContainsFunc(u.Inputs, func(in ir.Input) bool { return in.Kind != ir.Table })
	return strings.HasPrefix(u.Entity, "features/") && u.Kind == ir.Job && u.Code.Runtime == ir.Python && tables &&
		len(u.Outputs) == 1 && u.Outputs[0].Kind == ir.Table && len(u.Files) == 0 && len(u.Secrets) == 0
}

// runPython runs a feature in Python over the rows of the test, as an apply would. As with
// SQL, what the test does not give or want is not checked.
func (t *test) runPython(ctx context.Context, c compiled, u *ir.Unit, literals map[string]duck.Literal) (e duck.Evaluated, err error) {
	work, err := os.MkdirTemp("", "tenon-test-")
	if err != nil {
		return e, err
	}
	defer os.RemoveAll(work)
	tables := map[string]string{}
	for name := range literals {
		tables[name] = filepath.Join(work, fmt.Sprintf("table%d.parquet", len(tables)))
	}
	if e.Inputs, err = t.SQL.Write(ctx, literals, tables); err != nil || len(e.Inputs) > 0 {
		return e, err
	}
	program, strict := *u, t.wanted(u.Outputs[0].Schema)
	program.Inputs = nil
	for _, in := range u.Inputs {
		if !in.Checked {
			rows := literals[in.Port].Rows
			in.Schema, in.Keys = bare(in.Schema, func(name string) bool { return slices.Contains(rows.Columns, name) }), nil
			program.Inputs = append(program.Inputs, in)
		}
	}
	out := u.Outputs[0]
	whole := !slices.ContainsFunc(out.Keys, func(k string) bool { return strict.Column(k) == nil })
	out.Schema, out.Keys, out.References = bare(out.Schema, func(name string) bool { return strict.Column(name) != nil }), nil, nil
	program.Outputs = []ir.Output{out}
	path, err := t.Python(ctx, program, c.blobs, tables, work)
	if err != nil {
		return e, err
	}
	var keys []string
	if whole {
		keys = u.Outputs[0].Keys
	}
	// The columns that are not wanted have no rules.
	rules := slices.Clone(out.Schema)
	for i := range rules {
		if c := strict.Column(rules[i].Name); c != nil {
			rules[i] = *c
		}
	}
	if e.Broken, _, err = t.SQL.Verify(ctx, path, rules, keys, nil); err != nil {
		return e, err
	}
	e.Rows, err = t.SQL.Read(ctx, path, out.Schema)
	return e, err
}

// wanted returns the columns that the test compares: those of its golden, or all.
func (t *test) wanted(all ir.Schema) ir.Schema {
	if t.head.errors != nil {
		return all
	}
	s := t.archive.use(wantCSV)
	if s == nil || strings.TrimSpace(s.text) == "" {
		return all
	}
	want, _, _, err := parseCSV(s)
	if err != nil {
		return all // it is reported with the rows
	}
	return slices.DeleteFunc(slices.Clone(all), func(c ir.Column) bool { return !slices.Contains(want.Columns, c.Name) })
}

// bare returns a schema without rules for values. Columns that do not count may be null.
func bare(s ir.Schema, counts func(name string) bool) ir.Schema {
	out := slices.Clone(s)
	for i, c := range s {
		out[i] = ir.Column{Name: c.Name, Type: c.Type, Nullable: c.Nullable || !counts(c.Name), NaN: c.NaN}
	}
	return out
}
