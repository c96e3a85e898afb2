package measure

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// A Question is a measurement of tables, for a process that has DuckDB. Exactly one of Drift, Quality
// and Estimate is set.
type Question struct {
	// Tables are Parquet files by the name of their table. Several files are one table; a column that
	// one of them lacks is NULL there. Nothing else can be read.
	Tables   map[string][]string `json:"tables"`
	Drift    *DriftQuestion      `json:"drift,omitempty"`
	Quality  *QualityQuestion    `json:"quality,omitempty"`
	Estimate *EstimateQuestion   `json:"estimate,omitempty"`
}

// A DriftQuestion asks for [Drift]. Reference and Current are names of tables, or SELECTs over them.
type DriftQuestion struct {
	Reference string    `json:"reference"`
	Current   string    `json:"current"`
	Spec      DriftSpec `json:"spec"`
}

// A QualityQuestion asks for [Quality]. Rows is the name of a table, or a SELECT over tables.
type QualityQuestion struct {
	Rows string      `json:"rows"`
	Spec QualitySpec `json:"spec"`
}

// An EstimateQuestion asks for [Estimate]. Reference and Current are names of tables, or SELECTs over
// them.
type EstimateQuestion struct {
	Reference string       `json:"reference"`
	Current   string       `json:"current"`
	Spec      EstimateSpec `json:"spec"`
}

// A Database has the tables of a question as views. Check refuses a text that is not one SELECT.
type Database struct {
	DB    *sql.DB
	Check func(query string) (string, error)
}

// Answer measures what a question asks. Each of its SELECTs is run once: a measurement reads its rows
// several times.
func (q Question) Answer(ctx context.Context, d Database) (*Report, error) {
	var r *Report
	stored := 0
	// store returns the name of a table with the rows of a relation.
	store := func(relation string) (string, error) {
		if !query.MatchString(relation) {
			return ident(relation), nil
		}
		text, err := d.Check(relation)
		if err != nil {
			return "", err
		}
		stored++
		name := fmt.Sprintf(`"measured rows %d"`, stored)
		_, err = d.DB.ExecContext(ctx, "CREATE TABLE "+name+" AS "+text)
		return name, err
	}
	both := func(reference, current string, f func(reference, current string) (*Report, error)) (err error) {
		if reference, err = store(reference); err != nil {
			return fmt.Errorf("read the reference: %w", err)
		}
		if current, err = store(current); err != nil {
			return fmt.Errorf("read the window: %w", err)
		}
		r, err = f(reference, current)
		return err
	}
	switch {
	case q.Drift != nil && q.Quality == nil && q.Estimate == nil:
		return r, both(q.Drift.Reference, q.Drift.Current, func(reference, current string) (*Report, error) {
			return Drift(ctx, d.DB, reference, current, q.Drift.Spec)
		})
	case q.Estimate != nil && q.Drift == nil && q.Quality == nil:
		return r, both(q.Estimate.Reference, q.Estimate.Current, func(reference, current string) (*Report, error) {
			return Estimate(ctx, d.DB, reference, current, q.Estimate.Spec)
		})
	case q.Quality != nil && q.Drift == nil && q.Estimate == nil:
		rows, err := store(q.Quality.Rows)
		if err != nil {
			return nil, fmt.Errorf("read the window: %w", err)
		}
		return Quality(ctx, d.DB, rows, q.Quality.Spec)
	}
	return nil, errors.New("a question asks for one of drift, quality and estimate")
}

// Serve answers one question, which it reads as JSON, with a report as JSON. open opens the tables.
func Serve(ctx context.Context, in io.Reader, out io.Writer, open func(ctx context.Context, tables map[string][]string) (Database, func(), error)) error {
	var q Question
	if err := json.NewDecoder(in).Decode(&q); err != nil {
		return fmt.Errorf("read the question: %w", err)
	}
	d, done, err := open(ctx, q.Tables)
	if err != nil {
		return err
	}
	defer done()
	r, err := q.Answer(ctx, d)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

// Ask has a program answer a question: `tenon-duck measure`, at a path. An error of the program is its
// message.
func Ask(ctx context.Context, program string, q Question) (*Report, error) {
	b, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	var out, log bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "measure")
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = bytes.NewReader(b), &out, &log, 5*time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if says, ok := strings.CutPrefix(strings.TrimSpace(log.String()), "tenon: "); ok {
			return nil, errors.New(says)
		}
		return nil, fmt.Errorf("measure: %w: %s", err, strings.TrimSpace(log.String()))
	}
	var r Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	return &r, nil
}
