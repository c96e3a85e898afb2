package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Typed makes each value what the schema declares, by the rules of [Ingest],
// and returns them as DuckDB writes them. Columns that the schema declares and
// the rows do not have are left out. A value that does not convert is a
// [*duck.ValueError].
func (c *Checker) Typed(ctx context.Context, rows duck.Rows, schema ir.Schema) (typed duck.Rows, err error) {
	schema = given(rows, schema)
	err = c.apart(ctx, func() error {
		if err := c.s.literal(ctx, resultTable, rows, schema); err != nil {
			return err
		}
		typed, err = c.s.rows(ctx, resultTable, schema)
		return err
	})
	return typed, err
}

// given is the part of a schema that rows have.
func given(rows duck.Rows, schema ir.Schema) ir.Schema {
	var out ir.Schema
	for _, name := range rows.Columns {
		if col := schema.Column(name); col != nil {
			out = append(out, *col)
		}
	}
	return out
}

// Evaluate runs one SELECT over rows that are written down, as [Query] runs it
// over files. The path of out means nothing. A value of an input that does not
// convert is a [*duck.ValueError]. Where an input breaks its schema, the query is
// not run.
func (c *Checker) Evaluate(ctx context.Context, query string, inputs map[string]duck.Literal, out duck.Table) (duck.Evaluated, error) {
	query, err := selectOnly(query)
	if err != nil {
		return duck.Evaluated{}, err
	}
	var e duck.Evaluated
	var columns []string
	for _, in := range inputs {
		columns = append(columns, columnNames(in.Schema)...)
	}
	err = c.apart(ctx, func() error {
		if e.Inputs, err = c.s.literals(ctx, inputs); err != nil {
			return err
		}
		if len(e.Inputs) > 0 {
			return nil
		}
		// An error about the query quotes it as the user wrote it.
		if _, err := c.s.describe(ctx, query); err != nil {
			return fmt.Errorf("run the query: %w", err)
		}
		// So few rows are the work of one thread.
		r, err := c.s.makeRepeatable(ctx, query, columns, len(out.OrderBy) == 0)
		if err != nil {
			return err
		}
		if err := c.s.exec(ctx, "CREATE TEMP TABLE "+ident(resultTable)+" AS "+ordered(r, out)); err != nil {
			return fmt.Errorf("run the query: %w", err)
		}
		if e.Rows, err = c.s.rows(ctx, resultTable, out.Schema); err != nil {
			return err
		}
		e.Broken, err = c.s.broken(ctx, resultTable, out.Schema, out.Keys)
		return err
	})
	return e, err
}

// write writes the rows of the inputs, each known by its name, as Parquet files. A value
// that does not convert is a [*duck.ValueError]. If an input breaks its schema, nothing is
// written.
func write(ctx context.Context, inputs map[string]duck.Literal, paths map[string]string) (broken map[string][]duck.Violation, err error) {
	err = alone(ctx, func(s *session) error {
		if broken, err = s.literals(ctx, inputs); err != nil || len(broken) > 0 {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(inputs)) {
			if _, err := s.writeParquet(ctx, "SELECT * FROM "+ident(name)+" ORDER BY rowid", paths[name]); err != nil {
				return err
			}
		}
		return nil
	})
	return broken, err
}

// read reads the columns of a schema from a Parquet file that has them.
func read(ctx context.Context, path string, schema ir.Schema) (rows duck.Rows, err error) {
	err = alone(ctx, func(s *session) error {
		if err := s.exec(ctx, "CREATE TEMP TABLE "+ident(resultTable)+" AS FROM "+parquet(path)); err != nil {
			return parquetError(path, err)
		}
		rows, err = s.rows(ctx, resultTable, schema)
		return err
	})
	return rows, err
}

// alone runs f in a transaction of a borrowed database, which leaves nothing in it.
func alone(ctx context.Context, f func(*session) error) (err error) {
	s, err := borrow(ctx)
	if err != nil {
		return err
	}
	defer func() { s.giveBack(err) }()
	if err := s.exec(ctx, "BEGIN"); err != nil {
		return err
	}
	if err := f(s); err != nil {
		return err
	}
	return s.exec(ctx, "ROLLBACK")
}

