package compiler

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// metric resolves what is summed up of the rows of a window.
func (m *monitoring) metric() *ir.Metric {
	out := &ir.Metric{Value: m.e.string("sql"), Per: m.e.string("per"), Where: m.e.string("where"), Aggregate: m.e.string("aggregate")}
	out.Gate = ir.Gate{Min: floatOf(m.e.fields, "min"), Max: floatOf(m.e.fields, "max")}
	if out.Min != nil && out.Max != nil && *out.Min > *out.Max {
		m.refuse(fmt.Sprintf("%s has a min above its max, which no value satisfies", m.e), "", m.at("", "min"), m.at("", "max"))
	}
	switch ratio := out.Aggregate == measure.Ratio; {
	case ratio && out.Per == "":
		m.refuse(fmt.Sprintf("%s is a ratio, but has no value to divide by", m.e), `add the value that it is divided by: per: "requests.NAME"`, m.at("", "aggregate"))
	case !ratio && out.Per != "":
		m.refuse(fmt.Sprintf("%s has a value to divide by, but its aggregate is a %s", m.e, out.Aggregate), `write aggregate: "ratio", or remove per`, m.at("", "per"), m.at("", "aggregate"))
	case out.Aggregate == measure.Sum:
		m.checkSampled()
	}
	outcomes := m.outcomes(out)
	tables := m.tables(outcomes)
	if out.Value == "" {
		m.refuse(fmt.Sprintf("%s has no SQL", m.e), `write the value of one request, such as sql: "responses.prediction"`, m.at("", "sql"))
		return nil
	}
	m.value("sql", tables)
	if out.Per != "" {
		m.value("per", tables)
	}
	if out.Where != "" {
		m.condition("where", map[string]ir.Schema{window.Requests: tables[window.Requests]})
	}
	m.named(out, tables, outcomes)
	return out
}

// checkSampled refuses a sum over a part of the requests.
func (m *monitoring) checkSampled() {
	if sample := floatOf(m.log, "sample"); sample != nil && *sample < 1 {
		m.refuse(fmt.Sprintf("%s is a sum over all requests, of which the log of %s has only a part", m.e, m.deployment()), `keep all requests, or measure a mean`,
			m.at("", "aggregate"), m.sys.At("the part that it has", m.deployment().path(m.deployment().component.Serves.Log, "sample")...))
	}
}

// outcomes resolves the table of outcomes, if there is one.
func (m *monitoring) outcomes(out *ir.Metric) *out {
	in := m.e.input("outcomes")
	for _, field := range []string{"join", "within"} {
		switch {
		case in == nil && m.e.fields.has(field):
			m.refuse(fmt.Sprintf("%s has %s, but no outcomes", m.e, field), "name the table: outcomes: sources.NAME.out, or remove it", m.sys.Label("", m.e.path(field)...))
		case in != nil && !m.e.fields.has(field):
			m.refuse(fmt.Sprintf("%s has outcomes, but no %s", m.e, field), map[string]string{
				"join":   `pair a column of a request with one of outcomes: join: id: "id"`,
				"within": `say how long after a request its outcome may become known: within: "12h"`,
			}[field], m.at("", "outcomes"))
			return in.out
		}
	}
	if in == nil {
		return nil
	}
	j := m.joined("outcome", in.out)
	out.Outcomes = &j
	return in.out
}

// tables are what the SQL of a metric may name.
func (m *monitoring) tables(outcomes *out) map[string]ir.Schema {
	tables := map[string]ir.Schema{}
	for _, c := range m.metricColumns() {
		table := window.TableOf(c)
		tables[table] = append(tables[table], ir.Column{Name: c.Name, Type: c.Type})
	}
	if outcomes != nil {
		for _, c := range outcomes.schema {
			tables[window.Outcomes] = append(tables[window.Outcomes], bareColumn(&c))
		}
	}
	return tables
}

// metricColumns are the columns of the log that a metric may name.
func (m *monitoring) metricColumns() []ir.Logged {
	all := m.requestColumns()
	prediction := m.model.signature.Output.Type
	if m.model.signature.Task == measure.Regression {
		prediction = "float64"
	} else {
		all = append(all, ir.Logged{Name: requests.Probability, Log: requests.Probability, Type: "float64"})
	}
	return append(all, ir.Logged{Name: requests.Prediction, Log: requests.Prediction, Type: prediction}, ir.Logged{Name: requests.Latency, Log: requests.Latency, Type: "int64"})
}

