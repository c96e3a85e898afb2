package state

import (
	"context"
	"database/sql"
	"slices"

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
		if changed == 0 {
			return errSame
		}
		return nil
	})
}
