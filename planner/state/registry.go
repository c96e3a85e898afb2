package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const (
	modelColumns = "model, version, digest, key, metrics, created"
	// modelsHere selects the versions of models that the environment has registered.
	modelsHere = "SELECT " + modelColumns + " FROM model JOIN registered USING (model, version) WHERE env = ?"
	// inService orders the versions of a model, the one in service first.
	inService = " ORDER BY rank DESC, version DESC"
)

// Models returns, by name, the version of each model that is in service.
func (s *Store) Models(ctx context.Context) ([]ModelVersion, error) {
	return s.models(ctx, modelsHere+" AND version = (SELECT version FROM registered r WHERE r.env = ? AND r.model = model.model"+inService+" LIMIT 1) ORDER BY model", s.env, s.env)
}

// ModelVersions returns the versions of a model that any environment has registered, newest
// first.
func (s *Store) ModelVersions(ctx context.Context, model string) ([]ModelVersion, error) {
	return s.models(ctx, "SELECT "+modelColumns+" FROM model WHERE model = ? ORDER BY version DESC", model)
}

// Incumbent returns the version of the model that the candidate has to beat, or nil if there
// is none: the last one in service besides the candidate, whether its artifact is there or lost.
// So the answer is the same before and after the candidate is registered, and whatever is lost;
// an older version never stands in for one that nothing can be compared with any more.
func (s *Store) Incumbent(ctx context.Context, model, candidate string) (*ModelVersion, error) {
	vs, err := s.models(ctx, modelsHere+" AND model = ? AND digest <> ?"+inService+" LIMIT 1", s.env, model, candidate)
	if err != nil || len(vs) == 0 {
		return nil, err
	}
	return &vs[0], nil
}

func (s *Store) models(ctx context.Context, query string, args ...any) ([]ModelVersion, error) {
	var out []ModelVersion
	err := s.each(ctx, func(rows *sql.Rows) error {
		var v ModelVersion
		var metrics string
		var created int64
		if err := rows.Scan(&v.Model, &v.Version, &v.Digest, &v.Key, &metrics, &created); err != nil {
			return err
		}
		v.Created = toTime(created)
		out = append(out, v)
		return decode(metrics, &out[len(out)-1].Metrics)
	}, query, args...)
	return out, err
}

const revisionColumns = "env, number, system, target, started, finished, outcome, ir, plan, tags, git, act, back_to, moves, standing, protection"

// Revisions returns the last revisions, newest first. A limit of 0 means no limit.
func (s *Store) Revisions(ctx context.Context, limit int) ([]Revision, error) {
	return s.revisions(ctx, "SELECT "+revisionColumns+" FROM revision WHERE env = ? ORDER BY number DESC LIMIT ?", s.env, noLimit(limit))
}

// Revision returns a revision by its number, or [ErrNotFound].
func (s *Store) Revision(ctx context.Context, number int) (*Revision, error) {
	rs, err := s.revisions(ctx, "SELECT "+revisionColumns+" FROM revision WHERE env = ? AND number = ?", s.env, number)
	if err != nil {
		return nil, err
	}
	if len(rs) == 0 {
		return nil, fmt.Errorf("revision %d: %w", number, ErrNotFound)
	}
	return &rs[0], nil
}

func (s *Store) revisions(ctx context.Context, query string, args ...any) ([]Revision, error) {
	var out []Revision
	err := s.each(ctx, func(rows *sql.Rows) error {
		var r Revision
		var outcome, tags, act, moves, protection string
		var started, finished int64
		if err := rows.Scan(&r.Env, &r.Number, &r.System, &r.Target, &started, &finished, &outcome, &r.IR, &r.Plan, &tags, &r.Commit, &act, &r.BackTo, &moves, &r.Deployed, &protection); err != nil {
			return err
		}
		r.Started, r.Finished, r.Outcome, r.Act = toTime(started), toTime(finished), Outcome(outcome), Act(act)
		if err := errors.Join(decode(moves, &r.Moves), decode(protection, &r.Protection)); err != nil {
			return err
		}
		out = append(out, r)
		return decode(tags, &out[len(out)-1].Tags)
	}, query, args...)
	return out, err
}

// Unstable returns, by name, the units that gave different results when run again.
func (s *Store) Unstable(ctx context.Context) (map[string]Unstable, error) {
	out := map[string]Unstable{}
	err := s.each(ctx, func(rows *sql.Rows) error {
		var u Unstable
		var ports string
		if err := rows.Scan(&u.Unit, &u.Definition, &u.Revision, &ports, &u.Env); err != nil {
			return err
		}
		if err := decode(ports, &u.Ports); err != nil {
			return err
		}
		out[u.Unit] = u
		return nil
	}, "SELECT unit, definition, revision, ports, env FROM unstable")
	return out, err
}
