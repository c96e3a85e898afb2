package rowsql_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// payments are rows over which windows go.
var payments = ir.Schema{
	{Name: "id", Type: "int64"}, {Name: "t", Type: "timestamp"}, {Name: "customer", Type: "string", Nullable: true},
	{Name: "amount", Type: "int64", Nullable: true}, {Name: "small", Type: "int32"}, {Name: "shop", Type: "string", Nullable: true}, {Name: "x", Type: "float64", Nullable: true},
}

var paymentsTable = []rowsql.Table{{Name: "p", Schema: payments, Keys: [][]string{{"id"}}}}

// paid returns random payments in the order of their times. Of two, ties is the chance to have
// the same time.
func paid(rng *rand.Rand, n int, ties float64) [][]rowsql.Value {
	var all [][]rowsql.Value
	t := int64(1_700_000_000_000_000)
	for i := range n {
		if i == 0 || rng.Float64() >= ties {
			t += rng.Int64N(40 * 3_600_000_000)
		}
		row := []rowsql.Value{rowsql.Int(int64(i)), rowsql.Int(t), rowsql.String(string(rune('a' + rng.IntN(4)))), rowsql.Int(rng.Int64N(2000) - 1000),
			rowsql.Int(rng.Int64N(100) - 50), rowsql.String(fmt.Sprint("shop", rng.IntN(5))), rowsql.Float(float64(rng.IntN(1000)) / 8)}
		if rng.IntN(20) == 0 {
			row[3] = rowsql.Int(rng.Int64() >> rng.IntN(8))
		}
		for _, nullable := range []int{2, 3, 5, 6} {
			if rng.IntN(8) == 0 {
				row[nullable] = rowsql.Null
			}
		}
		all = append(all, row)
	}
	return all
}

// A service computes rows, and gets events.
type service struct {
	prog   *rowsql.Program
	plan   *rowsql.Plan
	row    *rowsql.Row
	past   []*rowsql.History
	event  rowsql.Event
	batch  rowsql.Batch
	output []rowsql.Value
}

func serviceOf(t testing.TB, plan *rowsql.Plan, limits rowsql.Limits) *service {
	prog, err := rowsql.Load(plan)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{prog: prog, plan: plan, row: prog.NewRow(), output: make([]rowsql.Value, len(plan.Outputs))}
	for i := range prog.Windows() {
		s.past = append(s.past, prog.NewHistory(i, limits))
	}
	return s
}

func selfOf(row []rowsql.Value) []byte { return fmt.Append(nil, "id", row[0].Int()) }

