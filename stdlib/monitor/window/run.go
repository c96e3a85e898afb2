package window

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// Run measures. files are the complete files of the log, the oldest first; db has to be able to
// read them, and the files of the question.
func Run(ctx context.Context, db *sql.DB, files []string, q *Question) (*Answer, error) {
	r := &run{Question: q, db: db}
	if q.Monitor.Service != nil {
		return r.service(ctx, files)
	}
	if q.Monitor.Freshness != nil {
		return r.freshness(ctx)
	}
	if err := r.choose(ctx, files); err != nil {
		return nil, err
	}
	var err error
	a := &Answer{Notes: r.notes}
	if d := q.Monitor.Drift; d != nil {
		a.Report, err = measure.Drift(ctx, db, r.reference(), r.inputs(), r.driftSpec())
		return a, err
	}
	if q.Monitor.Quality == nil {
		return nil, errors.New("the monitor measures nothing")
	}
	if a.Report, err = measure.Quality(ctx, db, r.labelled(), r.qualitySpec()); err != nil || !r.probable {
		return a, err
	}
	a.Estimate, err = measure.Estimate(ctx, db, r.labelled()+` WHERE ".label" IS NOT NULL`, r.predictions(q.Now.Add(-q.Monitor.Window), q.Now), measure.EstimateSpec{
		Label: labelColumn, Prediction: predictionColumn, Probability: probabilityColumn, Positive: "true", MinRows: q.Monitor.MinRows,
	})
	return a, err
}

// run is one measurement.
type run struct {
	*Question
	db       *sql.DB
	files    []string // with all columns
	older    bool     // the log has rows from before the window
	probable bool     // the files have the probability of the positive class
	notes    []string
}

// positive is the column of the log with the probability of the positive class.
const positive = requests.ProbabilityPrefix + "true"

// choose finds the files with rows of the window. A file that lacks a column is of a version of the
// service whose requests had other columns: its rows cannot be compared.
func (r *run) choose(ctx context.Context, files []string) error {
	var recent []string
	for _, path := range files {
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // the service has deleted it
		}
		if err != nil {
			return fmt.Errorf("read the request log: %w", err)
		}
		if info.ModTime().Before(r.Begin) { // so are all of its rows
			r.older = true
			continue
		}
		recent = append(recent, path)
	}
	if len(recent) == 0 {
		return nil
	}
	columns := map[string][]string{}
	err := r.each(ctx, "SELECT file_name, name FROM parquet_schema("+list(recent)+")", func(rows *sql.Rows) error {
		var file, name string
		err := rows.Scan(&file, &name)
		columns[file] = append(columns[file], name)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the request log: %w", err)
	}
	lacks := map[string]bool{}
	r.probable = r.Monitor.Quality != nil && r.Monitor.Quality.Binary
	for _, path := range recent {
		whole := true
		for _, name := range r.needed() {
			if !slices.Contains(columns[path], name) {
				whole, lacks[name] = false, true
			}
		}
		if whole {
			r.files = append(r.files, path)
			r.probable = r.probable && slices.Contains(columns[path], positive)
		}
	}
	if len(lacks) > 0 {
		missing := make([]string, 0, len(lacks))
		for name := range lacks {
			missing = append(missing, name)
		}
		slices.Sort(missing)
		r.notes = append(r.notes, fmt.Sprintf("requests that versions without the columns %s answered are left out", strings.Join(missing, ", ")))
	}
	r.probable = r.probable && len(r.files) > 0
	return r.noteBeginning(ctx)
}

// noteBeginning says so if the log has lost rows of the window.
func (r *run) noteBeginning(ctx context.Context) error {
	if len(r.files) == 0 || r.older {
		return nil
	}
	var first sql.NullInt64
	err := r.each(ctx, "SELECT min(epoch_us("+ident(requests.Time)+")) FROM "+r.log(), func(rows *sql.Rows) error { return rows.Scan(&first) })
	if err != nil {
		return fmt.Errorf("read the request log: %w", err)
	}
	if at := time.UnixMicro(first.Int64).UTC(); first.Valid && at.After(r.Begin) {
		r.notes = append(r.notes, fmt.Sprintf("the log begins at %s, after the beginning of the window", at.Format(time.RFC3339)))
	}
	return nil
}

