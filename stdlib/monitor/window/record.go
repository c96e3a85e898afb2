package window

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// Paths returns the files that a preparation reads and writes. files are those of its log.
func (q *Preparation) Paths(files []string) []string {
	switch {
	case q.Take != nil:
		return append(slices.Clone(files), q.Take.Table, q.Take.Requests, q.Take.Rows)
	case q.Serve != nil:
		all := []string{q.Serve.Requests, q.Serve.To}
		for _, a := range q.Serve.Answers {
			all = append(all, a.Path)
		}
		return all
	case q.Cut != nil:
		return []string{q.Cut.Table, q.Cut.To}
	}
	return nil
}

// Prepare makes the files of a preparation. files are the complete files of the log; db has to be
// able to read and write the paths.
func Prepare(ctx context.Context, db *sql.DB, files []string, q *Preparation) (*Prepared, error) {
	r := preparing{db}
	switch {
	case q.Take != nil && q.Take.Table != "":
		return r.takeTable(ctx, q.Take)
	case q.Take != nil:
		return r.takeLog(ctx, q.Take, files)
	case q.Serve != nil:
		return r.serve(ctx, q.Serve)
	case q.Cut != nil:
		return r.cut(ctx, q.Cut)
	}
	return nil, errors.New("nothing is asked for")
}

// preparing is one preparation.
type preparing struct{ db *sql.DB }

// write writes the rows of a query to a Parquet file.
func (r preparing) write(ctx context.Context, query, to string) error {
	if _, err := r.db.ExecContext(ctx, "COPY ("+query+") TO "+quote(to)+" (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)"); err != nil {
		_ = os.Remove(to)
		return err
	}
	return nil
}

// counted returns how many rows a relation has, and their first and last time, given an expression
// of it in microseconds.
func (r preparing) counted(ctx context.Context, from, at string) (*Prepared, error) {
	out := &Prepared{}
	var first, last sql.NullInt64
	err := r.db.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*), min(%s), max(%[1]s) FROM %s", at, from)).Scan(&out.Rows, &first, &last)
	if first.Valid {
		out.First, out.Last = time.UnixMicro(first.Int64).UTC(), time.UnixMicro(last.Int64).UTC()
	}
	return out, err
}

// takeTable takes the rows of a table as requests.
func (r preparing) takeTable(ctx context.Context, t *Take) (*Prepared, error) {
	at := "epoch_us(" + ident(t.Time) + ")"
	all := fmt.Sprintf("SELECT row_number() OVER (ORDER BY %s, file_row_number) - 1 AS %s, * EXCLUDE (file_row_number) FROM %s WHERE %[1]s >= %[4]d AND %[1]s < %[5]d ORDER BY %[2]s",
		at, ident(Number), "read_parquet("+list([]string{t.Table})+", hive_partitioning = false, file_row_number = true)", t.Begin.UnixMicro(), t.End.UnixMicro())
	if err := r.write(ctx, all, t.Rows); err != nil {
		return nil, err
	}
	id := "CAST(NULL AS VARCHAR)"
	if t.ID != "" {
		id = "CAST(" + ident(t.ID) + " AS VARCHAR)"
	}
	columns := []string{
		ident(Number), "make_timestamp(" + at + ") AS " + ident(requests.Time), id + " AS " + ident(requests.RequestID), "CAST(0 AS INTEGER) AS " + ident(requests.RowNumber),
	}
	for _, c := range t.Logged {
		if c.Log != requests.RequestID {
			columns = append(columns, ident(c.Name)+" AS "+ident(c.Log))
		}
	}
	if err := r.write(ctx, "SELECT "+strings.Join(columns, ", ")+" FROM "+parquet(t.Rows)+" ORDER BY "+ident(Number), t.Requests); err != nil {
		return nil, err
	}
	return r.counted(ctx, parquet(t.Requests), logTime)
}

var logTime = "epoch_us(" + ident(requests.Time) + ")"

// takeLog takes the requests of a log. A file that lacks a column is of a version of the service
// whose requests had other columns: what other versions predict for them is not known.
func (r preparing) takeLog(ctx context.Context, t *Take, files []string) (*Prepared, error) {
	columns, err := r.columns(ctx, files)
	if err != nil {
		return nil, fmt.Errorf("read the request log: %w", err)
	}
	var whole, notes, lacking []string
	for _, path := range files {
		lacks := t.lacks(columns[path])
		if len(lacks) == 0 {
			whole = append(whole, path)
			continue
		}
		for _, name := range lacks {
			if !slices.Contains(lacking, name) {
				lacking = append(lacking, name)
			}
		}
	}
	if len(lacking) > 0 {
		slices.Sort(lacking)
		notes = append(notes, fmt.Sprintf("requests of files without the columns %s are left out", strings.Join(lacking, ", ")))
	}
	if len(whole) == 0 {
		return &Prepared{Notes: notes}, nil
	}
	kept := []string{ident(requests.Time), ident(requests.RequestID), ident(requests.RowNumber)}
	for _, name := range columns[whole[0]] {
		if strings.HasPrefix(name, requests.RequestPrefix) || strings.HasPrefix(name, requests.FeaturePrefix) {
			kept = append(kept, ident(name))
		}
	}
	order := strings.Join(kept[:3], ", ")
	err = r.write(ctx, fmt.Sprintf("SELECT row_number() OVER (ORDER BY %s) - 1 AS %s, %s FROM %s WHERE %s >= %d AND %[5]s < %[7]d ORDER BY %[2]s",
		order, ident(Number), strings.Join(kept, ", "), parquet(whole...), logTime, t.Begin.UnixMicro(), t.End.UnixMicro()), t.Requests)
	if err != nil {
		return nil, fmt.Errorf("read the request log: %w", err)
	}
	inputs := []string{ident(Number)}
	for _, name := range t.Inputs {
		inputs = append(inputs, ident(inputColumn(columns[whole[0]], name))+" AS "+ident(name))
	}
	if err := r.write(ctx, "SELECT "+strings.Join(inputs, ", ")+" FROM "+parquet(t.Requests)+" ORDER BY "+ident(Number), t.Rows); err != nil {
		return nil, err
	}
	out, err := r.counted(ctx, parquet(t.Requests), logTime)
	if err == nil {
		out.Notes = notes
	}
	return out, err
}

