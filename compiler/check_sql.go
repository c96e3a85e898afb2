package compiler

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// A typing is the result of typing a query with DuckDB. It is computed in parallel to the
// rest of the compilation, see typeSQL.
type typing struct {
	done chan struct{}
	duck.Description
	err error
}

// typeSQL begins to type every query whose inputs are known against their declared
// columns. The returned function stops it.
func (c *checker) typeSQL() (end func()) {
	ctx, cancel := context.WithCancel(c.ctx)
	var wg sync.WaitGroup
	for _, id := range c.order {
		e := c.entities[id]
		if e.component.SQL == "" || c.broken[id] || slices.ContainsFunc(e.ports, func(p port) bool { return c.broken[p.from] }) {
			continue
		}
		t, tables, query := &typing{done: make(chan struct{})}, e.inputTables(), e.string(e.component.SQL)
		e.typing = t
		wg.Go(func() {
			defer close(t.done)
			t.Description, t.err = c.options.Describe(ctx, tables, query)
		})
	}
	c.bindQueries(ctx, &wg)
	return func() { cancel(); wg.Wait() }
}

// inputTables returns the tables that a query reads, by their names in it, with the names
// and types of their columns. DuckDB knows nothing else about them.
func (e *entity) inputTables() map[string]ir.Schema {
	tables := map[string]ir.Schema{}
	for _, p := range e.ports {
		typed := make(ir.Schema, len(p.out.schema))
		for i, c := range p.out.schema {
			typed[i] = ir.Column{Name: c.Name, Type: c.Type}
		}
		tables[p.name] = typed
	}
	return tables
}

// checkSQL compares the types of every query with its declarations.
func (c *checker) checkSQL() error {
	for _, id := range c.order {
		e := c.entities[id]
		if e.typing == nil || c.broken[id] {
			continue
		}
		if err := c.checkQuery(e); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkQuery(e *entity) error {
	query := e.string(e.component.SQL)
	for _, p := range e.ports {
		if c.broken[p.from] {
			return nil // reported there
		}
	}
	<-e.typing.done
	if sqlErr := (*duck.SQLError)(nil); errors.As(e.typing.err, &sqlErr) {
		c.fail(e, c.sqlFault(e, query, sqlErr))
		return nil
	} else if e.typing.err != nil {
		return fmt.Errorf("check the SQL of %s: %w", e, e.typing.err)
	}
	for _, p := range e.ports {
		if used := regexp.MustCompile(`(?i)\b` + regexp.QuoteMeta(p.name) + `\b`); !used.MatchString(query) {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("the query of %s does not use its input %q", e, p.name),
				Spans:   []diag.Span{c.sys.Label("", e.path("in", p.name)...), c.sqlSpan(e, query, -1)},
				Hint:    "use it in the query, or remove it from in",
			})
		}
	}
	c.checkRepeatable(e, e.typing.Description, func(offset int) diag.Span { return c.sqlSpan(e, query, offset) })
	c.checkComparisons(e, query)
	c.compareColumns(e, query, e.typing.Columns)
	return nil
}

// checkRepeatable refuses SQL that may give something else for the same rows, or that always fails. at is
// the place of a byte of it.
func (c *checker) checkRepeatable(e *entity, is duck.Description, at func(offset int) diag.Span) {
	for _, u := range is.Unrepeatable {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the SQL of %s is not deterministic: %s", e, u.Message),
			Spans:   []diag.Span{at(u.Offset)},
			Hint:    u.Hint,
		})
	}
	for _, m := range is.Misfits {
		d := diag.Diagnostic{
			Message: fmt.Sprintf("the SQL of %s has a text that is not a valid %s", e, m.Type),
			Found:   "'" + m.Text + "'",
			Spans:   []diag.Span{at(m.Offset)},
			Hint:    literalHints[m.Type],
		}
		if m.Fault != "" {
			d.Message = fmt.Sprintf("the SQL of %s has an expression of constants that always fails: %s", e, m.Fault)
			d.Found = m.Text
		}
		c.fail(e, d)
	}
}

// literalHints say how values are written.
var literalHints = map[string]string{
	"DATE":                     "write a date as '2024-07-01'",
	"TIMESTAMP":                "write a time as '2024-07-01 12:00:00'",
	"TIMESTAMP WITH TIME ZONE": "write a time with its zone, as '2024-07-01 12:00:00+02'",
	"TIME":                     "write a time of day as '12:00:00'",
	"INTERVAL":                 "write an interval as INTERVAL 7 DAY",
	"time zone":                "write a time zone as 'Europe/Berlin'",
	duck.UnitOfTime:            "write a unit such as 'minute', 'day' or 'week'",
}

