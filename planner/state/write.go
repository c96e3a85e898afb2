package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// keptTimes is how many runs an estimate is based on.
const keptTimes = 5

// errSame ends a transaction that has nothing to change.
var errSame = errors.New("nothing to change")

// A write is one change of the state.
type write struct {
	ctx   context.Context
	doing string
	f     func(ctx context.Context, tx *sql.Tx) error
	err   error // set once it is made
}

// change makes one write: it checks the fencing token, raises the serial and commits.
// With durable set it returns once everything is on disk. Writes that arrive at the same
// time share a transaction and a sync. f may be called more than once; it may only return
// [errSame] if it has changed nothing.
func (l *Lease) change(ctx context.Context, durable bool, doing string, f func(ctx context.Context, tx *sql.Tx) error) error {
	w := &write{ctx: ctx, doing: doing, f: f}
	l.writes.Do(w)
	if w.err == nil && durable {
		w.err = l.s.sync()
	}
	if w.err != nil && !errors.Is(w.err, errSame) {
		if errors.Is(w.err, ErrFenced) {
			l.fence()
		}
		return l.s.explain(doing, w.err)
	}
	return nil
}

// refused reports whether the write itself failed, as opposed to the transaction around
// it.
func (w *write) refused() bool { return w.err != nil && !errors.Is(w.err, errSame) }

// make makes writes in one transaction. If one of them is refused, it makes each in a
// transaction of its own, so that no other write fails with it.
func (l *Lease) make(writes []*write) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	wanted := writes[:0:0]
	for _, w := range writes {
		l.s.notify(w.doing, false)
		defer l.s.notify(w.doing, true)
		if w.err = context.Cause(w.ctx); w.err == nil {
			wanted = append(wanted, w)
		}
	}
	if len(wanted) > 1 && !l.together(context.WithoutCancel(wanted[0].ctx), wanted) {
		return
	}
	for _, w := range wanted {
		l.together(w.ctx, []*write{w})
	}
}

// together makes writes in one transaction. If that fails, it reports whether one of them
// was refused; in that case none was made.
func (l *Lease) together(ctx context.Context, writes []*write) (refused bool) {
	ours := false // the commit with an unknown result is of these writes
	err := l.s.try(ctx, func(ctx context.Context) error { return l.tx(ctx, writes, &ours) })
	switch {
	case err == nil || errors.Is(err, errSame):
		return false
	case slices.ContainsFunc(writes, (*write).refused):
		return true
	}
	for _, w := range writes {
		w.err = err
	}
	return false
}

// tx makes writes in a transaction. If a commit ends with an error, the serial shows
// whether it succeeded: no other process raises it while the lease is valid, and begin
// waits until the earlier transaction is over. If that commit succeeded and was ours,
// nothing is left to do.
func (l *Lease) tx(ctx context.Context, writes []*write, ours *bool) error {
	for _, w := range writes {
		w.err = nil
	}
	tx, err := l.s.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	var lineage string
	var serial, total int64
	var token sql.NullInt64
	if err := tx.QueryRowContext(ctx, `SELECT lineage, serial, coalesce((SELECT serial FROM environment WHERE env = ?1), 0), (SELECT token FROM lease WHERE env = ?1)
		FROM meta`, l.s.env).Scan(&lineage, &total, &serial, &token); err != nil {
		return err
	}
	if token.Int64 != l.token {
		return ErrFenced
	}
	if l.unsure > 0 && serial == l.serial+l.unsure {
		l.serial, l.total, l.unsure = serial, total, 0
		if *ours {
			return nil
		}
	}
	if lineage != l.lineage || serial != l.serial || total < l.total {
		return errReplaced
	}
	l.unsure, *ours = 0, false
	var changes int64
	for _, w := range writes {
		switch w.err = w.f(ctx, tx); {
		case w.err == nil:
			changes++
		case !errors.Is(w.err, errSame):
			return w.err
		}
	}
	if changes == 0 {
		return errSame
	}
	if _, err := tx.ExecContext(ctx, "UPDATE meta SET serial = serial + ?", changes); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE environment SET serial = serial + ?1 WHERE env = ?2 OR ?2 = ?3", changes, l.s.env, All); err != nil {
		return err
	}
	l.unsure, *ours = changes, true
	if err := tx.Commit(); err != nil {
		return err
	}
	l.serial, l.total, l.unsure = serial+changes, total+changes, 0
	return nil
}

