package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/duck"
)

// A Division says which rows of a table are held out for the test. Exactly one
// of Test and After is set.
type Division struct {
	// Test is the share of the rows to hold out, between 0 and 1; with Group,
	// the share of the groups. At least one is held out, and one is kept.
	Test float64
	// Stratify keeps the shares of this column's values the same in both parts.
	Stratify string
	// Group keeps rows that are equal in this column together.
	Group string
	// Keys identify a row. Chance depends on them rather than on the position,
	// so that a row mostly stays on its side as a table grows.
	Keys []string
	// Seed is the chance.
	Seed int64

	// Time holds out the rows that are not before After in this column.
	Time  string
	After string
}

// Split divides a Parquet file in two. Every row goes to one of them, with the
// same columns and in the same order. The choice depends on the rows, the seed
// and nothing else. A part without rows is an error.
func Split(ctx context.Context, table string, d Division, train, test string, l Limits) error {
	if (d.Time == "") != (d.After == "") || (d.Time == "") == (d.Test == 0) {
		return errors.New("a split has either a test share, or a column and a start time of the test part")
	}
	if d.Time == "" && !(d.Test > 0 && d.Test < 1) {
		return fmt.Errorf("the test share is %v; it must be between 0 and 1", d.Test)
	}
	s, err := open(ctx, l)
	if err != nil {
		return err
	}
	defer s.close()
	cols, err := s.parquetColumns(ctx, table)
	if err != nil {
		return err
	}
	var names []duck.Name
	var columns []string
	types := map[string]string{}
	for _, c := range cols {
		names = append(names, duck.Name{Name: c.Name})
		columns = append(columns, "t."+ident(c.Name)) // the other side of the join has columns too
		types[c.Name] = c.Type
	}
	for _, c := range append([]string{d.Stratify, d.Group, d.Time}, d.Keys...) {
		if c != "" && types[c] == "" {
			return missingColumn(table, c, names)
		}
	}
	if types["file_row_number"] != "" {
		return errors.New(`cannot split a table with a column "file_row_number": DuckDB uses that name for the position of a row`)
	}
	var total int64
	if err := s.one(ctx, "SELECT count(*) FROM "+parquet(table), &total); err != nil {
		return parquetError(table, err)
	}
	// One row per row of the table: its number, and whether it is held out.
	sides, err := s.sides(ctx, table, d, types, total)
	if err != nil {
		return err
	}
	if err := s.exec(ctx, "CREATE TEMP TABLE side AS "+sides); err != nil {
		return fmt.Errorf("divide the rows: %w", err)
	}
	if err := s.checkSides(ctx, table, d, total); err != nil {
		return err
	}
	for _, part := range []struct{ path, where string }{{train, "NOT side.test"}, {test, "side.test"}} {
		query := fmt.Sprintf("SELECT %s FROM %s t JOIN side ON t.file_row_number = side.row WHERE %s ORDER BY side.row",
			strings.Join(columns, ", "), parquet(table), part.where)
		if _, err := s.writeParquet(ctx, query, part.path); err != nil {
			os.Remove(train) // half a result is useless
			return fmt.Errorf("write a part of the table: %w", err)
		}
	}
	return nil
}

// sides is the SQL for the columns row and test.
func (s *session) sides(ctx context.Context, table string, d Division, types map[string]string, total int64) (string, error) {
	from := parquet(table)
	switch {
	case d.Time != "":
		after := fmt.Sprintf("CAST(%s AS %s)", quote(d.After), types[d.Time])
		if _, err := s.conn.ExecContext(ctx, "SELECT "+after); err != nil {
			return "", fmt.Errorf("the test part starts after %q, which is not a %s like column %q", d.After, types[d.Time], d.Time)
		}
		return fmt.Sprintf("SELECT file_row_number AS row, %s >= %s AS test FROM %s", ident(d.Time), after, from), nil
	case d.Group != "":
		g := ident(d.Group)
		var groups int64
		if err := s.one(ctx, fmt.Sprintf("SELECT count(*) FROM (SELECT DISTINCT %s FROM %s)", g, from), &groups); err != nil {
			return "", parquetError(table, err)
		}
		return fmt.Sprintf("SELECT t.file_row_number AS row, s.n <= %d AS test FROM %s t JOIN"+
			" (SELECT g, row_number() OVER (ORDER BY %s, g) AS n FROM (SELECT DISTINCT %s AS g FROM %[2]s)) s ON t.%[4]s IS NOT DISTINCT FROM s.g",
			share(d.Test, groups), from, chance(d.Seed, "g"), g), nil
	case d.Stratify != "":
		// Every 1/Test-th row of an order that puts a stratum's rows side by
		// side is held out: the total is exact, and each stratum's share within
		// one row.
		return fmt.Sprintf("SELECT row, floor(n * %[1]v + 0.5) > floor((n - 1) * %[1]v + 0.5) AS test FROM"+
			" (SELECT file_row_number AS row, row_number() OVER (ORDER BY %s, %s, file_row_number) AS n FROM %s)",
			d.Test, ident(d.Stratify), chance(d.Seed, identity(d.Keys)...), from), nil
	}
	return fmt.Sprintf("SELECT row, n <= %d AS test FROM (SELECT file_row_number AS row, row_number() OVER (ORDER BY %s, file_row_number) AS n FROM %s)",
		share(d.Test, total), chance(d.Seed, identity(d.Keys)...), from), nil
}

func identity(keys []string) []string {
	if len(keys) == 0 {
		return []string{"file_row_number"}
	}
	quoted := make([]string, len(keys))
	for i, k := range keys {
		quoted[i] = ident(k)
	}
	return quoted
}

// chance is the SQL of a number that depends on the seed and some values. MD5
// is the same in every version of DuckDB, its hash() is not.
func chance(seed int64, values ...string) string {
	text := fmt.Sprintf("'%d'", seed)
	for _, v := range values {
		text += fmt.Sprintf(" || chr(31) || coalesce(CAST(%s AS VARCHAR), chr(0))", v)
	}
	return "md5_number_lower(" + text + ")"
}

// share is a part of n, rounded, that leaves one on both sides if it can.
func share(part float64, n int64) int64 {
	return max(1, min(int64(part*float64(n)+0.5), n-1))
}

func (s *session) checkSides(ctx context.Context, table string, d Division, total int64) error {
	var held, unknown int64
	if err := s.one(ctx, "SELECT count(*) FILTER (WHERE test), count(*) FILTER (WHERE test IS NULL) FROM side", &held, &unknown); err != nil {
		return err
	}
	what := ""
	switch {
	case total == 0:
		return errors.New("the table has no rows to split")
	case unknown > 0:
		return fmt.Errorf("column %q is null in %d of %d rows, which are neither before nor after %s", d.Time, unknown, total, d.After)
	case held == 0:
		what = "test"
	case held == total:
		what = "training"
	default:
		return nil
	}
	if d.Time != "" {
		var first, last string
		t := fmt.Sprintf("SELECT CAST(min(%[1]s) AS VARCHAR), CAST(max(%[1]s) AS VARCHAR)", ident(d.Time))
		if err := s.one(ctx, t+" FROM "+parquet(table), &first, &last); err == nil {
			return fmt.Errorf("the %s part is empty: column %q ranges from %s to %s, and the test part starts at %s", what, d.Time, first, last, d.After)
		}
	}
	unit := fmt.Sprintf("%d rows", total)
	if d.Group != "" {
		unit = fmt.Sprintf("the groups of column %q", d.Group)
	}
	return fmt.Errorf("the %s part is empty: cannot hold out %v of %s", what, d.Test, unit)
}