// checkComparisons refuses comparisons between columns of two families of types, as in a
// join of a text on a number: DuckDB would convert the text, row by row, and fail on the
// first that is not a number.
func (c *checker) checkComparisons(e *entity, query string) {
	for _, cmp := range e.typing.Compared {
		if family(cmp.Left.Type) == family(cmp.Right.Type) {
			continue
		}
		d := diag.Diagnostic{
			Message: fmt.Sprintf("the SQL of %s compares %s.%s (%s) with %s.%s (%s)", e,
				cmp.Left.Table, cmp.Left.Column, cmp.Left.Type, cmp.Right.Table, cmp.Right.Column, cmp.Right.Type),
			Wanted: "columns of the same type",
			Found:  cmp.Left.Type + " and " + cmp.Right.Type,
			Spans:  []diag.Span{c.sqlSpan(e, query, cmp.Offset)},
			Hint:   "declare the same type for both, or CAST one of them in the query",
		}
		for _, side := range []duck.Operand{cmp.Left, cmp.Right} {
			if p := e.input(side.Table); p != nil {
				d.Spans = append(d.Spans, c.columnSpan(p.out.entity, side.Column))
			}
		}
		c.fail(e, d)
	}
}

// family groups types that compare without converting text.
func family(t string) string {
	switch {
	case isNumber(t):
		return "number"
	case isTime(t):
		return "time"
	}
	return t
}

func (c *checker) sqlFault(e *entity, query string, err *duck.SQLError) diag.Diagnostic {
	d := diag.Diagnostic{
		Message: fmt.Sprintf("the SQL of %s: %s", e, strings.TrimSuffix(err.Message, "!")),
		Spans:   []diag.Span{c.sqlSpan(e, query, err.Offset)},
	}
	d.Hint = meant(err)
	switch err.Kind {
	case "syntax":
		if name := unquoted(e, query, err.Offset); name != "" {
			d.Hint = fmt.Sprintf("%s is a word of SQL: write the column as \"%[1]s\"", name)
		}
	case "table":
		var names []string
		for _, p := range e.ports {
			names = append(names, p.name)
		}
		d.Wanted = "one of the inputs " + strings.Join(names, ", ")
		d.Spans = append(d.Spans, c.sys.Label("its inputs", e.path("in")...))
	case "column":
		for _, p := range e.ports {
			if len(e.ports) <= 3 {
				d.Spans = append(d.Spans, c.sys.At(fmt.Sprintf("%s has %s", p.name, strings.Join(columnNames(p.out.schema), ", ")), e.path("in", p.name)...))
			}
		}
	}
	return d
}

// meant names what could have been meant by an unknown name in SQL.
func meant(err *duck.SQLError) string {
	if len(err.Candidates) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(err.Candidates[:min(3, len(err.Candidates))], " or ") + "?"
}

// compareColumns compares the columns of the result with the declared ones.
func (c *checker) compareColumns(e *entity, query string, found []duck.Column) {
	declared := e.outs["out"].schema
	byName := map[string]duck.Column{}
	var names []string
	for _, f := range found {
		byName[f.Name] = f
		names = append(names, f.Name)
	}
	for _, want := range declared {
		got, ok := byName[want.Name]
		if !ok {
			d := diag.Diagnostic{
				Message: fmt.Sprintf("%s declares a column %q that its query does not return", e, want.Name),
				Spans:   []diag.Span{c.sys.Label("declared here", e.path("schema", want.Name)...), c.sqlSpan(e, query, -1)},
				Found:   "the query returns " + strings.Join(names, ", "),
			}
			d.Hint = nearest(want.Name, names)
			c.fail(e, d)
			continue
		}
		if got.Type == ir.Types[want.Type] {
			continue
		}
		hint := castHint(got.Type, want.Type)
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("column %q of %s is declared as %s, but its query returns %s", want.Name, e, want.Type, got.Type),
			Wanted:  fmt.Sprintf("%s (%s in SQL)", want.Type, ir.Types[want.Type]),
			Found:   got.Type,
			Spans:   []diag.Span{c.columnSpan(e, want.Name), c.sqlSpan(e, query, columnOffset(query, want.Name))},
			Hint:    hint,
		})
	}
	for _, f := range found {
		if declared.Column(f.Name) == nil {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("the query of %s returns a column %q that is not declared", e, f.Name),
				Spans:   []diag.Span{c.sqlSpan(e, query, columnOffset(query, f.Name)), c.sys.Label("declared here", e.path("schema")...)},
				Hint:    declareHint(f) + ", or remove it from the query",
			})
		}
	}
}

// castHint returns how to reconcile a column that a query gives with its declared type.
func castHint(gives, declared string) string {
	irType, sqlType := duck.SuggestCast(gives)
	declare := "declare it as " + irType
	if sqlType != gives {
		declare += fmt.Sprintf(" and write CAST(... AS %s) in the query", sqlType)
	}
	cast := fmt.Sprintf("write CAST(... AS %s) in the query", ir.Types[declared])
	switch {
	case !duck.CanCast(gives, ir.Types[declared]):
		return declare
	case sqlType != gives:
		return cast
	}
	return declare + ", or " + cast
}

