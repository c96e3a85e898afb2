package events_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/events"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// files are the files of a log with a suffix, in their order.
func files(t *testing.T, dir, suffix string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "events-*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// tidied waits until all files but the one that is appended to are Parquet.
func tidied(t *testing.T, dir string) []string {
	t.Helper()
	for began := time.Now(); len(files(t, dir, ".log")) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("these are no Parquet: %v", files(t, dir, ".log"))
		}
	}
	return files(t, dir, ".parquet")
}

// fill posts the payments from one number up to another.
func (s *service) fill(t *testing.T, from, to int64) {
	t.Helper()
	for n := from; n < to; n++ {
		s.mustPost(t, 1, payment(n, n))
	}
}

// total is what the customers have spent up to a time.
func (s *service) total(t *testing.T, seconds int64) (sum int64) {
	t.Helper()
	for c := range 10 {
		sum += s.spends(t, fmt.Sprint("c", c), seconds)
	}
	return sum
}

func TestTheLogGoesOnInOtherFiles(t *testing.T) {
	dir := shop(t)
	a, b := started(t, dir), started(t, dir)
	a.SmallFiles(300)
	b.SmallFiles(300)
	for n := int64(100); n < 160; n += 2 { // both append, and each makes files that the other follows
		a.mustPost(t, 1, payment(n, n))
		b.mustPost(t, 1, payment(n+1, n+1))
	}
	const want = 159 * 160 / 2
	a.Follow()
	if a.total(t, 1000) != want || b.total(t, 1000) != want {
		t.Errorf("spent %d and %d, wanted %d", a.total(t, 1000), b.total(t, 1000), want)
	}
	b.Close()
	a.mustPost(t, 0, payment(100, 100), payment(159, 159))
	parquet := tidied(t, dir)
	if len(parquet) < 5 || a.Name() == "" || a.Name() != b.Name() {
		t.Errorf("the log %q, or %q, has the files %v", a.Name(), b.Name(), parquet)
	}
	a.Close()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n, first, last int64
	if err := db.QueryRow("SELECT count(*), min(id), max(id) FROM '"+dir+"/events-*.parquet'").Scan(&n, &first, &last); err != nil || first != 100 || last != 99+n {
		t.Errorf("DuckDB reads %d events from %d to %d, %v", n, first, last, err)
	}
	var numbers []int64
	err = events.Read(context.Background(), dir, payments, func(number int64, event []rowsql.Value) error {
		if event[0].Int() != 100+number {
			t.Errorf("event %d is payment %d", number, event[0].Int())
		}
		numbers = append(numbers, number)
		return nil
	})
	if err != nil || len(numbers) != 60 || !slices.IsSorted(numbers) {
		t.Errorf("read %v, %v", numbers, err)
	}
	again := started(t, dir)
	if got := again.total(t, 1000); got != want {
		t.Errorf("after a restart: spent %d, wanted %d", got, want)
	}
	again.mustPost(t, 0, payment(100, 100), payment(159, 159))
	again.Close()
	if again.LogBytes() < size(t, dir)+1000 {
		t.Errorf("the log has %d bytes", again.LogBytes())
	}
	for _, lost := range []string{parquet[0], parquet[2], filepath.Join(dir, events.File)} {
		if err := os.Rename(lost, lost+"~"); err != nil {
			t.Fatal(err)
		}
		if _, err := open(dir, payments); err == nil || !strings.Contains(err.Error(), "begins with event") && !strings.Contains(err.Error(), "no such file") {
			t.Errorf("without %s: %v", filepath.Base(lost), err)
		}
		if err := os.Rename(lost+"~", lost); err != nil {
			t.Fatal(err)
		}
	}
}