// literals makes a table of each input, and finds what breaks its schema.
func (s *session) literals(ctx context.Context, inputs map[string]duck.Literal) (map[string][]duck.Violation, error) {
	all := map[string][]duck.Violation{}
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		in := inputs[name]
		if err := s.literal(ctx, name, in.Rows, in.Schema); err != nil {
			return nil, err
		}
		broken, err := s.broken(ctx, name, given(in.Rows, in.Schema), nil)
		if err != nil {
			return nil, err
		}
		if len(broken) > 0 {
			all[name] = broken
		}
	}
	return all, nil
}

// resultTable holds the rows of a result. No input has such a name.
const resultTable = "the result"

// apart runs f in a transaction of its own, which leaves nothing.
func (c *Checker) apart(ctx context.Context, f func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.s.exec(ctx, "BEGIN"); err != nil {
		return err
	}
	defer c.rollback()
	return f()
}

// literalText is the text of rows that are written down.
var literalText = textForm{escaped: true}

// literal makes a table of rows that are written down. An error ends the
// transaction.
func (s *session) literal(ctx context.Context, name string, rows duck.Rows, schema ir.Schema) error {
	from := values(rows)
	var selects []string
	for _, col := range schema {
		value := fmt.Sprintf("CAST(NULL AS %s)", ir.Types[col.Type])
		if i := slices.Index(rows.Columns, col.Name); i >= 0 {
			value = fromText(fmt.Sprintf("c%d", i), col, literalText).sql(col)
		}
		selects = append(selects, value+" AS "+ident(col.Name))
	}
	err := s.exec(ctx, "CREATE TEMP TABLE "+ident(name)+" AS SELECT "+strings.Join(selects, ", ")+from)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if err := s.exec(ctx, "ROLLBACK"); err != nil {
		return err
	}
	for i, column := range rows.Columns {
		col := schema.Column(column)
		if col == nil {
			continue
		}
		var wrong error
		text := fmt.Sprintf("c%d", i)
		find := fmt.Sprintf("SELECT n%s WHERE %s ORDER BY n LIMIT 1", from, fromText(text, *col, literalText).bad())
		found := s.each(ctx, find, func(scan func(...any) error) error {
			n := 0
			err := scan(&n)
			wrong = &duck.ValueError{Input: name, Row: n, Column: column, Type: col.Type, Value: *rows.Values[n][i]}
			return err
		})
		if found != nil {
			return found
		}
		if wrong != nil {
			return wrong
		}
	}
	return err
}

// values is the SQL for rows of text: n, their number, and c0, c1 and so on.
func values(rows duck.Rows) string {
	names := "n"
	for i := range rows.Columns {
		names += fmt.Sprintf(", c%d", i)
	}
	tuples := make([]string, len(rows.Values))
	for n, row := range rows.Values {
		tuples[n] = fmt.Sprintf("(%d", n)
		for _, v := range row {
			if v == nil {
				tuples[n] += ", NULL::VARCHAR"
			} else {
				tuples[n] += ", " + quote(*v) + "::VARCHAR"
			}
		}
		tuples[n] += ")"
	}
	if len(tuples) == 0 {
		none := "(0" + strings.Repeat(", NULL::VARCHAR", len(rows.Columns)) + ")"
		return fmt.Sprintf(" FROM (SELECT * FROM (VALUES %s) LIMIT 0) AS t(%s)", none, names)
	}
	return fmt.Sprintf(" FROM (VALUES %s) AS t(%s)", strings.Join(tuples, ", "), names)
}

// rows reads a table as text.
func (s *session) rows(ctx context.Context, name string, schema ir.Schema) (duck.Rows, error) {
	out := duck.Rows{Columns: columnNames(schema)}
	texts := make([]string, len(schema))
	for i, c := range schema {
		texts[i] = "CAST(" + ident(c.Name) + " AS VARCHAR)"
	}
	query := "SELECT " + strings.Join(texts, ", ") + " FROM " + ident(name) + " ORDER BY rowid"
	err := s.each(ctx, query, func(scan func(...any) error) error {
		row, dest := make([]*string, len(schema)), make([]any, len(schema))
		for i := range row {
			dest[i] = &row[i]
		}
		out.Values = append(out.Values, row)
		return scan(dest...)
	})
	return out, err
}

// broken holds a table against a schema.
func (s *session) broken(ctx context.Context, name string, schema ir.Schema, keys []string) ([]duck.Violation, error) {
	broken, _, err := s.checkRows(ctx, ident(name), numbered(ident(name)), schema, keys)
	return broken, err
}