// named keeps the columns that the SQL of a metric names, as far as a search in its text can tell: one too
// many does no harm.
func (m *monitoring) named(out *ir.Metric, tables map[string]ir.Schema, outcomes *out) {
	names := func(table, column string) bool {
		return regexp.MustCompile(`(?i)(^|[^\w."])("?` + table + `"?\s*\.\s*)?"?` + regexp.QuoteMeta(column) + `($|\W)`).MatchString(out.Value + "\n" + out.Per + "\n" + out.Where)
	}
	for _, c := range m.metricColumns() {
		if names(window.TableOf(c), c.Name) {
			out.Columns = append(out.Columns, c)
		}
	}
	for _, c := range tables[window.Outcomes] {
		if names(window.Outcomes, c.Name) {
			out.OutcomeColumns = append(out.OutcomeColumns, c)
		}
	}
	if outcomes != nil && len(out.OutcomeColumns) == 0 && !m.broken[m.e.id()] {
		m.refuse(fmt.Sprintf("the SQL of %s does not use its outcomes", m.e), "name one of their columns, such as outcomes."+outcomes.schema[0].Name+", or remove outcomes, join and within",
			m.at("", "outcomes"), m.sys.At("in this SQL", m.e.path("sql")...))
	}
}

// value checks an expression that is the value of a row.
func (m *monitoring) value(field string, tables map[string]ir.Schema) {
	typ, ok := m.expression(field, tables)
	if !ok {
		return
	}
	if t, _ := duck.SuggestCast(typ); !isNumber(t) && t != "bool" {
		m.fail(m.e, diag.Diagnostic{
			Message: fmt.Sprintf("%s of %s gives %s, which cannot be summed up", field, m.e, typ), Wanted: "a number, or a bool that counts as 0 or 1", Found: typ,
			Spans: []diag.Span{m.textAt(field, -1)}, Hint: "write an expression with a number, such as CASE WHEN ... THEN 1 ELSE 0 END",
		})
	}
}

// condition checks an expression that says which rows count.
func (m *monitoring) condition(field string, tables map[string]ir.Schema) {
	if typ, ok := m.expression(field, tables); ok && typ != "BOOLEAN" {
		m.fail(m.e, diag.Diagnostic{
			Message: fmt.Sprintf("%s of %s is not a condition", field, m.e), Wanted: "BOOLEAN", Found: typ, Spans: []diag.Span{m.textAt(field, -1)},
		})
	}
}

func (m *monitoring) textAt(field string, offset int) diag.Span {
	return m.sqlSpanIn(m.e.path(field), m.e.string(field), offset)
}

// wholeQuery finds SQL that is a query and not an expression, and subquery one within it. wholeRow finds rows as a
// whole, patterns of columns and names of schemas: when a metric is measured, its tables have only the columns that
// it names, and others.
var (
	wholeQuery = lazyregexp.New(`(?i)^\s*(select|with|from)\b`)
	subquery   = lazyregexp.New(`"class":\s*"SUBQUERY"`)
	wholeRow   = lazyregexp.New(`(?i)"class":\s*"STAR"|"column_names":\s*\[\s*("(requests|responses|outcomes)"\s*\]|"(main|memory)"\s*,)`)
)

// hidden finds the column of DuckDB's tables that no file has.
var hidden = lazyregexp.New(`(?i)"column_names":\s*\[\s*("(requests|responses|outcomes)"\s*,\s*)?"rowid"\s*\]`)

// ofOneRow says why a metric is not a query.
const ofOneRow = `write the value of one request, such as sql: "outcomes.amount", and how values are summed up: aggregate: "mean"`

