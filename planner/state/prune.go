package state

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/planner/artifact"
)

// Ledger returns all runs in the order they began, with what others may refer to, but
// without inputs, metrics and errors.
func (s *Store) Ledger(ctx context.Context) ([]Run, error) {
	var out []Run
	err := s.each(ctx, func(rows *sql.Rows) error {
		var r Run
		var outcome string
		var port, digest, kind sql.NullString
		var size, n sql.NullInt64
		if err := rows.Scan(&r.ID, &r.Key, &r.Unit, &r.Env, &r.Revision, &outcome, &r.Attempt, &r.Log, &port, &digest, &kind, &size, &n); err != nil {
			return err
		}
		if len(out) == 0 || out[len(out)-1].ID != r.ID {
			r.Outcome, r.Outputs = Outcome(outcome), map[string]artifact.Artifact{}
			out = append(out, r)
		}
		if port.Valid {
			out[len(out)-1].Outputs[port.String] = artifact.Artifact{Digest: digest.String, Kind: kind.String, Size: size.Int64, Rows: n.Int64}
		}
		return nil
	}, `SELECT r.id, r.key, r.unit, r.env, r.revision, r.outcome, r.attempt, r.log, o.port, o.digest, o.kind, o.size, o.rows
		FROM run r LEFT JOIN output o ON o.run = r.id ORDER BY r.id`)
	return out, err
}

// Registry returns the versions of all models that the environment has registered, by model.
// The version in service comes first.
func (s *Store) Registry(ctx context.Context) ([]ModelVersion, error) {
	return s.models(ctx, modelsHere+" ORDER BY model, rank DESC, version DESC", s.env)
}

// A Pruning lists what to remove from the state.
type Pruning struct {
	Before map[string]int // by environment: revisions before that number
	Runs   []int64        // runs to remove completely
	Strip  []int64        // runs of which only the usage is kept, see [Pruned]
	Models []ModelVersion
	// Acts are the numbers of acts of loops, by environment and loop.
	Acts map[string]map[string][]int64
	// MeasuredBefore removes the measurements made before that time, except for the newest of each
	// monitor. The zero time removes none.
	MeasuredBefore time.Time
}

// oldMeasurements selects what [Pruning].MeasuredBefore removes, given that time. The one with the
// largest number stays, so that no number is used twice.
const oldMeasurements = ` FROM measurement WHERE made < ?
	AND made < (SELECT max(made) FROM measurement m WHERE m.env = measurement.env AND m.monitor = measurement.monitor)
	AND number < (SELECT max(number) FROM measurement m WHERE m.env = measurement.env AND m.monitor = measurement.monitor)`

// OldMeasurements returns how many measurements of all environments a pruning removes that were made
// before a time.
func (s *Store) OldMeasurements(ctx context.Context, before time.Time) (n int, err error) {
	err = s.row(ctx, "count measurements", []any{&n}, "SELECT count(*)"+oldMeasurements, fromTime(before))
	return n, err
}

// RecordedLoops returns the loops of the environment that have a record, sorted.
func (s *Store) RecordedLoops(ctx context.Context) (all []string, err error) {
	err = s.each(ctx, func(rows *sql.Rows) error {
		var loop string
		if err := rows.Scan(&loop); err != nil {
			return err
		}
		all = append(all, loop)
		return nil
	}, "SELECT DISTINCT loop FROM loop_act WHERE env = ? ORDER BY loop", s.env)
	return all, err
}

// Prune removes from the state what p lists, completely or not at all. It needs the lease of
// [All], unless there is one environment. If there is nothing to remove it changes nothing, not even the serial. It also removes what is
// known about units that are neither current nor have a run.
func (l *Lease) Prune(ctx context.Context, p Pruning) error {
	gone, strip := idSet(append(slices.Clone(p.Runs), p.Strip...)), idSet(p.Strip)
	return l.change(ctx, true, "prune the state", func(ctx context.Context, tx *sql.Tx) error {
		var changed int64
		do := func(query string, args ...any) error {
			n, err := affected(tx.ExecContext(ctx, query, args...))
			changed += n
			return err
		}
		for _, v := range p.Models {
			for _, table := range []string{"registered", "model"} {
				if err := do("DELETE FROM "+table+" WHERE model = ? AND version = ?", v.Model, v.Version); err != nil {
					return err
				}
			}
		}
		for env, before := range p.Before {
			if err := do("DELETE FROM revision WHERE env = ? AND number < ?", env, before); err != nil {
				return err
			}
		}
		for _, q := range []struct {
			query string
			args  []any
		}{
			{"DELETE FROM output WHERE run IN " + idsIn, []any{gone}},
			{`UPDATE run SET outcome = ?, inputs = '', metrics = '', error = '', log = '', devices = ''
				WHERE outcome <> ? AND id IN ` + idsIn, []any{Pruned, Pruned, strip}},
			{"DELETE FROM run WHERE id IN " + idsIn + " AND id NOT IN " + idsIn, []any{gone, strip}},
			{"DELETE FROM took WHERE unit NOT IN (SELECT unit FROM current) AND unit NOT IN (SELECT unit FROM run)", nil},
			{"DELETE FROM unstable WHERE unit NOT IN (SELECT unit FROM current) AND unit NOT IN (SELECT unit FROM run)", nil},
		} {
			if err := do(q.query, q.args...); err != nil {
				return err
			}
		}
		for env, loops := range p.Acts {
			for loop, numbers := range loops {
				if err := do("DELETE FROM loop_act WHERE env = ? AND loop = ? AND number IN "+idsIn, env, loop, idSet(numbers)); err != nil {
					return err
				}
			}
		}
		if !p.MeasuredBefore.IsZero() {
			if err := do("DELETE"+oldMeasurements, fromTime(p.MeasuredBefore)); err != nil {
				return err
			}
		}
		if changed == 0 {
			return errSame
		}
		return nil
	})
}
