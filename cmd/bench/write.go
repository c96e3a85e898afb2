package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

const (
	writerArg  = "write-state" // makes the program write to a state, and nothing else
	batch      = 200           // runs recorded by one process
	writeRuns  = 10            // processes, at least
	writeRatio = 1.2           // what still counts as the same
)

// measureWrite measures what it takes to record a run, in a state of many units
// beside one of few.
func (b *bench) measureWrite(ctx context.Context) error {
	const name = "record a run"
	if !b.wants(name, b.many) {
		return nil
	}
	b.say(name, b.many)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	writer := func(n int) (command, error) {
		dir := b.path(fmt.Sprintf("state-%d", n))
		return command{args: []string{self, writerArg, dir, strconv.Itoa(n)}, took: time.ParseDuration}, fillState(ctx, dir, n)
	}
	many, err := writer(b.many)
	if err != nil {
		return err
	}
	few, err := writer(b.few)
	if err != nil {
		return err
	}
	tenon, other, err := b.versus(ctx, writeRuns, many, few)
	if err != nil {
		return err
	}
	row := tableRow{Case: name, Size: b.many, Of: "units recorded", Tenon: tenon, Beside: fmt.Sprintf("%s units", thousands(b.few)), Other: &other,
		Goals: []goal{ratioGoal(tenon, other, writeRatio)}}
	return b.add(ctx, row, many)
}

// writeBatch records runs of any of the n units of a state, and prints how long
// one took, checkpoints of the database and all.
func writeBatch(ctx context.Context, dir, units string, out io.Writer) error {
	n, err := strconv.Atoi(units)
	if err != nil {
		return err
	}
	return withLease(ctx, dir, func(lease *state.Lease) error {
		stop, err := profileSelf()
		if err != nil {
			return err
		}
		defer stop()
		start := time.Now()
		for range batch {
			u := recordedUnit(rand.IntN(n))
			if err := recordRun(ctx, lease, recordedRun(&u, strconv.FormatUint(rand.Uint64(), 10)), &u); err != nil {
				return err
			}
		}
		_, err = fmt.Fprint(out, time.Since(start)/batch)
		return err
	})
}

// profileSelf starts the profile of this program if one is requested.
func profileSelf() (stop func(), err error) {
	path := os.Getenv(profileVariable)
	if path == "" {
		return func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return pprof.StopCPUProfile, pprof.StartCPUProfile(f)
}

// recordedUnit is a feature with ten columns.
func recordedUnit(i int) ir.Unit {
	id := fmt.Sprintf("features/t%06d", i)
	var schema ir.Schema
	for c := range 10 {
		schema = append(schema, ir.Column{Name: fmt.Sprintf("column_%d", c), Type: "float64"})
	}
	return ir.Unit{
		ID: id, Entity: id, Kind: ir.Job, Component: "feature.sql", Digest: ir.Sum([]byte(id)),
		Params:  json.RawMessage(`{"sql":"SELECT id, seen, amount, pieces, ratio, kind, open, day, label, score FROM a"}`),
		Inputs:  []ir.Input{{Port: "a", Unit: "sources/t000000", From: "out", Kind: ir.Table}},
		Outputs: []ir.Output{{Port: "out", Kind: ir.Table, Schema: schema}},
	}
}

func recordedRun(u *ir.Unit, version string) state.Run {
	inputs := map[string]string{"a": ir.Sum([]byte(version))}
	return state.Run{
		Key: ir.RunKey(u.Digest, inputs), Unit: u.ID, Definition: u.Digest, Revision: 1, Attempt: 1, Inputs: inputs,
		Outputs: map[string]artifact.Artifact{"out": {Digest: ir.Sum([]byte(u.ID + version)), Kind: "table", Size: 1000, Rows: dataRows}},
		Log:     "runs/features-t000000-0123456789ab-1/log",
	}
}

// fillState makes a state of n units that were run once. The first is recorded;
// its rows are copied for the others, because every run that is recorded waits for the disk.
func fillState(ctx context.Context, dir string, n int) (err error) {
	if err := recordFirst(ctx, dir); err != nil {
		return err
	}
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "state.db")+"?_synchronous=OFF")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	for _, table := range []string{"run", "output", "current", "applied", "took"} {
		if err := copyRow(ctx, tx, table, n); err != nil {
			return fmt.Errorf("copy the rows of %s: %w", table, err)
		}
	}
	return tx.Commit()
}

func recordFirst(ctx context.Context, dir string) error {
	return withLease(ctx, dir, func(lease *state.Lease) error {
		if _, err := lease.BeginRevision(ctx, state.Revision{System: "bench", Target: "local"}); err != nil {
			return err
		}
		u := recordedUnit(0)
		return recordRun(ctx, lease, recordedRun(&u, ""), &u)
	})
}

// copyRow copies the only row of a table for the units from 1 to n-1. What names
// a unit, a run, or a content is made its own; all else stays.
func copyRow(ctx context.Context, tx *sql.Tx, table string, n int) error {
	columns, first, err := onlyRow(ctx, tx, table)
	if err != nil {
		return err
	}
	insert, err := tx.PrepareContext(ctx, "INSERT INTO "+table+"("+strings.Join(columns, ", ")+") VALUES (?"+strings.Repeat(", ?", len(columns)-1)+")")
	if err != nil {
		return err
	}
	defer insert.Close()
	zero := recordedUnit(0)
	for i := 1; i < n; i++ {
		u := recordedUnit(i)
		r := recordedRun(&u, "")
		values := slices.Clone(first)
		for c, name := range columns {
			switch name {
			case "id", "run":
				values[c] = first[c].(int64) + int64(i)
			case "key":
				values[c] = r.Key
			case "definition":
				values[c] = u.Digest
			case "digest":
				values[c] = r.Outputs["out"].Digest
			case "unit", "ir":
				values[c] = strings.ReplaceAll(first[c].(string), zero.ID, u.ID)
			}
		}
		if _, err := insert.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
	return nil
}

func onlyRow(ctx context.Context, tx *sql.Tx, table string) (columns []string, values []any, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT * FROM "+table)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	if columns, err = rows.Columns(); err != nil {
		return nil, nil, err
	}
	values = make([]any, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	if !rows.Next() {
		return nil, nil, errors.Join(errors.New("it is empty"), rows.Err())
	}
	return columns, values, rows.Scan(into...)
}
