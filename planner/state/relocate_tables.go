package state

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
)

// rowsAtOnce is how many rows one statement inserts.
const rowsAtOnce = 100

func copyTable(ctx context.Context, from querier, to *sql.Tx, name, key string, copied func(rows int64)) (MovedTable, error) {
	var columns []string
	var values []any
	flush := func() error {
		if len(values) == 0 {
			return nil
		}
		row := "(" + strings.TrimSuffix(strings.Repeat("?, ", len(columns)), ", ") + ")"
		n := len(values) / len(columns)
		_, err := to.ExecContext(ctx, "INSERT INTO "+name+"("+strings.Join(columns, ", ")+") VALUES "+strings.TrimSuffix(strings.Repeat(row+", ", n), ", "), values...)
		values = values[:0]
		copied(int64(n))
		return err
	}
	t, err := readTable(ctx, from, name, key, func(names []string, row []any) error {
		columns = names
		if values = append(values, row...); len(values) < rowsAtOnce*len(names) {
			return nil
		}
		return flush()
	})
	if err != nil {
		return t, err
	}
	return t, flush()
}

// readTable reads all rows in the order of their keys, with the columns in the order of
// their names: tables that were migrated have them in another order.
func readTable(ctx context.Context, q querier, name, key string, each func(names []string, row []any) error) (t MovedTable, err error) {
	names, err := columnsOf(ctx, q, name)
	if err != nil {
		return t, err
	}
	rows, err := q.QueryContext(ctx, "SELECT "+strings.Join(names, ", ")+" FROM "+name+" ORDER BY "+key)
	if err != nil {
		return t, err
	}
	defer rows.Close()
	t.Name = name
	sum := sha256.New()
	row, into := make([]any, len(names)), make([]any, len(names))
	for i := range row {
		into[i] = &row[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return t, err
		}
		t.Rows++
		for i, v := range row {
			if err := addValue(sum, v); err != nil {
				return t, fmt.Errorf("column %s: %w", names[i], err)
			}
		}
		if err := each(names, row); err != nil {
			return t, err
		}
	}
	t.Digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return t, rows.Err()
}

func columnsOf(ctx context.Context, q querier, name string) ([]string, error) {
	rows, err := q.QueryContext(ctx, "SELECT * FROM "+name+" LIMIT 0")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	slices.Sort(names)
	return names, errors.Join(err, rows.Err())
}

// addValue adds a value to a digest. Columns are integers or text.
func addValue(sum hash.Hash, v any) error {
	switch v := v.(type) {
	case int64:
		fmt.Fprintf(sum, "i%d;", v)
	case string:
		fmt.Fprintf(sum, "s%d:%s;", len(v), v)
	default:
		return fmt.Errorf("unknown type %T", v)
	}
	return nil
}

// lastRun returns the largest number that a run ever had.
func (f *sqlite) lastRun(ctx context.Context, q querier) (n int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'run'), 0)").Scan(&n)
	return n, err
}

func (f *sqlite) setLastRun(ctx context.Context, tx *sql.Tx, n int64) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM sqlite_sequence WHERE name = 'run'"); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO sqlite_sequence(name, seq) VALUES ('run', ?)", n)
	return err
}

func (p *postgres) lastRun(ctx context.Context, q querier) (n int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM run_id_seq").Scan(&n)
	return n, err
}

func (p *postgres) setLastRun(ctx context.Context, tx *sql.Tx, n int64) error {
	if n == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, "SELECT setval('run_id_seq', ?)", n)
	return err
}
