package window

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/slo/rules"
)

// service compares the lines of an audit log with objectives.
func (r *run) service(ctx context.Context, files []string) (*Answer, error) {
	spec := measure.ServiceSpec{MinRows: r.Monitor.MinRows, Step: r.Version != ""}
	for _, o := range r.Monitor.Service.Objectives {
		spec.Objectives = append(spec.Objectives, measure.Goal{Name: o.Name, Target: o.Target})
	}
	begin := r.End.Add(-r.Monitor.Window)
	if r.Begin.Before(begin) {
		begin = r.Begin
	}
	lines, err := r.lines(files, begin)
	if err != nil {
		return nil, err
	}
	c := &counts{run: r}
	seen, period := c.add(r.Begin, r.Version), c.add(begin, "")
	var burning []measure.Burning
	var pairs [][2]int
	for i, b := range rules.Burns(r.Monitor.Window) {
		if spec.Step {
			break
		}
		long, short := r.End.Add(-duration.Parse(b.Long)), r.End.Add(-duration.Parse(b.Short))
		// The first pair always counts, so that a bad version is noticed soon. A longer window than the
		// version has answered for would say of an hour what it says of days.
		if i > 0 && long.Before(r.Begin) {
			continue
		}
		burning = append(burning, measure.Burning{LongName: b.Long, ShortName: b.Short, Max: b.Rate})
		pairs = append(pairs, [2]int{c.add(later(long, r.Begin), r.Version), c.add(later(short, r.Begin), r.Version)})
	}
	all, others, err := c.count(ctx, lines)
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	for i, p := range pairs {
		burning[i].Long, burning[i].Short = all[p[0]], all[p[1]]
	}
	a := &Answer{Report: measure.Service(spec, all[seen], all[period], burning), Notes: r.notes}
	a.Figures = append(a.Figures, others...)
	return a, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// lines are the requests of the log that asked for predictions, from a time on. Lines that a crash has cut off
// are left out.
func (r *run) lines(files []string, begin time.Time) (string, error) {
	recent, _, err := since(files, begin)
	if err != nil {
		return "", fmt.Errorf("read the audit log: %w", err)
	}
	if len(recent) == 0 {
		return `(SELECT '' AS "time", 0 AS status, 0.0 AS ms, '' AS version WHERE false)`, nil
	}
	return fmt.Sprintf(`(SELECT "time", status, ms, coalesce(version, '') AS version FROM read_json(%s, format = 'newline_delimited', records = true,
compression = 'uncompressed', ignore_errors = true, hive_partitioning = false, filename = false,
columns = {"time": 'VARCHAR', status: 'INTEGER', ms: 'DOUBLE', path: 'VARCHAR', version: 'VARCHAR'})
WHERE regexp_full_match(path, '%s') AND "time" >= '%s' AND "time" < '%s')`,
		list(recent), rules.Predictions, begin.UTC().Format(requests.AuditTime), r.End.UTC().Format(requests.AuditTime)), nil
}

// counts counts requests of several periods in one query.
type counts struct {
	*run
	columns []string
	periods int
}

// add adds a period that ends with that of the question. version is "" for all versions.
func (c *counts) add(begin time.Time, version string) int {
	in := fmt.Sprintf(`"time" >= '%s'`, begin.UTC().Format(requests.AuditTime))
	if version != "" {
		in += " AND version = " + quote(version)
	}
	c.columns = append(c.columns, "count(*) FILTER (WHERE "+in+")")
	for _, o := range c.Monitor.Service.Objectives {
		bad := "status >= 500"
		switch {
		case o.Slower > 0:
			bad = fmt.Sprintf("ms > %g", float64(o.Slower.Microseconds())/1000)
		case o.Refused:
			bad = "status = 429"
		}
		c.columns = append(c.columns, fmt.Sprintf("count(*) FILTER (WHERE %s AND %s)", in, bad))
	}
	if c.periods == 0 { // that of the figures that have no objective
		in = " FILTER (WHERE " + in + ")"
		c.columns = append(c.columns, "avg((status >= 500)::INT)"+in, "avg((status = 429)::INT)"+in, "quantile_disc(ms, 0.5)"+in, "quantile_disc(ms, 0.99)"+in)
	}
	c.periods++
	return c.periods - 1
}

// count returns the requests of each period, and figures of those of the first that have no objective.
func (c *counts) count(ctx context.Context, lines string) (all []measure.Answered, others []measure.Figure, err error) {
	bad := len(c.Monitor.Service.Objectives)
	all = make([]measure.Answered, c.periods)
	shares := [4]sql.NullFloat64{}
	var into []any
	for i := range all {
		all[i].Bad = make([]int64, bad)
		into = append(into, &all[i].Requests)
		for j := range all[i].Bad {
			into = append(into, &all[i].Bad[j])
		}
		if i == 0 {
			into = append(into, &shares[0], &shares[1], &shares[2], &shares[3])
		}
	}
	err = c.each(ctx, "SELECT "+strings.Join(c.columns, ", ")+" FROM "+lines, func(rows *sql.Rows) error { return rows.Scan(into...) })
	for i, f := range []measure.Figure{
		{Name: measure.FigureErrors}, {Name: measure.FigureSaturation}, {Name: measure.FigureP50}, {Name: measure.FigureP99},
	} {
		if shares[i].Valid {
			f.Value, f.Verdict = &shares[i].Float64, measure.OK
			others = append(others, f)
		}
	}
	return all, others, err
}
