package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// Meta returns the lineage of the state and the serial of the environment. A caller that
// reads it first can tell later, by the serial, whether the rest has changed.
func (s *Store) Meta(ctx context.Context) (Meta, error) {
	m := Meta{Env: s.env}
	err := s.row(ctx, "read state", []any{&m.Lineage, &m.Serial, &m.System},
		"SELECT lineage, coalesce((SELECT serial FROM environment WHERE env = ?), 0), system FROM meta", s.env)
	return m, err
}

// Current returns what is deployed, by unit.
func (s *Store) Current(ctx context.Context) (map[string]Current, error) {
	out := map[string]Current{}
	var c Current // outside of the loop, because Scan makes it escape
	var kind, handle, route string
	var since int64
	err := s.each(ctx, func(rows *sql.Rows) error {
		if err := rows.Scan(&c.Unit, &kind, &c.Definition, &c.Key, &c.Revision, &handle, &since, &c.Run, &route); err != nil {
			return err
		}
		c.Kind, c.Since, c.Handle, c.Route = ir.Kind(kind), toTime(since), nil, nil
		if err := errors.Join(decode(handle, &c.Handle), decode(route, &c.Route)); err != nil {
			return err
		}
		out[c.Unit] = c
		return nil
	}, "SELECT unit, kind, definition, key, revision, handle, since, run, route FROM current WHERE env = ?", s.env)
	return out, err
}

// CurrentRuns returns, by unit, the run whose result is current, with key, times, devices
// and outputs only. It leaves out units without such a run.
func (s *Store) CurrentRuns(ctx context.Context) (map[string]Run, error) {
	out := map[string]Run{}
	var unit, key, devices string // outside of the loop, because Scan makes them escape
	var id, started, finished int64
	var port, digest, kind sql.NullString
	var size, n sql.NullInt64
	err := s.each(ctx, func(rows *sql.Rows) error {
		if err := rows.Scan(&unit, &id, &key, &started, &finished, &devices, &port, &digest, &kind, &size, &n); err != nil {
			return err
		}
		r, ok := out[unit]
		if !ok {
			r = Run{ID: id, Key: key, Unit: unit, Outcome: Done, Started: toTime(started), Finished: toTime(finished), Outputs: map[string]artifact.Artifact{}}
			if err := decode(devices, &r.Devices); err != nil {
				return err
			}
			out[unit] = r
		}
		if port.Valid {
			r.Outputs[port.String] = artifact.Artifact{Digest: digest.String, Kind: kind.String, Size: size.Int64, Rows: n.Int64}
		}
		return nil
	}, `SELECT c.unit, r.id, r.key, r.started, r.finished, r.devices, o.port, o.digest, o.kind, o.size, o.rows
		FROM current c
		JOIN run r ON r.id = c.run
		LEFT JOIN output o ON o.run = r.id
		WHERE c.env = ?`, s.env)
	return out, err
}

// Unit returns the unit as it was applied, or [ErrNotFound].
func (s *Store) Unit(ctx context.Context, id string) (*ir.Unit, error) {
	var text string
	if err := s.row(ctx, "read unit "+id, []any{&text}, "SELECT ir FROM applied WHERE env = ? AND unit = ?", s.env, id); err != nil {
		return nil, err
	}
	u := new(ir.Unit)
	if err := json.Unmarshal([]byte(text), u); err != nil {
		return nil, fmt.Errorf("read unit %s: %w", id, err)
	}
	return u, nil
}

// Deployed returns what is current in the form that a revision records, given the system that it
// declares.
func (s *Store) Deployed(ctx context.Context, declared *ir.System) (Deployed, error) {
	current, err := s.Current(ctx)
	if err != nil {
		return nil, err
	}
	d := make(Deployed, len(current))
	for unit, c := range current {
		was := DeployedUnit{Key: c.Key}
		switch c.Kind {
		case ir.Job:
			was.Run = c.Run
		case ir.Service:
			if u := declared.Unit(unit); u != nil && u.Digest != c.Definition {
				applied, err := s.Unit(ctx, unit)
				if err != nil {
					return nil, err
				}
				was.Pinned = &Pinned{Unit: *applied, Run: c.Run}
			}
		}
		d[unit] = was
	}
	return d, nil
}

