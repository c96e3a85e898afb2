package window

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// A TrafficQuestion asks how much of a log is in each interval. Begin is in the first one, End in none.
type TrafficQuestion struct {
	Log   string        `json:"log"` // folder
	Begin time.Time     `json:"begin"`
	End   time.Time     `json:"end"`
	Step  time.Duration `json:"step_ns"` // length of an interval, at least a microsecond
}

// Traffic is what one version of a model answered in an interval.
type Traffic struct {
	Begin    time.Time     `json:"begin"`
	Version  int64         `json:"version"` // of the model; 0 if it has none
	Requests int64         `json:"requests"`
	Rows     int64         `json:"rows"`
	P99      time.Duration `json:"p99_ns"` // of the time until the predictions of a request were made
}

// CountTraffic counts what is in the files of a log, in the order of intervals and versions. An interval
// without requests is left out. db has to be able to read the files.
func CountTraffic(ctx context.Context, db *sql.DB, files []string, q *TrafficQuestion) ([]Traffic, error) {
	if q.Step < time.Microsecond {
		return nil, fmt.Errorf("an interval of %s is too short", q.Step)
	}
	all := []Traffic{}
	recent, _, err := since(files, q.Begin)
	if err != nil {
		return nil, fmt.Errorf("read the request log: %w", err)
	}
	if len(recent) == 0 {
		return all, nil
	}
	at := "epoch_us(" + ident(requests.Time) + ")"
	// Callers choose ids and may repeat them, so first rows are counted.
	query := fmt.Sprintf(`SELECT (%s - %d) // %d AS i, coalesce(%s, 0) AS v, count(*) FILTER (WHERE %s = 0), count(*), quantile_disc(%s, 0.99)
FROM %s WHERE %[1]s >= %[2]d AND %[1]s < %[8]d GROUP BY i, v ORDER BY i, v`,
		at, q.Begin.UnixMicro(), q.Step.Microseconds(), ident(requests.Version), ident(requests.RowNumber), ident(requests.Latency), parquet(recent...), q.End.UnixMicro())
	err = each(ctx, db, query, func(rows *sql.Rows) error {
		var t Traffic
		var interval, latency int64
		if err := rows.Scan(&interval, &t.Version, &t.Requests, &t.Rows, &latency); err != nil {
			return err
		}
		t.Begin, t.P99 = q.Begin.Add(time.Duration(interval)*q.Step).UTC(), time.Duration(latency)*time.Microsecond
		all = append(all, t)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the request log: %w", err)
	}
	return all, nil
}
