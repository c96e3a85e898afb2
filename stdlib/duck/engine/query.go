package engine

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Query runs one SELECT over Parquet files, each known by its name, and writes
// the result. Nothing else can be read. The result's columns have to be the
// declared ones, of the declared types.
//
// The bytes of the result do not depend on how the work was divided: see [repeatable].
// Rows that are equal in the columns of OrderBy are sorted by the others. Without
// OrderBy, the order is the query's own, if it states one, and else that of all columns.
func Query(ctx context.Context, query string, inputs map[string]string, out duck.Table, l Limits) error {
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
	columns, err := s.columnsOf(ctx)
	if err != nil {
		return err
	}
	r, err := s.makeRepeatable(ctx, query, columns, len(out.OrderBy) == 0)
	if err != nil {
		return err
	}
	if r.serial {
		if err := s.exec(ctx, "SET threads = 1"); err != nil {
			return err
		}
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
		return fmt.Errorf("the query does not return the declared columns: %s", violationList(v))
	}
	for _, name := range out.OrderBy {
		if out.Schema.Column(name) == nil {
			return fmt.Errorf("the order refers to column %q, which the query does not return", name)
		}
	}
	if _, err := s.writeParquet(ctx, ordered(r, out), out.Path); err != nil {
		return fmt.Errorf("run the query: %w", err)
	}
	return nil
}

// ordered is the query with the columns and the order of its table. NaN is missing:
// it becomes null, or stays for [Verify] to refuse where nothing may be null.
func ordered(r repeatable, out duck.Table) string {
	columns := make([]string, len(out.Schema))
	for i, c := range out.Schema {
		name := ident(c.Name)
		columns[i] = name
		if isFloat(c.Type) {
			columns[i] = withoutNegativeZero(name, ir.Types[c.Type]) + " AS " + name
		}
		if isFloat(c.Type) && c.NaN { // there are many, and all are equal
			columns[i] = fmt.Sprintf("CASE WHEN isnan(%s) THEN CAST('nan' AS %s) ELSE %s", name, ir.Types[c.Type], withoutNegativeZero(name, ir.Types[c.Type])) + " END AS " + name
		}
		if isFloat(c.Type) && c.Nullable && !c.NaN {
			columns[i] = fmt.Sprintf("CASE WHEN NOT isnan(%s) THEN %s END AS %s", name, withoutNegativeZero(name, ir.Types[c.Type]), name)
		}
	}
	query := "SELECT " + strings.Join(columns, ", ") + " FROM (" + r.sql + "\n)"
	if order := orderOf(out, r.sorted); len(order) > 0 {
		query += " ORDER BY " + idents(order)
	}
	return query
}

// withoutNegativeZero makes zero of -0.0: they are equal, so either of them would stand
// for a group, and they differ as text.
func withoutNegativeZero(v, typ string) string { return fmt.Sprintf("%s + CAST(0 AS %s)", v, typ) }

// orderOf makes the order total, unless a column says that it already is. It returns nil
// if the query has sorted the rows and the table states no order.
func orderOf(out duck.Table, sorted bool) []string {
	if len(out.OrderBy) == 0 && sorted {
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
		cols, err := s.parquetColumns(ctx, inputs[name])
		if err != nil {
			return fmt.Errorf("input %q: %w", name, err)
		}
		selects := make([]string, len(cols))
		for i, c := range cols {
			selects[i] = ident(c.Name)
			if c.Type == "FLOAT" || c.Type == "DOUBLE" {
				selects[i] = withoutNegativeZero(selects[i], c.Type) + " AS " + selects[i]
			}
		}
		if err := s.exec(ctx, "CREATE TEMP VIEW "+ident(name)+" AS SELECT "+strings.Join(selects, ", ")+" FROM "+parquet(inputs[name])); err != nil {
			return fmt.Errorf("input %q: %w", name, err)
		}
	}
	return nil
}

func violationList(v []duck.Violation) string {
	text := make([]string, len(v))
	for i := range v {
		text[i] = v[i].String()
	}
	return strings.Join(text, "; ")
}

// CSV writes the rows of a Parquet file to a new CSV file with a header. A text is quoted
// where it needs quotes; an empty field is NULL, and "" an empty text.
func CSV(ctx context.Context, path, to string) (err error) {
	s, err := borrow(ctx)
	if err != nil {
		return err
	}
	defer func() { s.giveBack(err) }()
	if _, err := s.conn.ExecContext(ctx, "COPY (FROM "+parquet(path)+") TO "+quote(to)+" (FORMAT csv, HEADER, USE_TMP_FILE false)"); err != nil {
		os.Remove(to)
		return parquetError(path, err)
	}
	return nil
}

// Preview returns the first n rows of a Parquet file.
func Preview(ctx context.Context, path string, n int) (p duck.Preview, err error) {
	s, err := borrow(ctx)
	if err != nil {
		return p, err
	}
	defer func() { s.giveBack(err) }()
	cols, err := s.parquetColumns(ctx, path)
	if err != nil {
		return p, err
	}
	var selects []string
	for _, c := range cols {
		p.Columns = append(p.Columns, c.Name)
		selects = append(selects, "coalesce(CAST("+ident(c.Name)+" AS VARCHAR), 'NULL')")
	}
	if err := s.one(ctx, "SELECT count(*) FROM "+parquet(path), &p.Total); err != nil {
		return p, parquetError(path, err)
	}
	query := fmt.Sprintf("SELECT %s FROM %s LIMIT %d", strings.Join(selects, ", "), parquet(path), n)
	err = s.each(ctx, query, func(scan func(...any) error) error {
		row := make([]string, len(p.Columns))
		dest := make([]any, len(p.Columns))
		for i := range row {
			dest[i] = &row[i]
		}
		p.Rows = append(p.Rows, row)
		return scan(dest...)
	})
	if err != nil {
		return p, parquetError(path, err)
	}
	return p, nil
}

// Nulls counts the nulls of each column of a Parquet file.
func Nulls(ctx context.Context, path string) (nulls map[string]int64, err error) {
	s, err := borrow(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { s.giveBack(err) }()
	cols, err := s.parquetColumns(ctx, path)
	if err != nil {
		return nil, err
	}
	nulls = make(map[string]int64, len(cols))
	if len(cols) == 0 {
		return nulls, nil
	}
	selects, counts, dest := make([]string, len(cols)), make([]int64, len(cols)), make([]any, len(cols))
	for i, c := range cols {
		selects[i], dest[i] = "count(*) - count("+ident(c.Name)+")", &counts[i]
	}
	err = s.each(ctx, "SELECT "+strings.Join(selects, ", ")+" FROM "+parquet(path), func(scan func(...any) error) error { return scan(dest...) })
	if err != nil {
		return nil, parquetError(path, err)
	}
	for i, c := range cols {
		nulls[c.Name] = counts[i]
	}
	return nulls, nil
}