// lacks returns what a file of a log lacks, as columns of the log.
func (t *Take) lacks(columns []string) (all []string) {
	for _, c := range t.Logged {
		if !slices.Contains(columns, c.Log) {
			all = append(all, c.Log)
		}
	}
	for _, name := range t.Inputs {
		if inputColumn(columns, name) == "" {
			all = append(all, name)
		}
	}
	return all
}

// inputColumn returns the column of a log with an input of the model, or "".
func inputColumn(columns []string, input string) string {
	for _, prefix := range []string{requests.FeaturePrefix, requests.RequestPrefix} { // features are what the model reads
		if slices.Contains(columns, prefix+input) {
			return prefix + input
		}
	}
	return ""
}

// columns returns the columns of Parquet files, by path.
func (r preparing) columns(ctx context.Context, files []string) (_ map[string][]string, err error) {
	all := map[string][]string{}
	if len(files) == 0 {
		return all, nil
	}
	rows, err := r.db.QueryContext(ctx, "SELECT file_name, name FROM parquet_schema("+list(files)+") WHERE num_children IS NULL OR num_children = 0")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var file, name string
		if err := rows.Scan(&file, &name); err != nil {
			return nil, err
		}
		all[file] = append(all[file], name)
	}
	return all, rows.Err()
}

// probabilityOf begins the names of the columns of answers that have the probability of a class.
const probabilityOf = "probability_"

// requestNumber is a column with the number of a request.
const requestNumber = ".request"

// serve writes what a service would have logged. Of each 100 requests in a row, the challenger
// answers as many as its weight says: the same ones each time, spread evenly.
func (r preparing) serve(ctx context.Context, s *Serve) (*Prepared, error) {
	var parts []string
	from := 0
	// A request has one row with the number 0, which comes first.
	numbered := fmt.Sprintf("(SELECT *, CAST(sum(CAST(%s = 0 AS INTEGER)) OVER (ORDER BY %s) AS BIGINT) - 1 AS %s FROM %s)", ident(requests.RowNumber), ident(Number), ident(requestNumber), parquet(s.Requests))
	for _, a := range s.Answers {
		columns, err := r.columns(ctx, []string{a.Path})
		if err != nil {
			return nil, err
		}
		selects := []string{"r.* EXCLUDE (" + ident(Number) + ", " + ident(requestNumber) + ")", "a." + ident(requests.Prediction)}
		for _, name := range columns[a.Path] {
			if class, ok := strings.CutPrefix(name, probabilityOf); ok {
				selects = append(selects, "a."+ident(name)+" AS "+ident(requests.ProbabilityPrefix+class))
			}
		}
		// 37 and 100 have no common divisor, so each remainder occurs once in 100 requests in a row.
		parts = append(parts, fmt.Sprintf("SELECT %s FROM %s r JOIN %s a USING (%s) WHERE %s * 37 %% 100 >= %d AND %[5]s * 37 %% 100 < %[7]d AND epoch_us(r.%[8]s) >= %[9]d AND epoch_us(r.%[8]s) < %[10]d",
			strings.Join(selects, ", "), numbered, parquet(a.Path), ident(Number), "r."+ident(requestNumber), from, from+a.Weight, ident(requests.Time), s.Begin.UnixMicro(), s.End.UnixMicro()))
		from += a.Weight
	}
	if err := r.write(ctx, strings.Join(parts, " UNION ALL BY NAME "), s.To); err != nil {
		return nil, err
	}
	return r.counted(ctx, parquet(s.To), logTime)
}

// cut copies the rows of a table between two times.
func (r preparing) cut(ctx context.Context, c *Cut) (*Prepared, error) {
	at := "epoch_us(" + ident(c.Time) + ")"
	rows := "SELECT * FROM " + parquet(c.Table) + " WHERE true"
	if !c.Since.IsZero() {
		rows += fmt.Sprintf(" AND %s >= %d", at, c.Since.UnixMicro())
	}
	if !c.Before.IsZero() {
		rows += fmt.Sprintf(" AND %s < %d", at, c.Before.UnixMicro())
	}
	if c.To == "" {
		return r.counted(ctx, "("+rows+")", at)
	}
	if err := r.write(ctx, rows, c.To); err != nil {
		return nil, err
	}
	return r.counted(ctx, parquet(c.To), at)
}

// Missing returns the columns of a request that a table does not have.
func (t *Take) Missing(schema ir.Schema) (names []string) {
	lacks := func(name string) bool { return schema.Column(name) == nil && !slices.Contains(names, name) }
	for _, c := range t.Logged {
		if c.Log != requests.RequestID && lacks(c.Name) {
			names = append(names, c.Name)
		}
	}
	for _, name := range t.Inputs {
		if lacks(name) {
			names = append(names, name)
		}
	}
	return names
}