const runColumns = "id, key, unit, definition, revision, outcome, attempt, started, finished, inputs, metrics, cpu, peak_mem, error, log, devices, read_bytes, write_bytes, prepared, env"

// Run returns a run, or [ErrNotFound].
func (s *Store) Run(ctx context.Context, id int64) (*Run, error) {
	return s.oneRun(ctx, "SELECT "+runColumns+" FROM run WHERE id = ?", id)
}

// RunFor returns the last Done run of the key by that unit or, if it has none, by any
// unit; or [ErrNotFound]. Units with the same definition share keys, but may have
// different results.
func (s *Store) RunFor(ctx context.Context, unit, key string) (*Run, error) {
	return s.oneRun(ctx, "SELECT "+runColumns+" FROM run WHERE key = ? AND outcome = 'done' ORDER BY (unit = ?) DESC, id DESC LIMIT 1", key, unit)
}

// Runs returns the last runs of a unit, newest first, or of all units if unit is "". A
// limit of 0 means no limit.
func (s *Store) Runs(ctx context.Context, unit string, limit int) ([]Run, error) {
	where, args := "", []any{}
	if unit != "" {
		where, args = "WHERE unit = ?", append(args, unit)
	}
	return s.runs(ctx, "SELECT "+runColumns+" FROM run "+where+" ORDER BY id DESC LIMIT ?", append(args, noLimit(limit))...)
}

// LastAttempt returns the highest attempt of the key among the last runs of a unit, or 0
// if there is none.
func (s *Store) LastAttempt(ctx context.Context, unit, key string) (last int, err error) {
	err = s.row(ctx, "read runs of "+unit, []any{&last}, `SELECT coalesce(max(attempt), 0)
		FROM (SELECT key, attempt FROM run WHERE unit = ? ORDER BY id DESC LIMIT 20) AS r WHERE key = ?`, unit, key)
	return last, err
}

func (s *Store) oneRun(ctx context.Context, query string, args ...any) (*Run, error) {
	runs, err := s.runs(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("run %v: %w", args[0], ErrNotFound)
	}
	return &runs[0], nil
}

func (s *Store) runs(ctx context.Context, query string, args ...any) ([]Run, error) {
	var out []Run
	if err := s.each(ctx, func(rows *sql.Rows) error {
		r, err := scanRun(rows)
		out = append(out, r)
		return err
	}, query, args...); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, nil
	}
	at := make(map[int64]*Run, len(out))
	for i := range out {
		at[out[i].ID] = &out[i]
	}
	err := s.each(ctx, func(rows *sql.Rows) error {
		var run int64
		var port string
		var a artifact.Artifact
		if err := rows.Scan(&run, &port, &a.Digest, &a.Kind, &a.Size, &a.Rows); err != nil {
			return err
		}
		r := at[run]
		if r.Outputs == nil {
			r.Outputs = map[string]artifact.Artifact{}
		}
		r.Outputs[port] = a
		return nil
	}, "SELECT run, port, digest, kind, size, rows FROM output WHERE run IN "+idsIn, idSet(slices.Collect(maps.Keys(at))))
	return out, err
}

// idsIn selects the numbers of an [idSet] in a statement.
const idsIn = "(SELECT CAST(key AS BIGINT) FROM json_each(?))"

