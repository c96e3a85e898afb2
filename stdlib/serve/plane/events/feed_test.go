package events_test

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/events"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A payment has the number n, a customer, an amount and a time in seconds.
var (
	payments = ir.Schema{{Name: "id", Type: "int64"}, {Name: "customer", Type: "string"}, {Name: "cents", Type: "int64"}, {Name: "paid", Type: "timestamp"}}
	spent    = ir.Schema{{Name: "spent", Type: "int64"}, {Name: "n", Type: "int64"}}
)

const query = `SELECT CAST(sum(cents) OVER (PARTITION BY customer ORDER BY paid) AS BIGINT) AS spent,
	count(*) OVER (PARTITION BY customer ORDER BY paid RANGE BETWEEN INTERVAL 1 MINUTE PRECEDING AND CURRENT ROW) AS n FROM p`

func payment(n, seconds int64) []rowsql.Value {
	return []rowsql.Value{rowsql.Int(n), rowsql.String(fmt.Sprint("c", n%10)), rowsql.Int(n), rowsql.Int(seconds * 1_000_000)}
}

// A service has features with a history, in a folder.
type service struct {
	*events.Feed
	features *features.Features
	step     *step.Step
	said     []string
	mu       sync.Mutex
}

// shop makes the folder of a service, with the plan of its features and a table of the payments 0
// to 99, at their number in seconds.
func shop(t testing.TB) string {
	t.Helper()
	return shopOf(t, query)
}

// shopOf is shop with another query.
func shopOf(t testing.TB, query string) string {
	t.Helper()
	dir := t.TempDir()
	plan(t, dir, query)
	table(t, dir, 100)
	return dir
}

