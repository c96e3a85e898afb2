package systemtest

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/step"
)

const (
	wantCSV = "want.csv"
	ending  = ".csv" // of the section of an input
)

// expectFeature runs one feature over the rows of the test.
func (t *test) expectFeature(ctx context.Context, c compiled) {
	d := t.head.feature
	if d == nil {
		return
	}
	u := t.unit(c.sys, d)
	if u == nil {
		t.archive.useAll() // it is unknown which are its inputs
		return
	}
	golden := wantCSV
	if t.head.errors != nil {
		golden = "errors"
	}
	t.archive.use(golden)
	inputs, ok := t.inputs(d, u)
	if !ok {
		return
	}
	out := u.Outputs[0]
	literals := map[string]duck.Literal{}
	for name, in := range inputs {
		literals[name] = in.Literal
	}
	var got duck.Evaluated
	var err error
	if query, ok := queryOf(u); ok {
		got, err = t.SQL.Evaluate(ctx, query, literals, duck.Table{Schema: out.Schema, OrderBy: step.RowOrder(out.Keys, out.Timestamp), Keys: out.Keys})
	} else {
		got, err = t.runPython(ctx, c, u, literals)
	}
	if wrong := (*duck.ValueError)(nil); errors.As(err, &wrong) {
		t.fail(inputs[wrong.Input].lines[wrong.Row], "%s: %v", wrong.Input+ending, err)
		return
	}
	if len(got.Inputs) > 0 {
		for _, in := range u.Inputs {
			if broken := got.Inputs[in.Port]; len(broken) > 0 {
				t.fail(inputs[in.Port].section.line, "%s: such rows cannot occur: %s", in.Port+ending, violations(broken))
			}
		}
		return
	}
	if t.head.errors != nil {
		t.expectErrors(u, got, err)
		return
	}
	if err != nil {
		t.fail(d.line, "%s: %v", u.ID, err)
		return
	}
	t.expectRows(ctx, d, out, got)
}

// unit is the feature of that name, if a test can run it.
func (t *test) unit(sys *ir.System, d *directive) *ir.Unit {
	name := d.args[0]
	u := sys.Unit(name)
	if u != nil {
		if runs(u) {
			return u
		}
		t.fail(d.line, "%s is a %s: a test can run only features in SQL or Python", name, u.Component)
		return nil
	}
	var names []string
	for _, u := range sys.Units {
		if runs(&u) {
			names = append(names, u.ID)
		}
	}
	t.fail(d.line, "no feature %s%s", name, hint(diag.DidYouMean(name, names)))
	return nil
}

// runs reports whether a test can run a unit.
func runs(u *ir.Unit) bool {
	_, isSQL := queryOf(u)
	return isSQL || isPython(u)
}

// queryOf is the query that a unit runs, if that is all that it does.
func queryOf(u *ir.Unit) (string, bool) {
	var params struct{ SQL *string }
	if u.Code.Runtime != ir.Builtin || json.Unmarshal(u.Params, &params) != nil || params.SQL == nil {
		return "", false
	}
	return *params.SQL, true
}

// An input is a table of the test, with the lines of its rows.
type input struct {
	duck.Literal
	section *section
	lines   []int
}

// inputs reads the sections of the feature's inputs.
func (t *test) inputs(d *directive, u *ir.Unit) (map[string]input, bool) {
	inputs, ok := map[string]input{}, true
	var names []string
	for _, in := range u.Inputs {
		if in.Checked {
			continue // a test has no rows of the tables that the feature refers to
		}
		name := in.Port + ending
		names = append(names, in.Port)
		if name == wantCSV {
			t.fail(d.line, "cannot test %s: its input %s has the name of the expected output", u.ID, in.Port)
			return nil, false
		}
		s := t.archive.use(name)
		if s == nil {
			t.fail(d.line, "section -- %s -- is missing: %s reads %s; for a table without rows, write only the header", name, u.ID, in.Unit)
			ok = false
			continue
		}
		rows, at, good := t.rows(s, in.Schema)
		inputs[in.Port], ok = input{duck.Literal{Schema: in.Schema, Rows: rows}, s, at}, ok && good
	}
	for _, s := range t.archive.sections {
		port, isCSV := strings.CutSuffix(s.name, ending)
		if isCSV && !s.used && s.name != wantCSV {
			s.used, ok = true, false
			t.fail(s.line, "%s has no input %s%s", u.ID, port, hint(diag.DidYouMean(port, names)))
		}
	}
	return inputs, ok
}

// rows reads a section of CSV, with the lines of its rows.
func (t *test) rows(s *section, schema ir.Schema) (rows duck.Rows, at []int, ok bool) {
	rows, at, line, err := parseCSV(s)
	if err != nil {
		t.fail(line, "%s: %v", s.name, err)
		return rows, at, false
	}
	var names []string
	for _, c := range schema {
		names = append(names, c.Name)
	}
	for i, name := range rows.Columns {
		switch {
		case schema.Column(name) == nil:
			t.fail(s.line+1, "%s: no column %q%s", s.name, name, hint(diag.DidYouMean(name, names)))
			return rows, at, false
		case slices.Index(rows.Columns, name) != i:
			t.fail(s.line+1, "%s: duplicate column %q", s.name, name)
			return rows, at, false
		}
	}
	return rows, at, true
}