// idSet encodes a set of numbers for [idsIn].
func idSet(ids []int64) string {
	set := make(map[int64]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	b, _ := json.Marshal(set) // this cannot fail
	return string(b)
}

func scanRun(rows *sql.Rows, more ...any) (Run, error) {
	var r Run
	var outcome, inputs, metrics, devices string
	var started, finished, cpu int64
	dest := []any{&r.ID, &r.Key, &r.Unit, &r.Definition, &r.Revision, &outcome, &r.Attempt, &started, &finished,
		&inputs, &metrics, &cpu, &r.Usage.PeakMem, &r.Error, &r.Log, &devices, &r.Usage.ReadBytes, &r.Usage.WriteBytes, &r.Prepared, &r.Env}
	if err := rows.Scan(append(dest, more...)...); err != nil {
		return r, err
	}
	r.Outcome, r.Started, r.Finished, r.Usage.CPU = Outcome(outcome), toTime(started), toTime(finished), time.Duration(cpu)
	if err := decode(inputs, &r.Inputs); err != nil {
		return r, err
	}
	if err := decode(devices, &r.Devices); err != nil {
		return r, err
	}
	return r, decode(metrics, &r.Metrics)
}

// Estimates returns how long the last few Done runs of each unit took, newest
// first.
func (s *Store) Estimates(ctx context.Context) (map[string][]time.Duration, error) {
	out := map[string][]time.Duration{}
	err := s.each(ctx, func(rows *sql.Rows) error {
		var unit, last string
		if err := rows.Scan(&unit, &last); err != nil {
			return err
		}
		var ds []time.Duration
		for f := range strings.SplitSeq(last, ",") {
			n, err := strconv.ParseInt(f, 10, 64)
			if err != nil {
				return fmt.Errorf("times of %s: %w", unit, err)
			}
			ds = append(ds, time.Duration(n))
		}
		out[unit] = ds
		return nil
	}, "SELECT unit, last FROM took")
	return out, err
}

// PrepareTimes returns, by unit, how long it took to prepare what the unit needs, the
// last time that it had to be prepared.
func (s *Store) PrepareTimes(ctx context.Context) (map[string]time.Duration, error) {
	out := map[string]time.Duration{}
	err := s.each(ctx, func(rows *sql.Rows) error {
		var unit string
		var took time.Duration
		if err := rows.Scan(&unit, &took); err != nil {
			return err
		}
		out[unit] = took
		return nil
	}, "SELECT unit, prepared FROM took WHERE prepared > 0")
	return out, err
}

const (
	// usedRuns is how many runs of a unit count for its usage.
	usedRuns = 10
	// longRun is how long a run must take for its CPU usage to count. A shorter one
	// mostly starts a program.
	longRun = 10 * time.Second
)

// Used returns, by unit, what its last successful runs under the same definition used. It
// takes the definition digest of each unit, and leaves out units whose usage is unknown.
func (s *Store) Used(ctx context.Context, definitions map[string]string) (map[string]Used, error) {
	if len(definitions) == 0 {
		return nil, nil
	}
	units, err := encode(false, definitions)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Used, len(definitions))
	err = s.each(ctx, func(rows *sql.Rows) error {
		var unit string
		var u Used
		if err := rows.Scan(&unit, &u.Runs, &u.Memory, &u.Long, &u.MilliCPU); err != nil {
			return err
		}
		out[unit] = u
		return nil
	}, `WITH u AS (
			SELECT key AS unit, value AS definition,
				coalesce((SELECT id FROM run WHERE unit = e.key ORDER BY id DESC LIMIT 1 OFFSET ?1), 0) AS oldest
			FROM json_each(?2) e)
		SELECT u.unit, count(*) FILTER (WHERE peak_mem > 0), max(peak_mem),
			count(*) FILTER (WHERE cpu > 0 AND finished - started >= ?3),
			coalesce(max(cpu * 1000 / (finished - started)) FILTER (WHERE finished - started >= ?3), 0)
		FROM u JOIN run ON run.unit = u.unit AND run.id >= u.oldest
		WHERE run.definition = u.definition AND run.outcome IN ('done', 'audited', 'pruned')
		GROUP BY u.unit`, usedRuns-1, units, longRun.Nanoseconds())
	return out, err
}

