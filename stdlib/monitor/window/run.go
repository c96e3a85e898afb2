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
	return new(Cache).Run(ctx, db, files, q)
}

// Run measures as [Run] does, without reading what the cache has.
func (c *Cache) Run(ctx context.Context, db *sql.DB, files []string, q *Question) (*Answer, error) {
	r := &run{Question: q, db: db, cache: c}
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
	if q.Challenger != "" && r.names() {
		n, _, err := r.answered(ctx, q.Challenger)
		if err != nil {
			return nil, err
		}
		a.Challenger = &n
	}
	if q.Monitor.Drift != nil {
		a.Report, err = r.compare(ctx)
		a.Notes = r.notes
		return a, err
	}
	switch m := q.Monitor; {
	case m.Metric != nil:
		a.Report, err = measure.Metric(ctx, db, r.valued(m.Metric), r.metricSpec())
		return a, err
	case m.Experiment != nil && q.Versions != nil:
		a.Report, err = measure.Experiment(ctx, db, r.valued(m.Experiment.Metric), r.experimentSpec())
		return a, err
	case m.Experiment != nil:
		a.Plan, err = measure.PlanExperiment(ctx, db, r.valued(m.Experiment.Metric), r.planSpec())
		return a, err
	case m.Quality == nil:
		return nil, errors.New("the monitor measures nothing")
	}
	if a.Report, err = measure.Quality(ctx, db, r.labelled(), r.qualitySpec()); err != nil || !r.probable {
		return a, err
	}
	a.Estimate, err = r.estimate(ctx)
	return a, err
}

// Write writes the rows that a drift compares to the files of the question, the oldest request first.
// db has to be able to write them.
func Write(ctx context.Context, db *sql.DB, files []string, q *Question) (*Written, error) {
	if q.Monitor.Drift == nil {
		return nil, errors.New("only a drift and predictions compare rows")
	}
	r := &run{Question: q, db: db, cache: new(Cache)}
	if err := r.choose(ctx, files); err != nil {
		return nil, err
	}
	if err := r.noteOthers(ctx); err != nil {
		return nil, err
	}
	made := &Written{Notes: r.notes}
	if len(r.drift) == 0 {
		return nil, errors.New("no answer has what is compared")
	}
	r.fallible = false // it is not compared
	rows := r.inputs()
	if len(r.files) > 0 {
		rows += fmt.Sprintf(" ORDER BY l.%s, l.%s, l.%s", ident(requests.Time), ident(requests.RequestID), ident(requests.RowNumber))
	}
	var err error
	if made.Requests, err = r.write(ctx, rows, q.Write.Requests); err != nil {
		return nil, fmt.Errorf("write the requests: %w", err)
	}
	if q.Write.Reference != "" {
		if made.Reference, err = r.write(ctx, r.reference(), q.Write.Reference); err != nil {
			return nil, fmt.Errorf("write the reference: %w", err)
		}
	}
	return made, nil
}

