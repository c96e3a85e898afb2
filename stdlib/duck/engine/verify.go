package engine

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Verify compares a Parquet file with a schema, with the columns that identify
// a row, of which there may be none, and with the tables that it refers to: exactly the
// declared columns, in any order, with exactly their types, and rows within the rules. It
// reads the file once, once more for each reference, and again only for examples. Nulls break no rule but "not
// null". NaN is a missing value that is not null, which breaks a rule of its own
// unless the column takes it; it breaks no bound. If columns are not as declared,
// rows are not looked at. A file that is not whole is an error, not a violation.
func Verify(ctx context.Context, path string, schema ir.Schema, keys []string, refs []duck.Reference) (violations []duck.Violation, rows int64, err error) {
	s, err := borrow(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer func() { s.giveBack(err) }()
	fields, err := s.parquetFields(ctx, path)
	if err != nil {
		return nil, 0, err
	}
	found := make([]duck.Column, len(fields))
	for i, f := range fields {
		found[i] = duck.Column{Name: f.column, Type: f.written()}
	}
	if v := compareColumns(found, schema); len(v) > 0 {
		if err := s.one(ctx, "SELECT count(*) FROM "+parquet(path), &rows); err != nil {
			return nil, 0, parquetError(path, err)
		}
		return v, rows, nil
	}
	rowsOf := numbered(parquet(path))
	if violations, rows, err = s.checkRows(ctx, parquet(path), rowsOf, schema, keys); err != nil {
		return nil, 0, parquetError(path, err)
	}
	for _, r := range refs {
		dangling, err := s.dangling(ctx, path, schema, r)
		if err != nil {
			return nil, 0, err
		}
		violations = append(violations, dangling...)
	}
	return violations, rows, nil
}

// rowNumber is the column with the number of a row, from 1. No column of a user
// has such a name.
const rowNumber = "\"\x01row\""

// numbered is the SQL for the rows of a table, given as SQL, with their numbers.
func numbered(from string) string {
	return "(SELECT *, row_number() OVER () AS " + rowNumber + " FROM " + from + ")"
}

// checkRows counts the rows of a table, given as SQL, and finds those that break
// the schema. In numbered they have a rowNumber.
func (s *session) checkRows(ctx context.Context, from, numbered string, schema ir.Schema, keys []string) (violations []duck.Violation, rows int64, err error) {
	checks := checksOf(schema, keys)
	selects := []string{"count(*)"}
	counts := make([]int64, len(checks)+1)
	dest := []any{&counts[0]}
	for i, c := range checks {
		selects = append(selects, c.count())
		dest = append(dest, &counts[i+1])
	}
	if err := s.one(ctx, "SELECT "+strings.Join(selects, ", ")+" FROM "+from, dest...); err != nil {
		return nil, 0, err
	}
	var broken []check
	for i, c := range checks {
		if c.Count = counts[i+1]; c.Count > 0 {
			broken = append(broken, c)
		}
	}
	if err := s.examples(ctx, numbered, broken); err != nil {
		return nil, 0, err
	}
	for _, c := range broken {
		violations = append(violations, c.Violation)
	}
	return violations, counts[0], nil
}

// compareColumns compares names and types.
func compareColumns(found []duck.Column, schema ir.Schema) []duck.Violation {
	types := map[string]string{}
	for _, c := range found {
		types[c.Name] = c.Type
	}
	var v []duck.Violation
	for _, c := range schema {
		wanted := fmt.Sprintf("%s (%s)", ir.Types[c.Type], c.Type)
		switch typ, ok := types[c.Name]; {
		case !ok:
			v = append(v, duck.Violation{Column: c.Name, Rule: "missing", Wanted: wanted})
		case typ != ir.Types[c.Type]:
			v = append(v, duck.Violation{Column: c.Name, Rule: "type", Wanted: wanted, Found: typ})
		}
	}
	for _, c := range found {
		if schema.Column(c.Name) == nil {
			v = append(v, duck.Violation{Column: c.Name, Rule: "extra", Found: c.Type})
		}
	}
	return v
}

// check is a rule as SQL: the rows for which bad is true break it.
type check struct {
	duck.Violation
	bad  string
	text string   // how a value is shown; empty: as DuckDB prints it
	keys []string // columns that together must not repeat
}

func (c check) count() string {
	switch c.Rule {
	case "keys":
		return fmt.Sprintf("count(*) - count(DISTINCT row(%s))", idents(c.keys))
	case "unique":
		col := ident(c.Column)
		return fmt.Sprintf("count(%[1]s) - count(DISTINCT %[1]s)", col)
	}
	return "count(*) FILTER (WHERE " + c.bad + ")"
}

func checksOf(schema ir.Schema, keys []string) []check {
	var checks []check
	for _, c := range schema {
		col := ident(c.Name)
		add := func(rule, wanted, bad string) {
			checks = append(checks, check{Violation: duck.Violation{Column: c.Name, Rule: rule, Wanted: wanted}, bad: bad})
		}
		if !c.Nullable {
			add("not null", "", col+" IS NULL")
		}
		only := "" // what breaks another rule, such as NaN, does not break a bound as well
		if exists := within(col, ir.Types[c.Type]); exists != "" {
			add("time", spans[ir.Types[c.Type]].what, "NOT ("+exists+")")
			checks[len(checks)-1].text = shownTime(col, ir.Types[c.Type])
			only = " AND (" + exists + ")"
		}
		if isFloat(c.Type) {
			only = fmt.Sprintf(" AND NOT isnan(%s)", col)
			if !c.NaN {
				add("nan", "", fmt.Sprintf("isnan(%s)", col))
			}
		}
		if b := bound(c.Type, string(c.Min), true); b != "" {
			add("min", string(c.Min), col+" < "+b+only)
		}
		if b := bound(c.Type, string(c.Max), false); b != "" {
			add("max", string(c.Max), col+" > "+b+only)
		}
		if c.JSON && c.Type == "string" {
			add("json", "", "NOT ("+validJSON(col)+")")
		}
		if len(c.Values) > 0 && c.Type == "string" {
			quoted := make([]string, len(c.Values))
			for i, v := range c.Values {
				quoted[i] = quote(v)
			}
			add("values", strings.Join(c.Values, ", "), col+" NOT IN ("+strings.Join(quoted, ", ")+")")
		}
		if c.Unique {
			add("unique", "", "")
		}
	}
	unique := func(name string) bool { c := schema.Column(name); return c != nil && c.Unique && !c.Nullable }
	if len(keys) > 0 && !slices.ContainsFunc(keys, unique) {
		v := duck.Violation{Column: strings.Join(keys, ", "), Rule: "keys"}
		checks = append(checks, check{Violation: v, keys: keys})
	}
	return checks
}

// bound writes a bound as SQL of the column's own type: 0.1 as a FLOAT is not
// 0.1 as a DOUBLE. It is "" if there is none.
func bound(typ, text string, lower bool) string {
	if text == "" {
		return ""
	}
	if b, ok := ir.TimeBound(typ, text); ok || isFloat(typ) {
		if ok {
			text = b.String()
		}
		return fmt.Sprintf("CAST('%s' AS %s)", text, ir.Types[typ])
	}
	r, ok := new(big.Rat).SetString(text)
	if !isInteger(typ) || !ok {
		return ""
	}
	// The nearest whole number inside the bound, kept within DuckDB's widest.
	n := new(big.Int).Div(r.Num(), r.Denom()) // rounds down
	if lower && !r.IsInt() {
		n.Add(n, big.NewInt(1))
	}
	most := new(big.Int).Lsh(big.NewInt(1), 100)
	if n.CmpAbs(most) > 0 {
		n.Mul(most, big.NewInt(int64(n.Sign())))
	}
	return fmt.Sprintf("CAST('%s' AS HUGEINT)", n)
}

// examples fills in the first three rows that break each check, from rows that
// have a rowNumber.
func (s *session) examples(ctx context.Context, from string, broken []check) error {
	var selects []string
	var of []*check
	var found []any
	for i := range broken {
		c := &broken[i]
		if c.Rule == "unique" || c.Rule == "keys" {
			if err := s.repeated(ctx, from, c); err != nil {
				return err
			}
			continue
		}
		text := fmt.Sprintf("coalesce(CAST(%s AS VARCHAR), 'null')", ident(c.Column))
		if c.text != "" {
			text = c.text
		}
		selects = append(selects, fmt.Sprintf("arg_min({'row': %s, 'value': %s}, %[1]s, 3) FILTER (WHERE %[3]s)", rowNumber, text, c.bad))
		of = append(of, c)
		found = append(found, new(any))
	}
	if len(selects) == 0 {
		return nil
	}
	if err := s.one(ctx, "SELECT "+strings.Join(selects, ", ")+" FROM "+from, found...); err != nil {
		return err
	}
	for i, c := range of {
		list, _ := (*found[i].(*any)).([]any)
		for _, e := range list {
			fields, _ := e.(map[string]any)
			value, _ := fields["value"].(string)
			at, _ := fields["row"].(int64)
			c.Examples = append(c.Examples, exampleText(*c, value, at))
		}
	}
	return nil
}

func exampleText(c check, value string, row int64) string {
	if c.Rule == "not null" || c.Rule == "nan" {
		return fmt.Sprintf("row %d", row)
	}
	if c.Rule == "values" || c.Rule == "json" {
		value = excerpt(value)
	}
	return fmt.Sprintf("%s (row %d)", value, row)
}

// repeated finds values, or keys, that occur more than once. A null is a value of a
// key.
func (s *session) repeated(ctx context.Context, from string, c *check) error {
	columns, where := c.keys, ""
	if c.Rule == "unique" {
		columns, where = []string{c.Column}, " WHERE "+ident(c.Column)+" IS NOT NULL"
	}
	texts := make([]string, len(columns))
	for i, name := range columns {
		texts[i] = fmt.Sprintf("coalesce(CAST(%s AS VARCHAR), 'null')", ident(name))
		if c.Rule == "keys" {
			texts[i] = quote(name+" ") + " || " + texts[i]
		}
	}
	query := fmt.Sprintf("SELECT v, l[1], l[2] FROM (SELECT concat_ws(', ', %s) AS v, min(%s, 2) AS l FROM %s%s GROUP BY %s HAVING count(*) > 1) ORDER BY l[2] LIMIT 3",
		strings.Join(texts, ", "), rowNumber, from, where, idents(columns))
	return s.each(ctx, query, func(scan func(...any) error) error {
		var value string
		var first, second int64
		if err := scan(&value, &first, &second); err != nil {
			return err
		}
		c.Examples = append(c.Examples, fmt.Sprintf("%s (rows %d and %d)", value, first, second))
		return nil
	})
}

// dangling finds the rows of a Parquet file whose values do not occur in the table that
// they refer to.
func (s *session) dangling(ctx context.Context, path string, schema ir.Schema, r duck.Reference) ([]duck.Violation, error) {
	fields, err := s.parquetFields(ctx, r.Path)
	if err != nil {
		return nil, err
	}
	var columns, given, same, texts []string
	for i, name := range r.Columns {
		want, key := ir.Types[schema.Column(name).Type], r.Keys[i]
		if j := slices.IndexFunc(fields, func(f parquetField) bool { return f.column == key }); j < 0 || fields[j].written() != want {
			return nil, fmt.Errorf("column %q of %s is not %s, which %q refers to", key, r.Table, want, name)
		}
		column := "t." + ident(name)
		columns = append(columns, column)
		given = append(given, column+" IS NOT NULL")
		same = append(same, column+" = r."+ident(key))
		text := "CAST(" + column + " AS VARCHAR)"
		if len(r.Columns) > 1 {
			text = quote(name+" ") + " || " + text
		}
		texts = append(texts, text)
	}
	from := func(rows string) string {
		return " FROM " + rows + " AS t ANTI JOIN " + parquet(r.Path) + " AS r ON " + strings.Join(same, " AND ") + " WHERE " + strings.Join(given, " AND ")
	}
	v := duck.Violation{
		Column: strings.Join(r.Columns, ", "), Rule: "references", Wanted: r.Table + " (" + strings.Join(r.Keys, ", ") + ")",
	}
	if err := s.one(ctx, "SELECT count(*)"+from(parquet(path)), &v.Count); err != nil {
		return nil, parquetError(path, err)
	}
	if v.Count == 0 {
		return nil, nil
	}
	query := fmt.Sprintf("SELECT concat_ws(', ', %s), min(t.%s)%s GROUP BY %s ORDER BY 2 LIMIT 3",
		strings.Join(texts, ", "), rowNumber, from(numbered(parquet(path))), strings.Join(columns, ", "))
	err = s.each(ctx, query, func(scan func(...any) error) error {
		var value string
		var row int64
		if err := scan(&value, &row); err != nil {
			return err
		}
		quoted := excerpt(value)
		v.Examples = append(v.Examples, fmt.Sprintf("%s (row %d)", quoted[1:len(quoted)-1], row))
		return nil
	})
	return []duck.Violation{v}, err
}