// DoneInputs returns what each successful run of some units has read: digests by port.
func (s *Store) DoneInputs(ctx context.Context, units []string) (all []map[string]string, err error) {
	wanted := make(map[string]string, len(units))
	for _, u := range units {
		wanted[u] = ""
	}
	list, err := encode(false, wanted)
	if err != nil {
		return nil, err
	}
	err = s.each(ctx, func(rows *sql.Rows) error {
		var text string
		if err := rows.Scan(&text); err != nil {
			return err
		}
		inputs := map[string]string{}
		all = append(all, inputs)
		return decode(text, &inputs)
	}, "WITH u AS (SELECT key AS unit FROM json_each(?) e) SELECT inputs FROM u JOIN run ON run.unit = u.unit WHERE outcome IN ('done', 'pruned')", list)
	return all, err
}

// Pending returns what began and is not known to have ended, oldest first.
func (s *Store) Pending(ctx context.Context) ([]Pending, error) {
	var out []Pending
	err := s.each(ctx, func(rows *sql.Rows) error {
		var p Pending
		var handle string
		var err error
		if p.Run, err = scanRun(rows, &handle); err != nil {
			return err
		}
		out = append(out, p)
		return decode(handle, &out[len(out)-1].Handle)
	}, "SELECT "+runColumns+", handle FROM pending JOIN run ON run.id = pending.run WHERE env = ? ORDER BY run.id", s.env)
	return out, err
}

// ArtifactCreated returns when an artifact was first made, or [ErrNotFound].
func (s *Store) ArtifactCreated(ctx context.Context, digest string) (time.Time, error) {
	var at sql.NullInt64
	doing := "read artifact " + digest
	err := s.row(ctx, doing, []any{&at}, "SELECT min(run.finished) FROM output JOIN run ON run.id = output.run WHERE digest = ? AND outcome = 'done'", digest)
	if err == nil && !at.Valid {
		err = s.explain(doing, sql.ErrNoRows)
	}
	return toTime(at.Int64), err
}

// Artifact returns what is recorded about an artifact, or [ErrNotFound].
func (s *Store) Artifact(ctx context.Context, digest string) (artifact.Artifact, error) {
	a := artifact.Artifact{Digest: digest}
	err := s.row(ctx, "read artifact "+digest, []any{&a.Kind, &a.Size, &a.Rows}, "SELECT kind, size, rows FROM output WHERE digest = ? LIMIT 1", digest)
	return a, err
}

// row reads a single row, or returns [ErrNotFound].
func (s *Store) row(ctx context.Context, doing string, into []any, query string, args ...any) error {
	return s.explain(doing, s.try(ctx, func(ctx context.Context) error {
		return s.read.QueryRowContext(ctx, query, args...).Scan(into...)
	}))
}

func (s *Store) each(ctx context.Context, row func(*sql.Rows) error, query string, args ...any) error {
	return s.explain("read state", s.try(ctx, func(ctx context.Context) error {
		rows, err := s.read.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		delivered := false
		for rows.Next() {
			delivered = true
			if err := row(rows); err != nil {
				return err
			}
		}
		if err = rows.Err(); err != nil && delivered {
			err = &tornError{err} // no row may be reported twice
		}
		return err
	}))
}

func (s *Store) explain(doing string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: %w", doing, ErrNotFound)
	}
	return s.database.explain(doing, err)
}

func noLimit(n int) int {
	if n <= 0 {
		return math.MaxInt64
	}
	return n
}

func toTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func fromTime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// decode decodes a JSON column; an empty one leaves v unchanged.
func decode(text string, v any) error {
	if text == "" {
		return nil
	}
	return json.Unmarshal([]byte(text), v)
}

// encode is the inverse of decode. Encoding the stored types cannot fail, except for a
// metric that is not a number.
func encode(empty bool, v any) (string, error) {
	if empty {
		return "", nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// RunsOf returns, in the order they began, the runs that ended in a revision, or began in
// it and are not known to have ended.
func (s *Store) RunsOf(ctx context.Context, revision int) ([]Run, error) {
	return s.runs(ctx, "SELECT "+runColumns+" FROM run WHERE env = ? AND revision = ? ORDER BY id", s.env, revision)
}