// write writes the rows of a query to a Parquet file, and returns how many there are.
func (r *run) write(ctx context.Context, query, path string) (int64, error) {
	done, err := r.db.ExecContext(ctx, "COPY ("+query+") TO "+quote(path)+" (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)")
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

// run is one measurement.
type run struct {
	*Question
	db       *sql.DB
	cache    *Cache
	files    []string      // with all columns
	looked   []*file       // the same
	drift    []ir.Compared // columns that are compared
	older    bool          // the log has rows from before the window
	probable bool          // the files have the probability of the positive class, or of the predicted one
	fallible bool          // the files say which rows a fallback answered
	notes    []string
}

// probability is the column of the log with the probability of the positive class, or of the predicted one if there is
// none.
func (r *run) probability() string {
	if r.Monitor.Quality.Binary {
		return requests.ProbabilityPrefix + "true"
	}
	return requests.Probability
}

// choose finds the files with rows of the window. A file that lacks a column is of a version of the
// service whose requests had other columns: its rows cannot be compared.
func (r *run) choose(ctx context.Context, files []string) error {
	recent, older, err := since(files, r.first())
	if err != nil {
		return fmt.Errorf("read the request log: %w", err)
	}
	r.older = older
	if d := r.Monitor.Drift; d != nil {
		r.drift = d.Columns
	}
	if len(recent) == 0 {
		return nil
	}
	looked, err := r.cache.look(ctx, r.db, recent)
	if err != nil {
		return fmt.Errorf("read the request log: %w", err)
	}
	lacks, has := map[string]bool{}, map[string]bool{}
	q := r.Monitor.Quality
	r.probable = q != nil && q.Task == measure.Classification
	for _, f := range looked {
		whole := true
		for _, name := range r.needed() {
			if _, ok := f.types[name]; !ok {
				whole, lacks[name] = false, true
			}
		}
		if whole {
			r.files, r.looked = append(r.files, f.path), append(r.looked, f)
			for name := range f.types {
				has[name] = true
			}
			if r.probable {
				_, r.probable = f.types[r.probability()]
			}
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
	r.dropUnknown(has)
	r.noteBeginning()
	return nil
}

// since returns the files that may have rows from a time on, and whether there are older ones.
func since(files []string, begin time.Time) (recent []string, older bool, err error) {
	for _, path := range files {
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // the service has deleted it
		}
		if err != nil {
			return nil, false, err
		}
		if info.ModTime().Before(begin) { // so are all of its rows
			older = true
			continue
		}
		recent = append(recent, path)
	}
	return recent, older, nil
}

// noteBeginning says so if the log has lost rows of the window.
func (r *run) noteBeginning() {
	if r.older {
		return
	}
	var first *file
	for _, f := range r.looked {
		if f.timed > 0 && (first == nil || f.first < first.first) {
			first = f
		}
	}
	if first == nil {
		return
	}
	if at := time.UnixMicro(first.first).UTC(); at.After(r.first()) {
		what := "window"
		if at.Before(r.Begin) {
			what = "window before"
		}
		r.notes = append(r.notes, fmt.Sprintf("the log begins at %s, after the beginning of the %s", at.Format(time.RFC3339), what))
		if r.Monitor.Experiment != nil && r.Versions == nil {
			r.Begin = at // how fast units came is known only from then on
		}
	}
}

// needed are the columns of the log without which rows are not measured.
func (r *run) needed() []string {
	var all []string
	if d := r.Monitor.Drift; d != nil && d.Answers {
		all = append(all, requests.Prediction)
	} else if d != nil {
		for _, c := range d.Columns {
			all = append(all, c.Log)
		}
	}
	if q := r.Monitor.Quality; q != nil {
		all = append(all, requests.Prediction)
	}
	if m := r.metric(); m != nil {
		for _, c := range m.Columns {
			all = append(all, c.Log)
		}
	}
	if j := r.joined(); j != nil {
		for _, c := range j.Join {
			all = append(all, c.Log)
		}
	}
	if x := r.Monitor.Experiment; x != nil && x.Unit != nil {
		all = append(all, x.Unit.Log)
	}
	for _, c := range r.Monitor.By {
		all = append(all, c.Log)
	}
	return all
}

func (r *run) each(ctx context.Context, query string, f func(*sql.Rows) error) error {
	return each(ctx, r.db, query, f)
}

func each(ctx context.Context, db *sql.DB, query string, f func(*sql.Rows) error) (err error) {
	rows, err := db.QueryContext(ctx, query)
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

// log is the relation of all rows of the files, under the name l.
func (r *run) log() string { return parquet(r.files...) + " AS l" }

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
	return "SELECT " + strings.Join(all, ", ") + " FROM " + r.log() + " WHERE " + r.counts(begin, end)
}

// counts is the condition that a row of the log is of a period, and of the model if only what that answered counts.
func (r *run) counts(begin, end time.Time) string {
	if r.Model == "" {
		return between(begin, end)
	}
	return between(begin, end) + " AND " + answeredBy(r.Model)
}

// answeredBy is the condition that a model answered a row.
func answeredBy(model string) string { return ident(requests.Digest) + " = " + quote(model) }

// between is the condition that a request began in a period. The end is not in it.
func between(begin, end time.Time) string {
	return fmt.Sprintf("epoch_us(%s) >= %d AND epoch_us(%[1]s) < %[3]d", ident(requests.Time), begin.UnixMicro(), end.UnixMicro())
}

// A named is an expression over the log with its type, under a name.
type named struct{ expr, typ, as string }

func loggedAs(c ir.Logged, as string) named { return named{ident(c.Log), c.Type, as} }

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
	columns := append(r.keyed(&q.Joined), named{ident(requests.Prediction), typ, predictionColumn})
	if r.probable {
		columns = append(columns, named{ident(r.probability()), "float64", probabilityColumn})
	}
	for _, c := range r.Monitor.By {
		columns = append(columns, loggedAs(c, c.Name))
	}
	return r.selected(columns, begin, end)
}

// keyed are the time and the number of each row, and what labels are joined by, if there are any.
func (r *run) keyed(j *ir.Joined) []named {
	columns := []named{
		{"epoch_us(" + ident(requests.Time) + ")", "int64", measure.TimeColumn},
		{"row_number() OVER ()", "int64", ".n"},
	}
	if j == nil {
		return columns
	}
	for i, c := range j.Join {
		key := loggedAs(c, keyColumn+strconv.Itoa(i))
		if c.Log == requests.RequestID { // of a request with several rows, it identifies none
			key.expr = fmt.Sprintf("CASE WHEN max(%s) OVER (PARTITION BY %s) = 0 THEN %[2]s END", ident(requests.RowNumber), key.expr)
		}
		columns = append(columns, key)
	}
	return columns
}

// joined says how labels or outcomes are joined, or is nil.
func (r *run) joined() *ir.Joined {
	if q := r.Monitor.Quality; q != nil {
		return &q.Joined
	}
	if m := r.metric(); m != nil {
		return m.Outcomes
	}
	return nil
}

// labelled are the requests of the window, each with its label.
func (r *run) labelled() string {
	q := r.Monitor.Quality
	return fmt.Sprintf("SELECT * FROM (WITH r AS (%s), %s SELECT r.*, m.label AS \".label\" FROM r LEFT JOIN m ON r.\".n\" = m.n)",
		r.predictions(r.Begin, r.End), r.known(&q.Joined, ident(q.Label.Name)))
}

// known are tables of a query, after a table r of requests. The last one, m, has for each number n of a
// request the first label that became known for it from its own time on, within the time of the
// monitor, and until now. A request for which different labels became known at once has none. label is an
// expression over the table of labels.
func (r *run) known(j *ir.Joined, label string) string {
	var keys, match []string
	for i, c := range j.Labels {
		keys = append(keys, ident(c.Name)+" AS "+ident(keyColumn+strconv.Itoa(i)))
		match = append(match, fmt.Sprintf("r.%s = l.%[1]s", ident(keyColumn+strconv.Itoa(i))))
	}
	return fmt.Sprintf(`l AS (SELECT %s, epoch_us(%s) AS ".known", %s AS ".label" FROM %s WHERE %[3]s IS NOT NULL AND epoch_us(%[2]s) <= %[5]d),
j AS (SELECT r.".n" AS n, l.".known" AS known, l.".label" AS label FROM r JOIN l ON %[6]s AND l.".known" BETWEEN r.".at" AND r.".at" + %[7]d),
f AS (SELECT n, min(known) AS known FROM j GROUP BY n),
m AS (SELECT n, any_value(label) AS label FROM j JOIN f USING (n, known) GROUP BY n HAVING count(DISTINCT label) = 1)`,
		strings.Join(keys, ", "), ident(j.Timestamp.Name), label, parquet(r.Labels), r.Now.UnixMicro(), strings.Join(match, " AND "), j.Within.Microseconds())
}

func (r *run) qualitySpec() measure.QualitySpec {
	q := r.Monitor.Quality
	s := measure.QualitySpec{Task: q.Task, Label: labelColumn, Prediction: predictionColumn, By: r.by(), MinRows: r.Monitor.MinRows}
	if q.Binary {
		s.Positive = "true"
	}
	if q.Binary && r.probable {
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

// estimate estimates how good the predictions of the newest window are, from their probabilities.
func (r *run) estimate(ctx context.Context) (*measure.Report, error) {
	reference, current := r.labelled()+" WHERE "+ident(labelColumn)+" IS NOT NULL", r.predictions(r.Now.Add(-r.Monitor.Window), r.Now)
	s := measure.EstimateSpec{Label: labelColumn, Prediction: predictionColumn, Probability: probabilityColumn, Positive: "true", MinRows: r.Monitor.MinRows}
	if !r.Monitor.Quality.Binary {
		s.Confidence, s.Prediction = true, ""
		reference = fmt.Sprintf("SELECT * REPLACE (CAST(%[1]s AS VARCHAR) = CAST(%[2]s AS VARCHAR) AS %[1]s) FROM (%[3]s)", ident(labelColumn), ident(predictionColumn), reference)
	}
	return measure.Estimate(ctx, r.db, reference, current, s)
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
		quoted[i] = quote(globs.Replace(p))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