// declareHint returns how to declare a column that a query gives.
func declareHint(gives duck.Column) string {
	irType, sqlType := duck.SuggestCast(gives.Type)
	if sqlType == gives.Type {
		return fmt.Sprintf("add `%s: col.%s` to the schema", label(gives.Name), ColumnDefinition(irType))
	}
	name, expr := gives.Name, "..."
	if !plainName(name) { // DuckDB names an expression after its text, which a cast changes
		name, expr = strings.Trim(nameless.ReplaceAllString(strings.ToLower(name), "_"), "_"), name
		if !plainName(name) {
			name = "value"
		}
	}
	return fmt.Sprintf("%s has no column type: write CAST(%s AS %s) AS %s in the query, and add `%[4]s: col.%[5]s` to the schema",
		gives.Type, expr, sqlType, name, ColumnDefinition(irType))
}

var nameless = lazyregexp.New(`[^a-z0-9]+`)

func plainName(s string) bool {
	return ast.IsValidIdent(s) && !strings.HasPrefix(s, "_") && !strings.HasPrefix(s, "#")
}

// label returns a name as a label of CUE, in quotes where it needs them.
func label(name string) string {
	if plainName(name) {
		return name
	}
	return literal.Label.Quote(name)
}

// ColumnDefinition returns the definition of package col for a type: "#Int64".
func ColumnDefinition(irType string) string {
	switch irType {
	case "timestamptz":
		return "#TimestampTZ"
	case "":
		return "#String"
	}
	if rest, ok := strings.CutPrefix(irType, "uint"); ok {
		return "#UInt" + rest
	}
	return "#" + strings.ToUpper(irType[:1]) + irType[1:]
}

// columnOffset returns where a column of the result gets its name, as far as a text
// search can tell: the last mention of it after AS, or before FROM.
func columnOffset(query, name string) int {
	if m := regexp.MustCompile(`(?i)\bAS\s+"?(`+regexp.QuoteMeta(name)+`)\b`).FindAllStringSubmatchIndex(query, -1); m != nil {
		return m[len(m)-1][2]
	}
	if m := regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`).FindStringIndex(query); m != nil {
		return m[0]
	}
	return -1
}

// sqlSpan returns the place in the .cue file of a byte of the query, or the query's
// beginning if the offset is unknown.
func (c *checker) sqlSpan(e *entity, query string, offset int) diag.Span {
	return c.sqlSpanIn(e.path(e.component.SQL), query, offset)
}

// sqlSpanIn returns the place of a byte of the SQL in a field.
func (c *checker) sqlSpanIn(path []string, query string, offset int) diag.Span {
	at := c.sys.At("in this query", path...)
	lit := c.sys.Literal(path...)
	if lit == nil {
		return at
	}
	if written, err := literal.Unquote(lit.Value); err != nil || written != query {
		return at
	}
	if offset < 0 {
		offset = len(query) - len(strings.TrimLeft(query, " \t\n"))
	}
	if p, ok := c.literalPos(lit, query, offset); ok {
		return diag.Span{Pos: p, Len: sqlTokenLen(query[min(offset, len(query)):])}
	}
	return at
}

// literalPos maps a byte of a string's value to its place in the source. It handles plain
// and multi-line strings without interpolation or escapes before the byte, and no others.
func (c *checker) literalPos(lit *ast.BasicLit, value string, offset int) (diag.Pos, bool) {
	start := c.sys.Pos(lit.Pos())
	before := value[:min(offset, len(value))]
	line, col := strings.Count(before, "\n"), len(before)-(strings.LastIndex(before, "\n")+1)
	src := strings.Split(lit.Value, "\n")
	if len(src) == 1 {
		if strings.Contains(lit.Value, `\`) {
			return diag.Pos{}, false
		}
		quote := strings.IndexAny(lit.Value, `"'`) + 1
		return diag.Pos{File: start.File, Line: start.Line, Col: start.Col + quote + offset}, true
	}
	// The lines of a multi-line string have the indentation of the closing quotes.
	if line+1 >= len(src) {
		return diag.Pos{}, false
	}
	last := src[len(src)-1]
	indent := len(last) - len(strings.TrimLeft(last, " \t"))
	lines := strings.Split(value, "\n")
	if line >= len(lines) || !strings.HasSuffix(src[line+1], lines[line]) {
		return diag.Pos{}, false
	}
	return diag.Pos{File: start.File, Line: start.Line + line + 1, Col: indent + col + 1}, true
}

func sqlTokenLen(s string) int {
	if text, ok := strings.CutPrefix(s, "'"); ok {
		if end := strings.IndexByte(text, '\''); end >= 0 {
			return end + 2
		}
	}
	n := strings.IndexFunc(s, func(r rune) bool {
		return !slices.Contains([]rune("_."), r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if n < 0 {
		n = len(s)
	}
	return max(1, n)
}