// A process may be killed between any two of the steps by which the log goes on in another file.
// Another process that runs goes on, and so does the next one that starts.
func TestALogThatWasKilledInBetween(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		for _, running := range []bool{false, true} {
			t.Run(fmt.Sprintf("sealed %v, another runs %v", sealed, running), func(t *testing.T) {
				dir := shop(t)
				killed := started(t, dir)
				killed.fill(t, 100, 110)
				var s *service
				if running {
					s = started(t, dir)
				}
				if err := killed.HalfRotate(sealed); err != nil {
					t.Fatal(err)
				}
				if !running {
					s = started(t, dir)
				}
				s.mustPost(t, 1, payment(109, 109), payment(110, 110))
				s.SmallFiles(1)
				s.mustPost(t, 1, payment(111, 111))
				s.mustPost(t, 1, payment(112, 112))
				tidied(t, dir)
				s.Close()
				const want = 112 * 113 / 2
				if again := started(t, dir); s.total(t, 1000) != want || again.total(t, 1000) != want {
					t.Errorf("spent %d, and %d after a restart, wanted %d", s.total(t, 1000), again.total(t, 1000), want)
				}
			})
		}
	}
}

// While the disk is full, events are refused. Once it is not, they are taken without a restart.
func TestTheLogGoesOnAfterAFullDisk(t *testing.T) {
	s := started(t, shop(t))
	s.mustPost(t, 1, payment(100, 100))
	s.SmallFiles(1)
	s.FullDisk(true)
	if _, err := s.post(payment(101, 101)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the disk is full: %v", err)
	}
	s.FullDisk(false)
	s.mustPost(t, 1, payment(101, 101))
	s.mustPost(t, 1, payment(102, 102))
	if got, want := s.total(t, 1000), int64(102*103/2); got != want {
		t.Errorf("spent %d, wanted %d", got, want)
	}
}

// A process may be killed before it removes the frames of which it made Parquet. They count, and
// Parquet that is not equal is made again.
func TestFramesCountUntilParquetIsEqual(t *testing.T) {
	dir, other := shop(t), shop(t)
	for d, cents := range map[string]int64{dir: 0, other: 1} {
		s := started(t, d)
		s.SmallFiles(300)
		for n := int64(100); n < 130; n++ {
			p := payment(n, n)
			p[2] = rowsql.Int(n + cents)
			s.mustPost(t, 1, p)
		}
		tidied(t, d)
		s.Close()
	}
	const want = 129 * 130 / 2
	for round := range 2 {
		path := files(t, dir, ".parquet")[1]
		if err := events.Untidy(path); err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			b, err := os.ReadFile(filepath.Join(other, filepath.Base(path)))
			if err == nil {
				err = os.WriteFile(path, b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for range round + 1 { // the first start removes what is not equal
			s := started(t, dir)
			if got := s.total(t, 1000); got != want {
				t.Errorf("spent %d, wanted %d", got, want)
			}
			for began := time.Now(); len(s.says()) == 0 && len(files(t, dir, ".log")) > 0; time.Sleep(5 * time.Millisecond) {
				if time.Since(began) > 20*time.Second {
					t.Fatalf("these are no Parquet: %v", files(t, dir, ".log"))
				}
			}
			if said := s.says(); len(said) > 0 && !strings.Contains(said[0], "does not have the events of") {
				t.Errorf("it says %q", said)
			}
			s.Close()
		}
		tidied(t, dir)
	}
}

// calledOff is a context that ends when it is asked the next time after some times.
type calledOff struct {
	context.Context
	after int64
	end   func()
}

func (c *calledOff) Err() error {
	if c.after--; c.after >= 0 {
		return nil
	}
	if c.end != nil {
		c.end()
		c.end = nil
	}
	return context.Canceled
}

// Two versions of a service make Parquet of the same frames. One ends while it compares them, just
// after the other one has removed the frames.
func TestParquetStaysOnceTheFramesAreGone(t *testing.T) {
	dir := shop(t)
	s := started(t, dir)
	s.SmallFiles(300)
	s.fill(t, 100, 130)
	parquet := tidied(t, dir)
	s.Close()
	if err := events.Untidy(parquet[1]); err != nil {
		t.Fatal(err)
	}
	raw := files(t, dir, ".log")[0]
	var from, to int64
	if _, err := fmt.Sscanf(filepath.Base(parquet[1]), "events-%d-%d.parquet", &from, &to); err != nil {
		t.Fatal(err)
	}
	err := events.ToParquet(&calledOff{t.Context(), to - from, func() {
		if err := os.Remove(raw); err != nil {
			t.Error(err)
		}
	}}, raw)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it was not called off: %v", err)
	}
	if got, want := started(t, dir).total(t, 1000), int64(129*130/2); got != want {
		t.Errorf("spent %d, wanted %d", got, want)
	}
}

// says is what the service has said.
func (s *service) says() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.said)
}