// BeginRevision records that an apply has begun and returns its number. If the end of the
// previous one is not recorded, it records that one as killed. It ignores the number and
// outcome of r.
func (l *Lease) BeginRevision(ctx context.Context, r Revision) (int, error) {
	tags, err := encode(len(r.Tags) == 0, r.Tags)
	if err != nil {
		return 0, fmt.Errorf("begin revision: %w", err)
	}
	moves, err := encode(len(r.Moves) == 0, r.Moves)
	if err != nil {
		return 0, fmt.Errorf("begin revision: %w", err)
	}
	protection, err := encode(r.Protection == nil, r.Protection)
	if err != nil {
		return 0, fmt.Errorf("begin revision: %w", err)
	}
	if r.Act == "" {
		r.Act = Apply
	}
	var number int
	err = l.change(ctx, true, "begin revision", func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE revision SET outcome = ? WHERE env = ? AND outcome = ? AND number = (SELECT max(number) FROM revision WHERE env = ?)", Killed, l.s.env, Started, l.s.env); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `INSERT INTO revision(`+revisionColumns+`)
			SELECT ?, coalesce(max(number), 0) + 1, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, '', ? FROM revision WHERE env = ? RETURNING number`,
			l.s.env, r.System, r.Target, fromTime(orNow(r.Started)), Started, r.IR, r.Plan, tags, r.Commit, r.Act, r.BackTo, moves, protection, l.s.env).Scan(&number); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE meta SET system = ?", r.System)
		return err
	})
	if err == nil {
		err = l.noteHome()
	}
	return number, err
}

// EndRevision records how an apply ended. deployed is the digest of what is then current,
// or empty.
func (l *Lease) EndRevision(ctx context.Context, number int, outcome Outcome, deployed string) error {
	return l.change(ctx, true, fmt.Sprintf("end revision %d", number), func(ctx context.Context, tx *sql.Tx) error {
		return one(tx.ExecContext(ctx, "UPDATE revision SET finished = ?, outcome = ?, standing = ? WHERE env = ? AND number = ?", fromTime(time.Now()), outcome, deployed, l.s.env, number))
	})
}

// Begin journals that a run is about to be handed to an executor, and returns its id. It
// ignores ID, outcome and end of r. It returns a [LentError] if another environment holds one of
// its devices, unless it is the end of a service that has them.
func (l *Lease) Begin(ctx context.Context, r Run) (int64, error) { return l.begin(ctx, r, false) }

// BeginAlone is Begin for a job. It returns an [ElsewhereRunError] if the holder of the lock of
// another environment runs the same key now.
func (l *Lease) BeginAlone(ctx context.Context, r Run) (int64, error) { return l.begin(ctx, r, true) }

func (l *Lease) begin(ctx context.Context, r Run, alone bool) (int64, error) {
	inputs, err := encode(len(r.Inputs) == 0, r.Inputs)
	if err != nil {
		return 0, fmt.Errorf("begin run of %s: %w", r.Unit, err)
	}
	devices, err := encode(len(r.Devices) == 0, r.Devices)
	if err != nil {
		return 0, fmt.Errorf("begin run of %s: %w", r.Unit, err)
	}
	var id int64
	err = l.change(ctx, false, "begin run of "+r.Unit, func(ctx context.Context, tx *sql.Tx) error {
		if alone {
			if err := l.alone(ctx, tx, r.Key); err != nil {
				return err
			}
		}
		if r.Attempt > 0 {
			if err := l.lend(ctx, tx, r); err != nil {
				return err
			}
		}
		if err := tx.QueryRowContext(ctx, `INSERT INTO run(key, unit, definition, revision, outcome, attempt, started, finished, inputs, metrics, cpu, peak_mem, error, log, devices, env)
			VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, '', 0, 0, '', ?, ?, ?) RETURNING id`,
			r.Key, r.Unit, r.Definition, r.Revision, Started, r.Attempt, fromTime(orNow(r.Started)), inputs, r.Log, devices, l.s.env).Scan(&id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO pending(run, handle) VALUES (?, '')", id)
		return err
	})
	return id, err
}

// alone returns an [ElsewhereRunError] if another environment runs the key. What a dead holder
// left is not waited for.
func (l *Lease) alone(ctx context.Context, tx *sql.Tx, key string) error {
	rows, err := tx.QueryContext(ctx, `SELECT run.env, lease.expires, lease.holder FROM pending JOIN run ON run.id = pending.run JOIN lease ON lease.env = run.env
		WHERE run.key = ? AND run.env <> ? AND run.attempt > 0`, key, l.s.env)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var env, text string
		var expires int64
		if err := rows.Scan(&env, &expires, &text); err != nil {
			return err
		}
		if alive, err := l.s.lives(toTime(expires), text); err != nil {
			return err
		} else if alive {
			return &ElsewhereRunError{env}
		}
	}
	return rows.Err()
}

// SetHandle records how the executor finds again what it started for a run.
func (l *Lease) SetHandle(ctx context.Context, run int64, h Handle) error {
	handle, err := encode(false, h)
	if err != nil {
		return fmt.Errorf("handle of run %d: %w", run, err)
	}
	return l.change(ctx, false, fmt.Sprintf("record handle of run %d", run), func(ctx context.Context, tx *sql.Tx) error {
		return one(tx.ExecContext(ctx, "UPDATE pending SET handle = ? WHERE run = ?", handle, run))
	})
}

// Finish records the end of a run: outcome, outputs, metrics, usage, and the revision
// that saw it end. If the run is Done and c is not nil, the same transaction makes c
// current for the unit; u is the unit as it was applied.
func (l *Lease) Finish(ctx context.Context, r Run, u *ir.Unit, c *Current) error {
	if r.Outcome != Done && r.Outcome != Failure && r.Outcome != Canceled && r.Outcome != Audited {
		return fmt.Errorf("finish run %d: %q is not an outcome", r.ID, r.Outcome)
	}
	metrics, err := encode(len(r.Metrics) == 0, r.Metrics)
	if err != nil {
		return fmt.Errorf("finish run %d: %w", r.ID, err)
	}
	r.Finished = orNow(r.Finished)
	return l.change(ctx, true, fmt.Sprintf("finish run %d of %s", r.ID, r.Unit), func(ctx context.Context, tx *sql.Tx) error {
		var began int64
		if err := tx.QueryRowContext(ctx, "UPDATE run SET revision = ?, outcome = ?, started = coalesce(?, started), finished = ?, metrics = ?, cpu = ?, peak_mem = ?, read_bytes = ?, write_bytes = ?, prepared = ?, error = ?, log = coalesce(?, log) WHERE id = ? RETURNING started",
			r.Revision, r.Outcome, orNull(fromTime(r.Started)), fromTime(r.Finished), metrics, r.Usage.CPU.Nanoseconds(), r.Usage.PeakMem, r.Usage.ReadBytes, r.Usage.WriteBytes, r.Prepared.Nanoseconds(), asText(r.Error), orNull(r.Log), r.ID).Scan(&began); err != nil {
			return err
		}
		if err := one(tx.ExecContext(ctx, "DELETE FROM pending WHERE run = ?", r.ID)); err != nil {
			return fmt.Errorf("it has ended already: %w", err)
		}
		for _, port := range slices.Sorted(maps.Keys(r.Outputs)) {
			a := r.Outputs[port]
			if _, err := tx.ExecContext(ctx, "INSERT INTO output(run, port, digest, kind, size, rows) VALUES (?, ?, ?, ?, ?, ?)",
				r.ID, port, a.Digest, a.Kind, a.Size, a.Rows); err != nil {
				return err
			}
		}
		if r.Outcome != Done {
			return nil
		}
		if err := addTime(ctx, tx, r.Unit, fromTime(r.Finished)-began, r.Prepared); err != nil {
			return err
		}
		if c == nil {
			return nil
		}
		current := *c
		current.Run = r.ID
		_, err := l.makeCurrent(ctx, tx, u, current, true)
		return err
	})
}

func addTime(ctx context.Context, tx *sql.Tx, unit string, took int64, prepared time.Duration) error {
	var last string
	err := tx.QueryRowContext(ctx, "SELECT last FROM took WHERE unit = ?", unit).Scan(&last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	times := []string{strconv.FormatInt(took, 10)}
	if last != "" {
		times = append(times, strings.Split(last, ",")...)
	}
	times = times[:min(len(times), keptTimes)]
	_, err = tx.ExecContext(ctx, `INSERT INTO took(unit, last, prepared) VALUES (?, ?, ?) ON CONFLICT(unit) DO UPDATE
		SET last = excluded.last, prepared = CASE WHEN excluded.prepared > 0 THEN excluded.prepared ELSE took.prepared END`,
		unit, strings.Join(times, ","), prepared.Nanoseconds())
	return err
}

// MakeCurrent records that an earlier result is current for the unit. If it is current already,
// nothing changes, not even the serial.
func (l *Lease) MakeCurrent(ctx context.Context, u *ir.Unit, c Current) error {
	return l.change(ctx, true, "record "+c.Unit, func(ctx context.Context, tx *sql.Tx) error {
		changed, err := l.makeCurrent(ctx, tx, u, c, false)
		if err == nil && !changed {
			return errSame
		}
		return err
	})
}

// makeCurrent makes c current for u. Without always, a difference in revision and time alone
// changes nothing.
func (l *Lease) makeCurrent(ctx context.Context, tx *sql.Tx, u *ir.Unit, c Current, always bool) (changed bool, err error) {
	if u == nil || u.ID != c.Unit {
		return false, fmt.Errorf("the current run of %s is not given with its unit", c.Unit)
	}
	text, err := json.Marshal(u)
	if err != nil {
		return false, err
	}
	handle, err := encode(c.Handle == nil, c.Handle)
	if err != nil {
		return false, err
	}
	route, err := encode(c.Route == nil, c.Route)
	if err != nil {
		return false, err
	}
	a, err := affected(tx.ExecContext(ctx, `INSERT INTO current(env, unit, kind, definition, key, revision, handle, since, run, route) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(env, unit) DO UPDATE SET kind = excluded.kind, definition = excluded.definition, key = excluded.key,
			revision = excluded.revision, handle = excluded.handle, since = excluded.since, run = excluded.run, route = excluded.route
		WHERE ? OR (current.kind, current.definition, current.key, current.handle, current.run, current.route) <> (excluded.kind, excluded.definition, excluded.key, excluded.handle, excluded.run, excluded.route)`,
		l.s.env, c.Unit, c.Kind, c.Definition, c.Key, c.Revision, handle, fromTime(orNow(c.Since)), c.Run, route, always))
	if err != nil {
		return false, err
	}
	b, err := affected(tx.ExecContext(ctx, "INSERT INTO applied(env, unit, ir) VALUES (?, ?, ?) ON CONFLICT(env, unit) DO UPDATE SET ir = excluded.ir WHERE applied.ir <> excluded.ir",
		l.s.env, c.Unit, string(text)))
	return a+b > 0, err
}

// Forget records that nothing is deployed for the unit any more. Its runs remain.
func (l *Lease) Forget(ctx context.Context, unit string) error {
	return l.change(ctx, true, "forget "+unit, func(ctx context.Context, tx *sql.Tx) error {
		n, err := affected(tx.ExecContext(ctx, "DELETE FROM current WHERE env = ? AND unit = ?", l.s.env, unit))
		if err != nil {
			return err
		}
		if n == 0 {
			return errSame
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM applied WHERE env = ? AND unit = ?", l.s.env, unit)
		return err
	})
}

// Clear removes a journal entry whose run ended unobserved. It records the run with the
// outcome and the error of p.Run, or as canceled if its outcome is still Started.
func (l *Lease) Clear(ctx context.Context, p Pending) error {
	if p.Run.Outcome == Done {
		return fmt.Errorf("clear run %d: a run that is done is finished, not cleared", p.Run.ID)
	}
	if p.Run.Outcome == Started || p.Run.Outcome == "" {
		p.Run.Outcome = Canceled
	}
	return l.Finish(ctx, p.Run, nil, nil)
}

// Register puts a model in service in the environment and returns the number of its version. A model that
// was never registered becomes a new version. Any other gets its old number back, with
// the metrics of its newest evaluation. Register ignores the version of v.
func (l *Lease) Register(ctx context.Context, v ModelVersion) (int, error) {
	metrics, err := encode(len(v.Metrics) == 0, v.Metrics)
	if err != nil {
		return 0, fmt.Errorf("register %s: %w", v.Model, err)
	}
	var version int
	err = l.change(ctx, true, "register "+v.Model, func(ctx context.Context, tx *sql.Tx) error {
		var newest, highest, rank int
		var before string
		if err := tx.QueryRowContext(ctx, "SELECT coalesce((SELECT max(version) FROM model WHERE model = ?1), 0), coalesce((SELECT max(rank) FROM registered WHERE env = ?2 AND model = ?1), 0)",
			v.Model, l.s.env).Scan(&newest, &highest); err != nil {
			return err
		}
		err := tx.QueryRowContext(ctx, `SELECT version, coalesce(rank, 0) AS rank, metrics FROM model LEFT JOIN (SELECT model, version, rank FROM registered WHERE env = ?) r USING (model, version)
			WHERE model = ? AND digest = ?`+inService+" LIMIT 1", l.s.env, v.Model, v.Digest).Scan(&version, &rank, &before)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			version = newest + 1
			_, err = tx.ExecContext(ctx, "INSERT INTO model("+modelColumns+") VALUES (?, ?, ?, ?, ?, ?)",
				v.Model, version, v.Digest, v.Key, metrics, fromTime(orNow(v.Created)))
		case err == nil && rank > 0 && rank == highest && metrics == before:
			return errSame
		case err == nil && metrics != before:
			_, err = tx.ExecContext(ctx, "UPDATE model SET metrics = ? WHERE model = ? AND version = ?", metrics, v.Model, version)
		}
		if err != nil || rank > 0 && rank == highest {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO registered(env, model, version, rank) VALUES (?, ?, ?, ?) ON CONFLICT(env, model, version) DO UPDATE SET rank = excluded.rank",
			l.s.env, v.Model, version, highest+1)
		return err
	})
	return version, err
}

// MarkUnstable records that a unit gave another result when it was run again.
func (l *Lease) MarkUnstable(ctx context.Context, u Unstable) error {
	ports, err := encode(len(u.Ports) == 0, u.Ports)
	if err != nil {
		return fmt.Errorf("mark %s: %w", u.Unit, err)
	}
	return l.change(ctx, true, "mark "+u.Unit, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO unstable(unit, definition, revision, ports, env) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT(unit) DO UPDATE SET definition = excluded.definition, revision = excluded.revision, ports = excluded.ports, env = excluded.env`, u.Unit, u.Definition, u.Revision, ports, l.s.env)
		return err
	})
}

func orNow(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now()
	}
	return t
}

// orNull returns v, or NULL for the zero value.
func orNull[T comparable](v T) sql.Null[T] {
	var zero T
	return sql.Null[T]{V: v, Valid: v != zero}
}

// asText makes s acceptable to every database: what a program wrote may not be valid
// text.
func asText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// one returns an error for a statement that found nothing to change.
func one(r sql.Result, err error) error {
	n, err := affected(r, err)
	if err == nil && n == 0 {
		return sql.ErrNoRows
	}
	return err
}