// loaded adds rows before the service begins.
func (s *service) loaded(t testing.TB, rows ...[]rowsql.Value) *service {
	for _, r := range rows {
		if err := s.prog.Record(s.row, nil, r, selfOf(r), &s.event); err != nil {
			t.Fatal(err)
		}
		if err := s.event.Add(s.past); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range s.past {
		if err := h.Loaded(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// happens adds an event.
func (s *service) happens(r []rowsql.Value) (known bool, err error) {
	if err := s.prog.Record(s.row, nil, r, selfOf(r), &s.event); err != nil {
		return false, err
	}
	s.batch.Reset(s.past)
	if known, err = s.batch.Check(s.past, &s.event); known || err != nil {
		return known, err
	}
	err = s.event.Add(s.past)
	rowsql.Settle(s.past)
	return false, err
}

// asked returns the texts of the outputs of a row.
func (s *service) asked(t testing.TB, r []rowsql.Value) (string, error) {
	s.row.Past(s.past, selfOf(r))
	kept, err := s.prog.Run(s.row, nil, r, s.output)
	if err != nil || !kept {
		return "", err
	}
	var all []string
	for j, v := range s.output {
		all = append(all, textOf(t, v, s.plan.Outputs[j].Type))
	}
	return strings.Join(all, " "), nil
}

// windows are functions over one frame and order each.
var windows = []string{
	"sum(amount) OVER (PARTITION BY customer ORDER BY t RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW)",
	"count(*) FILTER (WHERE small > 0) OVER (PARTITION BY customer ORDER BY t)",
	"count(amount) OVER (PARTITION BY customer, shop ORDER BY t ROWS BETWEEN 5 PRECEDING AND 1 PRECEDING)",
	"avg(amount) OVER (PARTITION BY customer ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW)",
	"avg(small) OVER (PARTITION BY customer ORDER BY t)",
	"avg(CAST(x AS DECIMAL(12,3))) OVER (PARTITION BY customer ORDER BY t ROWS 20 PRECEDING)",
	"sum(CAST(x AS DECIMAL(12,3))) FILTER (WHERE shop IS NOT NULL) OVER (PARTITION BY customer ORDER BY t RANGE INTERVAL 1 MONTH PRECEDING)",
	"min(amount) OVER (PARTITION BY customer ORDER BY t RANGE BETWEEN INTERVAL 9 DAYS PRECEDING AND INTERVAL 2 DAYS PRECEDING)",
	"sum(amount) OVER (PARTITION BY customer ORDER BY t RANGE BETWEEN INTERVAL 86400 SECONDS PRECEDING AND CURRENT ROW)",
	"count(*) OVER (PARTITION BY customer ORDER BY t RANGE BETWEEN INTERVAL 90000000 MILLISECONDS PRECEDING AND INTERVAL (1.5) SECONDS PRECEDING)",
	"max(amount) OVER (PARTITION BY customer ORDER BY t RANGE INTERVAL (172800000000) MICROSECONDS PRECEDING)",
	"min(amount) OVER (ORDER BY t RANGE INTERVAL (3) DAYS PRECEDING)",
	"count(*) OVER (PARTITION BY shop ORDER BY t RANGE INTERVAL 1 QUARTER PRECEDING)",
	"max(x) OVER (PARTITION BY shop ORDER BY t)",
	"max(shop) OVER (PARTITION BY customer ORDER BY t ROWS BETWEEN 3 PRECEDING AND CURRENT ROW)",
	"min(shop) OVER (PARTITION BY customer ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING)",
	"lag(shop) OVER (PARTITION BY customer ORDER BY t)",
	"lag(amount, 3, 7) OVER (PARTITION BY customer ORDER BY t)",
	"first_value(amount) OVER (PARTITION BY customer ORDER BY t)",
	"first_value(shop) OVER (PARTITION BY customer ORDER BY t RANGE BETWEEN INTERVAL 3 DAYS PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW)",
	"last_value(shop) OVER (PARTITION BY customer ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)",
	"row_number() OVER (PARTITION BY customer ORDER BY t)",
	"sum(small) OVER (ORDER BY t ROWS BETWEEN 10 PRECEDING AND 3 PRECEDING)",
	"epoch_us(t) - epoch_us(lag(t) OVER (PARTITION BY customer ORDER BY t))",
}

// tied are values that do not depend on the order of rows with the same time.
var tied = []string{
	"sum(amount) OVER (PARTITION BY customer ORDER BY t RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW EXCLUDE GROUP)",
	"count(*) OVER (PARTITION BY customer ORDER BY t RANGE UNBOUNDED PRECEDING EXCLUDE TIES)",
	"max(amount) OVER (PARTITION BY customer ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL 1 HOUR PRECEDING)",
	"lag(amount) OVER (PARTITION BY customer ORDER BY t, id)",
	"sum(small) OVER (PARTITION BY shop ORDER BY t, id ROWS BETWEEN 4 PRECEDING AND CURRENT ROW)",
	"first_value(id) OVER (PARTITION BY shop ORDER BY t, id)",
}

func TestWindowsEqualDuckDB(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, of := range []struct {
		windows []string
		ties    float64
	}{{windows, 0}, {tied, 0.6}} {
		rows := paid(rng, 600, of.ties)
		load(t, "p", payments, rows)
		for _, window := range of.windows {
			t.Run(window, func(t *testing.T) {
				query := "SELECT " + window + " AS w FROM p"
				plan, err := compile(t, paymentsTable, query)
				if err != nil {
					t.Fatal(err)
				}
				all, err := texts("SELECT " + comparable(plan.Outputs[0].Type, window) + " FROM p ORDER BY id")
				if err != nil {
					t.Fatal(err)
				}
				s := serviceOf(t, plan, rowsql.Limits{Late: 3_600_000_000}).loaded(t)
				shuffled := slices.Clone(rows[:300])
				rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
				later := serviceOf(t, plan, rowsql.Limits{}).loaded(t, append(shuffled, shuffled[:50]...)...)
				for i, row := range rows {
					for _, s := range []*service{s, later} {
						if s == later && i < 300 {
							continue
						}
						for _, when := range []string{"before", "after"} { // its event
							got, err := s.asked(t, row)
							if err != nil || got != all[i][0] {
								t.Fatalf("row %d, asked %s its event: got %s, %v, DuckDB gives %s", i, when, got, err, all[i][0])
							}
							known, err := s.happens(row)
							if err != nil || known != (when == "after") {
								t.Fatalf("row %d: its event is known: %v, %v", i, known, err)
							}
						}
					}
				}
			})
		}
	}
}

func TestWindowsOfLateEvents(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	rows := paid(rng, 400, 0)
	load(t, "p", payments, rows)
	for _, window := range windows {
		plan, err := compile(t, paymentsTable, "SELECT "+window+" AS w FROM p")
		if err != nil {
			t.Fatal(err)
		}
		all, err := texts("SELECT " + comparable(plan.Outputs[0].Type, window) + " FROM p ORDER BY id")
		if err != nil {
			t.Fatal(err)
		}
		s := serviceOf(t, plan, rowsql.Limits{Late: 1 << 62}).loaded(t)
		for from := 0; from < len(rows); from += 40 {
			for _, i := range rng.Perm(40) {
				if _, err := s.happens(rows[from+i]); err != nil {
					t.Fatalf("%s: row %d: %v", window, from+i, err)
				}
			}
		}
		for i, row := range rows {
			if got, err := s.asked(t, row); err != nil || got != all[i][0] {
				t.Fatalf("%s: row %d: got %s, %v, DuckDB gives %s", window, i, got, err, all[i][0])
			}
		}
	}
}

// A history drops what no later row reaches, and refuses what would need it.
func TestWindowsKeepWhatTheyReach(t *testing.T) {
	const day = 86_400_000_000
	at := func(id, days int64) []rowsql.Value {
		return []rowsql.Value{rowsql.Int(id), rowsql.Int(days * day), rowsql.String("a"), rowsql.Int(id), rowsql.Int(id), rowsql.String("s"), rowsql.Float(1)}
	}
	for window, want := range map[string]int{
		"sum(amount) OVER (PARTITION BY customer ORDER BY t RANGE BETWEEN INTERVAL 7 DAYS PRECEDING AND CURRENT ROW)": 10,
		"sum(amount) OVER (PARTITION BY customer ORDER BY t)":                                                         3,
		"lag(amount, 20) OVER (PARTITION BY customer ORDER BY t)":                                                     21,
	} {
		plan, err := compile(t, paymentsTable, "SELECT "+window+" AS w FROM p")
		if err != nil {
			t.Fatal(err)
		}
		s := serviceOf(t, plan, rowsql.Limits{Late: day}).loaded(t)
		for i := range int64(1000) {
			if _, err := s.happens(at(i, i)); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.past[0].Events(); n > want+1 || n < want-1 {
			t.Errorf("%s: %d events are kept, wanted about %d", window, n, want)
		}
		if _, err := s.asked(t, at(2000, 900)); err == nil || !strings.Contains(err.Error(), "it comes too late: the history of its key begins at ") {
			t.Errorf("%s: a row of an earlier time: %v", window, err)
		}
		if _, err := s.happens(at(2000, 900)); err == nil || !strings.Contains(err.Error(), "it comes too late") {
			t.Errorf("%s: an event of an earlier time: %v", window, err)
		}
		if known, err := s.happens(at(998, 998)); err != nil || !known {
			t.Errorf("%s: an event that is there is known: %v, %v", window, known, err)
		}
	}
}

func TestWindowsRefuseRowsOfOneTime(t *testing.T) {
	rows := paid(rand.New(rand.NewPCG(5, 6)), 2, 1)
	rows[0][2], rows[1][2] = rowsql.String("a"), rowsql.String("a")
	for _, window := range windows[:len(windows)-1] {
		if strings.Contains(window, "1 MONTH") || strings.Contains(window, "2 DAYS PRECEDING)") || strings.Contains(window, "SECONDS PRECEDING)") || strings.Contains(window, "shop") {
			continue
		}
		plan, err := compile(t, paymentsTable, "SELECT "+window+" AS w FROM p")
		if err != nil {
			t.Fatal(err)
		}
		s := serviceOf(t, plan, rowsql.Limits{}).loaded(t)
		if _, err := s.happens(rows[0]); err != nil {
			t.Fatal(err)
		}
		const want = "another row of its key has the same time"
		if _, err := s.happens(rows[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: an event of the same time: %v", window, err)
		}
		if _, err := s.asked(t, rows[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: a row of the same time: %v", window, err)
		}
	}
}

func TestWindowsHaveLimits(t *testing.T) {
	rows := paid(rand.New(rand.NewPCG(7, 8)), 50, 0)
	plan, err := compile(t, paymentsTable, "SELECT "+windows[0]+" AS w FROM p")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		limits rowsql.Limits
		want   string
	}{
		{rowsql.Limits{Keys: 2}, "the history is full: it has 2 keys, and max_keys is 2"},
		{rowsql.Limits{Events: 3, Late: 1 << 62}, "the history is full: it keeps 3 events, and max_events is 3"},
	} {
		s := serviceOf(t, plan, tt.limits).loaded(t)
		var last error
		for _, r := range rows {
			if _, err := s.happens(r); err != nil {
				last = err
			}
		}
		if fmt.Sprint(last) != tt.want {
			t.Errorf("got %v, wanted %s", last, tt.want)
		}
	}
}

func TestWindowsThatAreRefused(t *testing.T) {
	for window, want := range map[string]string{
		"sum(x) OVER (PARTITION BY customer ORDER BY t)":                                                                        "sum of a window over a DOUBLE is not computed for one row: DuckDB adds floats in an order that depends on all rows",
		"avg(x) OVER (PARTITION BY customer ORDER BY t)":                                                                        "avg of a window over a DOUBLE is not",
		"sum(CAST(amount AS HUGEINT)) OVER (ORDER BY t)":                                                                        "its total may be too large",
		"sum(amount) OVER (PARTITION BY customer)":                                                                              "a window without ORDER BY",
		"sum(amount) OVER (PARTITION BY customer ORDER BY id)":                                                                  "a window that is not ordered by a time is not computed for one row: nothing says which rows are before it. It is ordered by a BIGINT",
		"sum(amount) OVER (PARTITION BY customer ORDER BY t DESC)":                                                              "a window in descending order",
		"lead(amount) OVER (PARTITION BY customer ORDER BY t)":                                                                  "a window that looks ahead, lead,",
		"lag(amount, -1) OVER (PARTITION BY customer ORDER BY t)":                                                               "a window whose number of rows is not a constant",
		"sum(amount) OVER (ORDER BY t ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)":                                                "a window that looks ahead, FOLLOWING,",
		"sum(amount) OVER (ORDER BY t ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)":                                "a window that looks ahead, FOLLOWING,",
		"sum(amount) OVER (ORDER BY t GROUPS BETWEEN 2 PRECEDING AND CURRENT ROW)":                                              "a window of a frame in GROUPS",
		"sum(amount) OVER (ORDER BY t ROWS small PRECEDING)":                                                                    "a window whose number of rows is not a constant",
		"sum(amount) OVER (ORDER BY t RANGE to_days(small) PRECEDING)":                                                          "a window whose RANGE is not a constant length of time",
		"count(DISTINCT shop) OVER (PARTITION BY customer ORDER BY t)":                                                          "DISTINCT",
		"lag(amount IGNORE NULLS) OVER (PARTITION BY customer ORDER BY t)":                                                      "IGNORE NULLS",
		"rank() OVER (PARTITION BY customer ORDER BY t)":                                                                        "the window function rank is not computed for one row",
		"sum(l) OVER (ORDER BY t) FROM (SELECT t, lag(amount) OVER (PARTITION BY customer ORDER BY t) AS l FROM p)":             "a window over what another window computes",
		"sum(amount) OVER (ORDER BY t) FROM (SELECT * FROM (SELECT *, row_number() OVER (ORDER BY t) AS n FROM p) WHERE n > 3)": "a window over what another window computes",
	} {
		query := "SELECT " + window + " AS w FROM p"
		if strings.Contains(window, " FROM ") {
			query = "SELECT " + strings.Replace(window, " FROM ", " AS w FROM ", 1)
		}
		_, err := compile(t, paymentsTable, query)
		if !refused(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, wanted %s", window, err, want)
		}
	}
}
