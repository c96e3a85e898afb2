package duck

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A Table is a Parquet file to be written: where, with which columns in which
// order, and how its rows are sorted.
type Table struct {
	Path    string
	Schema  ir.Schema
	OrderBy []string // columns; empty keeps the order of the query
}

// Query runs one SELECT over Parquet files, each known by its name, and writes
// the result. Nothing else can be read. The result's columns have to be the
// declared ones, of the declared types.
//
// Rows that are equal in the columns of OrderBy are sorted by the others, so
// the bytes do not depend on how the work was divided. Without OrderBy the
// query itself has to say the order for that to hold.
func Query(ctx context.Context, query string, inputs map[string]string, out Table, l Limits) error {
	query, err := selectOnly(query)
	if err != nil {
		return err
	}
	s, err := open(ctx, l)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.views(ctx, inputs); err != nil {
		return err
	}
	if err := s.restrict(ctx, append(slices.Collect(maps.Values(inputs)), out.Path)...); err != nil {
		return err
	}
	cols, err := s.describe(ctx, query)
	if err != nil {
		return keepTables(err, func(name string) bool { _, ok := inputs[name]; return ok })
	}
	if err := distinctNames(cols); err != nil {
		return err
	}
	if v := compareColumns(cols, out.Schema); len(v) > 0 {
		return fmt.Errorf("the query does not give the declared columns: %s", violationList(v))
	}
	for _, name := range out.OrderBy {
		if out.Schema.Column(name) == nil {
			return fmt.Errorf("the order names column %q, which the query does not give", name)
		}
	}
	if _, err := s.writeParquet(ctx, ordered(query, out), out.Path); err != nil {
		return fmt.Errorf("run the query: %w", err)
	}
	return nil
}

// ordered is the query with the columns and the order of its table.
func ordered(query string, out Table) string {
	query = "SELECT " + idents(columnNames(out.Schema)) + " FROM (" + query + "\n)"
	if order := orderOf(out); len(order) > 0 {
		query += " ORDER BY " + idents(order)
	}
	return query
}

// orderOf makes the order total, unless a column says that it already is.
func orderOf(out Table) []string {
	if len(out.OrderBy) == 0 {
		return nil
	}
	order := slices.Clone(out.OrderBy)
	for _, name := range out.OrderBy {
		if out.Schema.Column(name).Unique {
			return order
		}
	}
	for _, c := range out.Schema {
		if !slices.Contains(order, c.Name) {
			order = append(order, c.Name)
		}
	}
	return order
}

// views makes each file known by its name.
func (s *session) views(ctx context.Context, inputs map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		if _, err := s.parquetColumns(ctx, inputs[name]); err != nil {
			return fmt.Errorf("input %q: %w", name, err)
		}
		if err := s.exec(ctx, "CREATE TEMP VIEW "+ident(name)+" AS SELECT * FROM "+parquet(inputs[name])); err != nil {
			return fmt.Errorf("input %q: %w", name, err)
		}
	}
	return nil
}

func violationList(v []Violation) string {
	text := make([]string, len(v))
	for i := range v {
		text[i] = v[i].String()
	}
	return strings.Join(text, "; ")
}

// Preview returns the names of the columns of a Parquet file, its first n rows
// as text, with "NULL" for a null, and the number of its rows.
func Preview(ctx context.Context, path string, n int) (columns []string, rows [][]string, total int64, err error) {
	s, err := borrow(ctx)
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() { s.giveBack(err) }()
	cols, err := s.parquetColumns(ctx, path)
	if err != nil {
		return nil, nil, 0, err
	}
	var selects []string
	for _, c := range cols {
		columns = append(columns, c.Name)
		selects = append(selects, "coalesce(CAST("+ident(c.Name)+" AS VARCHAR), 'NULL')")
	}
	if err := s.one(ctx, "SELECT count(*) FROM "+parquet(path), &total); err != nil {
		return nil, nil, 0, parquetError(path, err)
	}
	query := fmt.Sprintf("SELECT %s FROM %s LIMIT %d", strings.Join(selects, ", "), parquet(path), n)
	err = s.each(ctx, query, func(scan func(...any) error) error {
		row := make([]string, len(columns))
		dest := make([]any, len(columns))
		for i := range row {
			dest[i] = &row[i]
		}
		rows = append(rows, row)
		return scan(dest...)
	})
	if err != nil {
		return nil, nil, 0, parquetError(path, err)
	}
	return columns, rows, total, nil
}