// expectErrors compares the errors of the result with a section.
func (t *test) expectErrors(u *ir.Unit, got duck.Evaluated, err error) {
	d := t.head.errors
	switch {
	case err != nil:
		t.golden(d, "errors", fmt.Sprintf("error: %s: %v\n", u.ID, err))
	case len(got.Broken) > 0:
		var b strings.Builder
		for _, v := range got.Broken {
			fmt.Fprintf(&b, "error: %s: %s\n", u.ID, v)
		}
		t.golden(d, "errors", b.String())
	default:
		t.fail(d.line, "%s has no errors, but errors are expected", u.ID)
	}
}

// expectRows compares the columns that are wanted.
func (t *test) expectRows(ctx context.Context, d *directive, out ir.Output, got duck.Evaluated) {
	s := t.archive.use(wantCSV)
	want := duck.Rows{Columns: got.Rows.Columns}
	var at []int
	if s != nil && strings.TrimSpace(s.text) != "" {
		ok := false
		if want, at, ok = t.rows(s, out.Schema); !ok {
			return
		}
	}
	broken := slices.DeleteFunc(got.Broken, func(v duck.Violation) bool { return !slices.Contains(want.Columns, v.Column) })
	if len(broken) > 0 {
		t.fail(d.line, "%s violates its schema: %s", d.args[0], violations(broken))
		return
	}
	now := formatCSV(only(got.Rows, want.Columns))
	if s == nil {
		t.failure(missing(d, wantCSV, now))
		return
	}
	if formatCSV(want) == now {
		return
	}
	// 1.50 is 1.5, and the order of keys is that of the feature, however both are
	// written.
	typed, err := t.SQL.Typed(ctx, want, out.Schema)
	if wrong := (*duck.ValueError)(nil); errors.As(err, &wrong) {
		t.fail(at[wrong.Row], "%s: %v", wantCSV, err)
		return
	}
	if err != nil {
		t.fail(s.line, "%s: %v", wantCSV, err)
		return
	}
	wanted, is := lines(formatCSV(typed)), lines(now)
	if len(step.RowOrder(out.Keys, out.Timestamp)) > 0 {
		slices.Sort(wanted[1:])
		slices.Sort(is[1:])
	}
	if _, diff := difference(wanted, is, t.Full); diff != "" {
		t.failure(Failure{Line: s.line, Message: wantCSV + " is not as expected (-want +got)", Detail: diff, golden: wantCSV, now: now})
	}
}

func violations(v []duck.Violation) string {
	var text []string
	for _, v := range v {
		text = append(text, v.String())
	}
	return strings.Join(text, "; ")
}

// only leaves the named columns of rows.
func only(r duck.Rows, columns []string) duck.Rows {
	out := duck.Rows{Columns: columns}
	for _, row := range r.Values {
		values := make([]*string, len(columns))
		for i, name := range columns {
			values[i] = row[slices.Index(r.Columns, name)]
		}
		out.Values = append(out.Values, values)
	}
	return out
}

// null is how a null is written where nothing would be an empty line.
const null = "NULL"

// parseCSV reads a section, with the lines of its rows. A field that is empty or
// NULL is null, unless it is in quotes. With an error comes its line.
func parseCSV(s *section) (rows duck.Rows, at []int, line int, err error) {
	source := lines(s.text)
	r := csv.NewReader(strings.NewReader(s.text))
	for {
		fields, err := r.Read()
		if err == io.EOF {
			break
		}
		if wrong := (*csv.ParseError)(nil); errors.As(err, &wrong) {
			line, err = s.line+wrong.Line, wrong.Err
			if err == csv.ErrFieldCount {
				err = fmt.Errorf("%d fields, and the header has %d", len(fields), len(rows.Columns))
			}
		}
		if err != nil {
			return rows, at, line, err
		}
		if rows.Columns == nil {
			rows.Columns = fields
			continue
		}
		row := make([]*string, len(fields))
		for i := range fields {
			line, col := r.FieldPos(i)
			quoted := strings.HasPrefix(source[line-1][col-1:], `"`)
			if quoted || fields[i] != "" && fields[i] != null {
				row[i] = &fields[i]
			}
		}
		first, _ := r.FieldPos(0)
		rows.Values, at = append(rows.Values, row), append(at, s.line+first)
	}
	if rows.Columns == nil {
		return rows, at, s.line, errors.New("the header with the column names is missing")
	}
	return rows, at, 0, nil
}

// formatCSV writes rows so that parseCSV reads them.
func formatCSV(r duck.Rows) string {
	var b strings.Builder
	header := make([]*string, len(r.Columns))
	for i := range header {
		header[i] = &r.Columns[i]
	}
	for _, row := range append([][]*string{header}, r.Values...) {
		for i, v := range row {
			if i > 0 {
				b.WriteByte(',')
			}
			switch {
			case v == nil && len(row) == 1:
				b.WriteString(null)
			case v == nil:
			case *v == "" || *v == null || strings.ContainsAny(*v, ",\"\r\n") || strings.TrimSpace(*v) != *v:
				b.WriteString(`"` + strings.ReplaceAll(*v, `"`, `""`) + `"`)
			default:
				b.WriteString(*v)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