const lastMinute = `SELECT CAST(sum(cents) OVER w AS BIGINT) AS spent, count(*) OVER w AS n FROM p
	WINDOW w AS (PARTITION BY customer ORDER BY paid RANGE BETWEEN INTERVAL 1 MINUTE PRECEDING AND CURRENT ROW)`

func kept(h *features.HistorySpec) { h.Keep = "10m" }

// Events that are older than the log keeps them go once the table has them, and only then.
func TestEventsThatTheTableHasAreDropped(t *testing.T) {
	dir := shopOf(t, lastMinute)
	s := started(t, dir, kept)
	s.SmallFiles(300)
	s.fill(t, 100, 200)
	s.mustPost(t, 1, payment(5000, 5000))
	before := len(tidied(t, dir))
	s.Close()

	s = started(t, dir, kept)
	if n := len(tidied(t, dir)); n != before {
		t.Errorf("%d of %d files are left: the table has none of their events", n, before)
	}
	s.Close()
	table(t, dir, 150)
	s = started(t, dir, kept)
	left := tidied(t, dir)
	if len(left) >= before || len(left) == 0 || !strings.Contains(left[0], "events-0000000000") {
		t.Errorf("%d of %d files are left", len(left), before)
	}
	// The table ends within the slack of late events, so what reaches back before the log begins is refused.
	if got := s.spends(t, "c1", 215); got != 161+171+181+191 {
		t.Errorf("spent %d in the last minute before 215", got)
	}
	if _, _, err := s.features.Row().Results([]rowsql.Value{rowsql.Int(-1), rowsql.String("c9"), rowsql.Int(0), rowsql.Int(150_000_000)}); err == nil || !strings.Contains(err.Error(), "it comes too late: the history") {
		t.Errorf("a row that reaches back further: %v", err)
	}
	// An event that was dropped counts no more, whoever sends it again.
	for _, n := range []int64{100, 149, 199} {
		if added, err := s.post(payment(n, n)); added != 0 || err != nil && !strings.Contains(err.Error(), "it comes too late: the history") {
			t.Errorf("payment %d: added %d, %v", n, added, err)
		}
	}
	s.Close()

	// The table of an earlier version lacks what was dropped. Windows of a minute do not need it.
	table(t, dir, 100)
	s = started(t, dir, kept)
	if got := s.spends(t, "c0", 5001); got != 5000 {
		t.Errorf("spent %d in the last minute, wanted 5000", got)
	}
	if _, err := s.post(payment(100, 100)); err == nil || !strings.Contains(err.Error(), "it comes too late: the history") {
		t.Errorf("a dropped event that the table lacks: %v", err)
	}
	s.Close()

	// Longer windows do: they are refused, unless the table reaches to where the log begins.
	plan(t, dir, query)
	if _, err := open(dir, payments, kept); err == nil || !strings.Contains(err.Error(), "are needed and not kept: the log of events begins there, by its column paid, and the table of the history reaches to 1970-01-01 00:01:39,") {
		t.Errorf("windows that need what was dropped: %v", err)
	}
	table(t, dir, 170)
	s = started(t, dir)
	if got, want := s.total(t, 9000), int64(199*200/2+5000); got != want {
		t.Errorf("spent %d, wanted %d", got, want)
	}
}
