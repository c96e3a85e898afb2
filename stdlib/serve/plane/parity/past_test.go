package parity_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/events"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/parity"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// Windows over the orders of a customer, and conditions above them that only training has.
const (
	windowed = `SELECT o.id, o.customer, count(*) OVER (PARTITION BY o.customer ORDER BY o.at) AS age,
		CAST(sum(o.item) OVER (PARTITION BY o.customer, o.item ORDER BY o.at RANGE BETWEEN INTERVAL 3 DAYS PRECEDING AND CURRENT ROW) AS DOUBLE) AS ratio, o.paid > 3 AS over
		FROM o LEFT JOIN c ON o.customer = c.name`
	windowedAndFiltered = "SELECT * FROM (" + windowed + ") WHERE over IS NOT NULL"
	overAll             = `SELECT o.id, o.customer, count(*) OVER (ORDER BY o.at) AS age, 1.5::DOUBLE AS ratio, o.paid > 3 AS over FROM o`
)

// later is an order after all in the table.
func later(n int64) []rowsql.Value {
	return []rowsql.Value{rowsql.Int(5000 + n), rowsql.String(fmt.Sprint("k", n%3)), rowsql.Int(n % 2), rowsql.Int(1_707_523_200_000_000 + n*60_000_000), rowsql.Null}
}

// takes makes the history of a replay take events.
func (r *replay) takes() *events.Feed {
	r.Helper()
	feed, err := events.Open(r.Context(), r.step, r.history, func(says string) { r.Error(says) })
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(feed.Close)
	r.head.History, r.head.Events = true, feed.Name()
	return feed
}

func post(t *testing.T, feed *events.Feed, event []rowsql.Value) {
	t.Helper()
	if added, err := feed.Post(event, 1); err != nil || added != 1 {
		t.Fatalf("added %d, %v", added, err)
	}
}

// Each request is computed with the events that the service had at that moment.
func TestReplayOverAHistory(t *testing.T) {
	for name, query := range map[string]string{"windows": windowed, "conditions that only training has": windowedAndFiltered, "one window over all": overAll} {
		t.Run(name, func(t *testing.T) {
			var feed *events.Feed
			r := newReplay(t, query, []string{"id"}, func(r *replay) { feed = r.takes() })
			for n := range int64(12) {
				r.answer("before", nil, later(n), later(n+3)) // of two customers, or twice of one
				post(t, feed, later(n))
				r.answer("after", nil, later(n), later(n+1))
			}
			r.run()
			if r.sum.Rows != 48 || r.sum.Cells != 96 || r.sum.Predictions != 48 || len(r.got) > 0 || r.sum.Unplaced+r.sum.Gone != 0 {
				t.Errorf("it found %+v, %+v", r.sum, r.got)
			}
		})
	}
}

// An event that the service counted twice, or did not count, is found.
func TestReplayFindsAnotherHistory(t *testing.T) {
	var feed *events.Feed
	r := newReplay(t, windowed, []string{"id"}, func(r *replay) { feed = r.takes() })
	post(t, feed, later(0))
	post(t, feed, later(3))
	r.answer("good", nil, later(6), later(9))
	r.answer("bad", func(row int, f []rowsql.Value, o []float64) {
		if row == 1 {
			f[1] = rowsql.Int(f[1].Int() - 1)
			o[0] = predicted(f)
		}
	}, later(6), later(9))
	r.run()
	if r.sum.Rows != 4 || r.sum.Differing != 1 || r.sum.Columns["age"] != 1 || len(r.got) != 2 || r.got[0].RequestID != "bad" || r.got[0].Row != 1 {
		t.Errorf("it found %+v, %+v", r.sum, r.got)
	}
}

func TestReplayCountsRowsWithoutAKnownHistory(t *testing.T) {
	for name, change := range map[string]func(*replay){
		"of an older service": func(r *replay) { r.head.History, r.head.Events = false, "" },
		"of another log":      func(r *replay) { r.head.Events = "removed" },
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplay(t, windowed, []string{"id"}, func(r *replay) {
				r.takes()
				change(r)
			})
			r.answer("a", nil, later(1), later(2))
			r.run()
			if r.sum.Rows != 0 || r.sum.Unplaced != 2 {
				t.Errorf("it found %+v", r.sum)
			}
		})
	}
	// A later version has dropped what the table of this one lacks.
	r := newReplay(t, windowed, []string{"id"}, func(r *replay) { r.takes() })
	r.answer("a", nil, later(1), later(2))
	begins := fmt.Sprintf(`{"from":1,"before":%d,"time":"at","type":"timestamp"}`, later(0)[3].Int())
	if err := os.WriteFile(filepath.Join(r.ask.Kept, "events.begins"), []byte(begins), 0o600); err != nil {
		t.Fatal(err)
	}
	r.run()
	if r.sum.Rows != 0 || r.sum.Gone != 2 {
		t.Errorf("it found %+v", r.sum)
	}

	r = newReplay(t, strings.Replace(windowed, "o.id,", "2001 - o.id AS id,", 1), []string{"id"}, func(r *replay) { r.takes() })
	r.answer("a", nil, later(1))
	r.log.Close(10 * time.Second)
	err := parity.RunReplay(t.Context(), &r.ask, func(requests.Event) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "features over a history are replayed if they have keys") {
		t.Errorf("other keys: %v", err)
	}
}
