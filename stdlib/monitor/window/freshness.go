package window

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
)

// freshness finds the newest row of a table. Rows of the future, as of the question, do not count.
func (r *run) freshness(ctx context.Context) (*Answer, error) {
	f := r.Monitor.Freshness
	var rows int64
	var newest sql.NullInt64
	query := fmt.Sprintf("SELECT count(*), max(t) FILTER (WHERE t <= %d) FROM (SELECT epoch_us(%s) AS t FROM %s)", r.Now.UnixMicro(), ident(f.Column.Name), parquet(r.Reference))
	if err := r.each(ctx, query, func(found *sql.Rows) error { return found.Scan(&rows, &newest) }); err != nil {
		return nil, fmt.Errorf("read the table: %w", err)
	}
	var at time.Time
	if newest.Valid {
		at = time.UnixMicro(newest.Int64)
	}
	return &Answer{Report: measure.Freshness(f.Column.Name, rows, at, r.Now, f.Max)}, nil
}