// needed are the columns of the log without which rows are not measured.
func (r *run) needed() []string {
	var all []string
	if d := r.Monitor.Drift; d != nil {
		for _, c := range d.Columns {
			all = append(all, c.Log)
		}
	}
	if q := r.Monitor.Quality; q != nil {
		all = append(all, requests.Prediction)
		for _, c := range q.Join {
			all = append(all, c.Log)
		}
	}
	for _, c := range r.Monitor.By {
		all = append(all, c.Log)
	}
	return all
}

func (r *run) each(ctx context.Context, query string, f func(*sql.Rows) error) (err error) {
	rows, err := r.db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// log is the relation of all rows of the files.
func (r *run) log() string { return parquet(r.files...) }

// selected are rows of the log between two times, with some columns under other names. Without
// files there are none.
func (r *run) selected(columns []named, begin, end time.Time) string {
	var all []string
	for _, c := range columns {
		expr := c.expr
		if len(r.files) == 0 {
			expr = "CAST(NULL AS " + ir.Types[c.typ] + ")"
		}
		all = append(all, expr+" AS "+ident(c.as))
	}
	if len(r.files) == 0 {
		return "SELECT " + strings.Join(all, ", ") + " WHERE false"
	}
	at := "epoch_us(" + ident(requests.Time) + ")"
	return fmt.Sprintf("SELECT %s FROM %s WHERE %s >= %d AND %[3]s < %[5]d", strings.Join(all, ", "), r.log(), at, begin.UnixMicro(), end.UnixMicro())
}

// A named is an expression over the log with its type, under a name.
type named struct{ expr, typ, as string }

func loggedAs(c ir.Logged, as string) named { return named{ident(c.Log), c.Type, as} }

// inputs are the requests of the window, under the names of the reference.
func (r *run) inputs() string {
	var columns []named
	for _, name := range r.compared() {
		columns = append(columns, loggedAs(name, name.Name))
	}
	return r.selected(columns, r.Begin, r.End)
}

// compared are the columns of both sides: by of a drift may name one that is not compared.
func (r *run) compared() []ir.Logged {
	var all []ir.Logged
	for _, c := range r.Monitor.Drift.Columns {
		all = append(all, c.Logged)
	}
	for _, c := range r.Monitor.By {
		if !slices.Contains(all, c) {
			all = append(all, c)
		}
	}
	return all
}

func (r *run) reference() string {
	var all []string
	for _, c := range r.compared() {
		all = append(all, ident(c.Name))
	}
	return "SELECT " + strings.Join(all, ", ") + " FROM " + parquet(r.Reference)
}

func (r *run) driftSpec() measure.DriftSpec {
	d := r.Monitor.Drift
	s := measure.DriftSpec{MinRows: r.Monitor.MinRows, Alpha: d.Alpha, Correction: d.Correction, MinVolume: d.MinVolume, MaxVolume: d.MaxVolume, By: r.by()}
	for _, c := range d.Columns {
		s.Columns = append(s.Columns, measure.Column{Name: c.Name, Type: c.Type, Test: c.Test, Max: c.Max, MaxNulls: c.MaxNulls, MaxOutside: c.MaxOutside, MaxNew: c.MaxNew})
	}
	return s
}

func (r *run) by() (names []string) {
	for _, c := range r.Monitor.By {
		names = append(names, c.Name)
	}
	return names
}

// Names of columns of predictions with labels, beside those of by.
const (
	keyColumn         = ".k"
	labelColumn       = ".label"
	predictionColumn  = ".prediction"
	probabilityColumn = ".probability"
)

// predictions are the rows between two times, with what a label is joined by.
func (r *run) predictions(begin, end time.Time) string {
	q := r.Monitor.Quality
	typ := q.Label.Type
	if q.Task == measure.Regression {
		typ = "float64"
	}
	columns := []named{
		{"epoch_us(" + ident(requests.Time) + ")", "int64", ".at"},
		{"row_number() OVER ()", "int64", ".n"},
		{ident(requests.Prediction), typ, predictionColumn},
	}
	if r.probable {
		columns = append(columns, named{ident(positive), "float64", probabilityColumn})
	}
	for i, c := range q.Join {
		key := loggedAs(c, keyColumn+strconv.Itoa(i))
		if c.Log == requests.RequestID { // of a request with several rows, it identifies none
			key.expr = fmt.Sprintf("CASE WHEN max(%s) OVER (PARTITION BY %s) = 0 THEN %[2]s END", ident(requests.RowNumber), key.expr)
		}
		columns = append(columns, key)
	}
	for _, c := range r.Monitor.By {
		columns = append(columns, loggedAs(c, c.Name))
	}
	return r.selected(columns, begin, end)
}

// labelled are the requests of the window, each with the first label that became known for it from
// its own time on, within the time of the monitor, and until now. A request for which different
// labels became known at once has none.
func (r *run) labelled() string {
	q := r.Monitor.Quality
	var keys, match []string
	for i, c := range q.Labels {
		keys = append(keys, ident(c.Name)+" AS "+ident(keyColumn+strconv.Itoa(i)))
		match = append(match, fmt.Sprintf("r.%s = l.%[1]s", ident(keyColumn+strconv.Itoa(i))))
	}
	return fmt.Sprintf(`SELECT * FROM (WITH r AS (%s),
l AS (SELECT %s, epoch_us(%s) AS ".known", %s AS ".label" FROM %s WHERE %[4]s IS NOT NULL AND epoch_us(%[3]s) <= %[6]d),
j AS (SELECT r.".n" AS n, l.".known" AS known, l.".label" AS label FROM r JOIN l ON %[7]s AND l.".known" BETWEEN r.".at" AND r.".at" + %[8]d),
f AS (SELECT n, min(known) AS known FROM j GROUP BY n),
m AS (SELECT n, min(label) AS label FROM j JOIN f USING (n, known) GROUP BY n HAVING count(DISTINCT label) = 1)
SELECT r.*, m.label AS ".label" FROM r LEFT JOIN m ON r.".n" = m.n)`,
		r.predictions(r.Begin, r.End), strings.Join(keys, ", "), ident(q.Timestamp.Name), ident(q.Label.Name), parquet(r.Labels), r.Now.UnixMicro(),
		strings.Join(match, " AND "), q.Within.Microseconds())
}

func (r *run) qualitySpec() measure.QualitySpec {
	q := r.Monitor.Quality
	s := measure.QualitySpec{Task: q.Task, Label: labelColumn, Prediction: predictionColumn, By: r.by(), MinRows: r.Monitor.MinRows}
	if q.Binary {
		s.Positive = "true"
	}
	if r.probable {
		s.Probability = probabilityColumn
	}
	for name, g := range q.Gates {
		if s.Gates == nil {
			s.Gates = map[string]measure.Gate{}
		}
		s.Gates[name] = measure.Gate(g)
	}
	return s
}

// parquet is the relation of all rows of files.
func parquet(paths ...string) string {
	return "read_parquet(" + list(paths) + ", union_by_name = true, hive_partitioning = false, filename = false, file_row_number = false)"
}

// globs spells a path so that DuckDB does not take it for a pattern.
var globs = strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]")

// list is a list of paths in SQL.
func list(paths []string) string {
	quoted := make([]string, len(paths))
	for i, p := range paths {
		quoted[i] = "'" + strings.ReplaceAll(globs.Replace(p), "'", "''") + "'"
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