// plan writes the plan of a shop.
func plan(t testing.TB, dir, query string) {
	t.Helper()
	checker, err := engine.NewChecker()
	if err != nil {
		t.Fatal(err)
	}
	bound, err := checker.Bind(context.Background(), map[string]ir.Schema{"p": payments}, query)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := rowsql.Compile(query, bound, []rowsql.Table{{Name: "p", Schema: payments, Keys: [][]string{{"id"}}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "plan.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// table writes the table of a shop again, with the payments from 0 to n.
func table(t testing.TB, dir string, n int) {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Exec(fmt.Sprintf("COPY (SELECT i AS id, 'c' || (i %% 10) AS customer, i AS cents, make_timestamp(i * 1000000) AS paid FROM range(%d) t(i)) TO '%s' (FORMAT parquet)",
		n, filepath.Join(dir, "table.parquet")))
	if err != nil {
		t.Fatal(err)
	}
}

// open starts a service of a shop.
func open(dir string, columns ir.Schema, change ...func(*features.HistorySpec)) (*service, error) {
	b, err := os.ReadFile(filepath.Join(dir, "plan.json"))
	if err != nil {
		return nil, err
	}
	var plan *rowsql.Plan
	if err := json.Unmarshal(b, &plan); err != nil {
		return nil, err
	}
	s := &service{step: &step.Step{Kept: dir, Inputs: map[string]step.Port{"history": {Path: filepath.Join(dir, "table.parquet"), Schema: columns}}}}
	spec := features.Spec{Plans: []*rowsql.Plan{plan}, Results: []ir.Schema{spent}, Columns: payments,
		History: &features.HistorySpec{Port: "history", Columns: columns, Keys: []string{"id"}, Late: "1s"}}
	for _, f := range change {
		f(spec.History)
	}
	if s.features, err = features.Load(context.Background(), s.step, spec, spent); err != nil {
		return nil, err
	}
	s.Feed, err = events.Open(context.Background(), s.step, s.features.History(), func(says string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.said = append(s.said, says)
	})
	return s, err
}

func started(t testing.TB, dir string, change ...func(*features.HistorySpec)) *service {
	t.Helper()
	s, err := open(dir, payments, change...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// spends returns what a customer has spent up to a time: the total for a payment of 0 then.
func (s *service) spends(t testing.TB, customer string, seconds int64) int64 {
	t.Helper()
	out, _, err := s.features.Row().Results([]rowsql.Value{rowsql.Int(-1), rowsql.String(customer), rowsql.Int(0), rowsql.Int(seconds * 1_000_000)})
	if err != nil {
		t.Fatal(err)
	}
	return out[0].Int()
}

func (s *service) post(payments ...[]rowsql.Value) (int, error) {
	var rows []rowsql.Value
	for _, p := range payments {
		rows = append(rows, p...)
	}
	return s.Post(rows, len(payments))
}

func (s *service) mustPost(t testing.TB, want int, payments ...[]rowsql.Value) {
	t.Helper()
	if added, err := s.post(payments...); err != nil || added != want {
		t.Fatalf("added %d, %v, wanted %d", added, err, want)
	}
}

// c1 spends 1 + 11 + ... + 91 in the table.
const inTable = 460

func TestAnEventCountsAtOnceAndOnce(t *testing.T) {
	dir := shop(t)
	s := started(t, dir)
	if got := s.spends(t, "c1", 1000); got != inTable {
		t.Fatalf("the table has %d, wanted %d", got, inTable)
	}
	s.mustPost(t, 2, payment(101, 101), payment(111, 111))
	s.mustPost(t, 1, payment(111, 111), payment(121, 121), payment(121, 121), payment(91, 91))
	const want = inTable + 101 + 111 + 121
	if got := s.spends(t, "c1", 1000); got != want {
		t.Errorf("spent %d, wanted %d", got, want)
	}
	s.Close()
	if _, err := s.post(payment(131, 131)); !errors.Is(err, events.ErrStopped) {
		t.Errorf("an event after the end: %v", err)
	}
	// The next one has them, and another table may have some of them, too.
	again := started(t, dir)
	if got := again.spends(t, "c1", 1000); got != want {
		t.Errorf("after a restart: spent %d, wanted %d", got, want)
	}
	again.Close()
	table(t, dir, 115)
	again = started(t, dir)
	if got := again.spends(t, "c1", 1000); got != want {
		t.Errorf("with a newer table: spent %d, wanted %d", got, want)
	}
}

func TestARequestCountsAsAWhole(t *testing.T) {
	s := started(t, shop(t))
	_, err := s.post(payment(101, 5000), payment(111, 3)) // of the same customer, 111 is too late
	var row *events.RowError
	if !errors.As(err, &row) || row.Row != 1 || !strings.Contains(row.Error(), "it comes too late: the history of its key begins at ") {
		t.Errorf("got %v, wanted an error of event 1", err)
	}
	if got := s.spends(t, "c1", 5000); got != inTable {
		t.Errorf("spent %d, wanted %d: no event of the request counts", got, inTable)
	}
	if _, err := s.post(payment(101, 5000), payment(111, 5000)); !errors.Is(err, rowsql.ErrSameOrder) {
		t.Errorf("two events of one time: %v", err)
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	s := started(t, shop(t))
	var wg sync.WaitGroup
	for client := range int64(8) {
		wg.Go(func() {
			for i := range int64(50) {
				n := 1000 + i*10 + client // each client has a customer
				if added, err := s.post(payment(n, n)); err != nil || added != 1 {
					t.Errorf("added %d, %v", added, err)
				}
				if got := s.spends(t, fmt.Sprint("c", client), n+1); got < n {
					t.Errorf("an event is not visible: spent %d", got)
				}
			}
		})
	}
	wg.Wait()
}

// While a new version takes over, both take events, and see those of the other.
func TestTwoProcessesShareALog(t *testing.T) {
	dir := shop(t)
	a, b := started(t, dir), started(t, dir)
	a.mustPost(t, 1, payment(101, 101))
	b.mustPost(t, 1, payment(101, 101), payment(111, 111))
	a.mustPost(t, 1, payment(111, 111), payment(121, 121))
	const want = inTable + 101 + 111 + 121
	a.mustPost(t, 1, payment(102, 102))
	if b.Follow(); b.spends(t, "c2", 1000) != 470+102 {
		t.Errorf("spent %d, wanted %d", b.spends(t, "c2", 1000), 470+102)
	}
	for began := time.Now(); b.spends(t, "c1", 1000) != want; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Second {
			t.Fatalf("spent %d after a second, wanted %d", b.spends(t, "c1", 1000), want)
		}
	}
}

func TestATornEndIsCutOff(t *testing.T) {
	dir := shop(t)
	s := started(t, dir)
	s.mustPost(t, 1, payment(101, 101))
	whole := size(t, dir)
	s.mustPost(t, 1, payment(111, 111))
	s.Close()
	path := filepath.Join(dir, events.File)
	full, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := whole + 1; at < int64(len(full)); at += 3 {
		for _, torn := range [][]byte{full[:at], append(append([]byte(nil), full[:at]...), bytes.Repeat([]byte{0xff}, 4096)...)} {
			if err := os.WriteFile(path, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			s := started(t, dir)
			if got := s.spends(t, "c1", 1000); got != inTable+101 {
				t.Fatalf("cut at %d: spent %d", at, got)
			}
			if len(s.said) != 1 || !strings.Contains(s.said[0], "bytes of the log of events were not completely written, and are cut off") || size(t, dir) != whole {
				t.Fatalf("cut at %d: it says %q, and the log has %d bytes", at, s.said, size(t, dir))
			}
			s.mustPost(t, 1, payment(111, 111))
			s.Close()
		}
	}
	// Damage with events behind it is no torn end.
	damaged := append([]byte(nil), full...)
	damaged[whole-3] ^= 1
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(dir, payments); err == nil || !strings.Contains(err.Error(), "is damaged at byte ") {
		t.Errorf("damage: %v", err)
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(damaged) {
		t.Errorf("a damaged log was changed: %v", err)
	}
}

func size(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, events.File))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestALaterVersionReadsEarlierEvents(t *testing.T) {
	dir := shop(t)
	s := started(t, dir)
	s.mustPost(t, 1, payment(101, 101))
	s.Close()
	wider := append(ir.Schema{{Name: "shop", Type: "string", Nullable: true}}, payments...)
	if _, err := open(dir, append(ir.Schema{{Name: "shop", Type: "string"}}, payments...)); err == nil || !strings.Contains(err.Error(), "its events have no column shop, which the features of this version need") {
		t.Errorf("a column that events need: %v", err)
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	path := filepath.Join(dir, "table.parquet")
	if _, err := db.Exec("CREATE TABLE t AS FROM '" + path + "'; COPY (SELECT CAST(NULL AS VARCHAR) AS shop, * FROM t) TO '" + path + "' (FORMAT parquet)"); err != nil {
		t.Fatal(err)
	}
	later, err := open(dir, wider)
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	later.mustPost(t, 1, append([]rowsql.Value{rowsql.String("s")}, payment(111, 111)...))
	if got := later.spends(t, "c1", 1000); got != inTable+101+111 {
		t.Errorf("spent %d", got)
	}
}

// What a client was told survives SIGKILL, and what it sends again counts once.
func TestEventsSurviveAKill(t *testing.T) {
	if dir := os.Getenv("EVENTS_TEST_DIR"); dir != "" {
		serveUntilKilled(dir)
	}
	dir := shop(t)
	told := int64(100)
	for range 6 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestEventsSurviveAKill$")
		// It sends the last one again, and goes on.
		cmd.Env = append(os.Environ(), "EVENTS_TEST_DIR="+dir, fmt.Sprint("EVENTS_TEST_FROM=", told))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if _, err := fmt.Sscanf(lines.Text(), "told %d", &told); err != nil {
				t.Fatal(lines.Text())
			}
			if told%100 == 0 {
				_ = cmd.Process.Kill()
			}
		}
		if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("it ended by itself: %v", err)
		}
	}
	s := started(t, dir)
	s.mustPost(t, 0, payment(told, told))
	want := int64(0)
	for n := int64(0); n <= told; n++ {
		want += n
	}
	got := int64(0)
	for c := range 10 {
		got += s.spends(t, fmt.Sprint("c", c), told+1000)
	}
	// The process may have written one event more than it could tell.
	if got != want && got != want+told+1 {
		t.Errorf("all spent %d, wanted %d after %d events", got, want, told)
	}
}

func serveUntilKilled(dir string) {
	s, err := open(dir, payments)
	if err != nil {
		panic(err)
	}
	var n int64
	if _, err := fmt.Sscan(os.Getenv("EVENTS_TEST_FROM"), &n); err != nil {
		panic(err)
	}
	s.SmallFiles(1000) // so that it is killed in between, too
	for ; ; n++ {
		if _, err := s.post(payment(n, n)); err != nil {
			panic(err)
		}
		fmt.Println("told", n)
	}
}

// Goal: 100,000 events per second on one core, with the log on the disk.
func BenchmarkPost(b *testing.B) {
	s := started(b, shop(b))
	const batch = 1000
	n := int64(1000)
	rows := make([]rowsql.Value, 0, batch*len(payments))
	for b.Loop() {
		rows = rows[:0]
		for range batch {
			rows = append(rows, payment(n, n)...)
			n++
		}
		if added, err := s.Post(rows, batch); err != nil || added != batch {
			b.Fatal(added, err)
		}
	}
	b.ReportMetric(float64(batch)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
