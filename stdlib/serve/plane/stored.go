package plane

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/stores"
)

// A fetcher is a RowComputer that may have to fetch rows of stores before it computes those of
// a request.
type fetcher interface {
	Fetch(ctx context.Context, n int, row func(int) []rowsql.Value, wait func(func() error) error) error
}

// fetch fetches what the rows of a request need. While it waits, another request is computed.
func (p *Plane) fetch(ctx context.Context, x *work) error {
	f, ok := x.computer.(fetcher)
	if !ok {
		return nil
	}
	return f.Fetch(ctx, x.rows.Len(), x.rows.Row, func(fetch func() error) (err error) {
		defer p.fetching.Add(-1)
		// If very many wait for stores, others must not be computed, but wait or be refused.
		if p.fetching.Add(1) <= int64(p.Waiting) {
			select {
			case <-p.slots:
				defer func() {
					p.slots <- struct{}{} // also without need of it: compute frees it
					if err == nil {
						err = ctx.Err() // nobody waits for what would be computed
					}
				}()
			default: // the request of the start has none
			}
		}
		return fetch()
	})
}

// away answers 503 for a table that cannot be read from its store. It reports whether the error
// is about one.
func (p *Plane) away(w *answer, err error) bool {
	var table *stores.Error
	if !errors.As(err, &table) {
		return false
	}
	if last, now := p.awaySince.Load(), time.Now().UnixNano(); now-last > int64(time.Second) && p.awaySince.CompareAndSwap(last, now) {
		p.Log("error: " + err.Error()) // one a second: there may be thousands
	}
	w.Header().Set("Retry-After", "1")
	detail(w, http.StatusServiceUnavailable, "the table "+table.Table+" cannot be read now; the log of the service says why")
	return true
}

// tableMetrics are what Prometheus sees of tables in stores.
type tableMetrics struct {
	name   string
	took   *histogram
	rows   counter
	failed counter
}

// lookupBuckets are in seconds.
var lookupBuckets = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1}

// observeTables counts what is fetched. Lookups in one table are counted together.
func (m *metrics) observeTables(f Features) {
	in, ok := f.(interface{ Tables() []*stores.Table })
	if !ok {
		return
	}
	for _, t := range in.Tables() {
		i := slices.IndexFunc(m.tables, func(x *tableMetrics) bool { return x.name == t.Name })
		if i < 0 {
			i, m.tables = len(m.tables), append(m.tables, &tableMetrics{name: t.Name, took: newHistogram(lookupBuckets), rows: counter{since: now()}, failed: counter{since: now()}})
		}
		x := m.tables[i]
		t.Observe = func(took time.Duration, rows int, err error) {
			x.took.observe(took.Seconds())
			x.rows.n.Add(uint64(rows))
			if err != nil {
				x.failed.n.Add(1)
			}
		}
	}
	slices.SortFunc(m.tables, func(a, b *tableMetrics) int { return cmp.Compare(a.name, b.name) })
}

func (m *metrics) tableText(w *metricText) {
	if len(m.tables) == 0 {
		return
	}
	var took, since, rows, rowsSince, failed, failedSince []sample
	for _, t := range m.tables {
		labels := [][2]string{{"table", t.name}}
		took, since = append(took, t.took.samples(labels)...), append(since, sample{"_created", labels, t.took.since})
		rows, rowsSince = append(rows, sample{"_total", labels, float64(t.rows.n.Load())}), append(rowsSince, sample{"_created", labels, t.rows.since})
		failed, failedSince = append(failed, sample{"_total", labels, float64(t.failed.n.Load())}), append(failedSince, sample{"_created", labels, t.failed.since})
	}
	w.histogram("tenon_lookup_duration_seconds", "Time to fetch rows of a table from its store", took, since)
	w.counter("tenon_lookup_rows", "Rows asked of a store", rows, rowsSince)
	w.counter("tenon_lookup_errors", "Fetches that failed", failed, failedSince)
}