// expression returns DuckDB's type of an expression over one row of tables, or reports what is wrong
// with it.
func (m *monitoring) expression(field string, tables map[string]ir.Schema) (typ string, ok bool) {
	text := m.e.string(field)
	if wholeQuery.MatchString(text) {
		m.refuse(fmt.Sprintf("%s of %s is a query: Tenon itself joins outcomes as of the time of a request, and sums up", field, m.e), ofOneRow, m.textAt(field, -1))
		return "", false
	}
	var names []string
	for _, name := range []string{window.Requests, window.Responses, window.Outcomes} {
		if len(tables[name]) > 0 {
			names = append(names, name)
		}
	}
	from := " FROM " + strings.Join(names, ", ")
	// The line break ends a comment.
	before := "SELECT ("
	d, err := m.options.Describe(m.ctx, tables, before+text+"\n) AS v"+from)
	if err == nil && wholeRow.Match(d.Tree) {
		m.refuse(fmt.Sprintf("%s of %s does not name its columns one by one", field, m.e), "write TABLE.COLUMN for each of them, such as requests.NAME", m.textAt(field, -1))
		return "", false
	}
	declared := func(s ir.Schema) bool { return s.Column("rowid") != nil }
	if err == nil && hidden.Match(d.Tree) && !slices.ContainsFunc(slices.Collect(maps.Values(tables)), declared) {
		m.refuse(fmt.Sprintf("%s of %s names rowid, which is not a column of its tables", field, m.e), "name a column of them", m.textAt(field, -1))
		return "", false
	}
	if err == nil && len(d.Columns) == 1 && !subquery.Match(d.Tree) {
		// In a condition, there is nothing that sums up rows, or makes several of one.
		before = "SELECT 1" + from + " WHERE ("
		if _, err = m.options.Describe(m.ctx, tables, before+text+"\n) IS NULL"); err == nil {
			count := len(m.faults)
			m.checkRepeatable(m.e, d, func(offset int) diag.Span { return m.textAt(field, max(-1, offset-len("SELECT ("))) })
			return d.Columns[0].Type, len(m.faults) == count
		}
	}
	sqlErr := (*duck.SQLError)(nil)
	switch {
	case err == nil:
		m.refuse(fmt.Sprintf("%s of %s is not one expression over one row", field, m.e), ofOneRow, m.textAt(field, -1))
	case !errors.As(err, &sqlErr):
		if m.err == nil {
			m.err = fmt.Errorf("check the SQL of %s: %w", m.e, err)
		}
	default:
		m.sqlFault(field, text, len(before), sqlErr, tables, names)
	}
	return "", false
}

// sqlFault reports what DuckDB has against an expression, which begins at a byte of a query.
func (m *monitoring) sqlFault(field, text string, begin int, err *duck.SQLError, tables map[string]ir.Schema, names []string) {
	offset := err.Offset - begin
	if offset < 0 || offset > len(text) {
		offset = -1
	}
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s of %s: %s", field, m.e, strings.TrimSuffix(err.Message, "!")), Hint: meant(err),
		Spans: []diag.Span{m.textAt(field, offset)},
	}
	if strings.Contains(err.Message, "aggregate") || strings.Contains(err.Message, "window") || strings.Contains(err.Message, "UNNEST") {
		d.Message, d.Hint = fmt.Sprintf("%s of %s is not about one row: %s", field, m.e, err.Message), ofOneRow
	}
	if err.Kind == "table" || err.Kind == "column" {
		var has []string
		for _, name := range names {
			columns := columnNames(tables[name])
			slices.Sort(columns)
			has = append(has, fmt.Sprintf("%s has %s", name, strings.Join(columns, ", ")))
		}
		d.Wanted = strings.Join(has, "; ")
		if private := m.privateIn(text); private != "" {
			d.Hint = fmt.Sprintf("%s is private: the log of %s does not have it", private, m.deployment())
		}
		if field != "where" && tables[window.Outcomes] == nil && strings.Contains(strings.ToLower(text), window.Outcomes) {
			d.Hint = "name the table with outcomes: outcomes: sources.NAME.out"
		}
	}
	m.fail(m.e, d)
}

// privateIn returns a private column of a request that a text names, or "".
func (m *monitoring) privateIn(text string) string {
	for _, c := range m.deployment().private {
		if regexp.MustCompile(`(?i)(^|\W)` + regexp.QuoteMeta(c) + `($|\W)`).MatchString(text) {
			return c
		}
	}
	return ""
}
