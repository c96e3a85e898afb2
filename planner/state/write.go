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
	var serial int64
	var token sql.NullInt64
	if err := tx.QueryRowContext(ctx, "SELECT lineage, serial, (SELECT token FROM lease) FROM meta").Scan(&lineage, &serial, &token); err != nil {
		return err
	}
	if token.Int64 != l.token {
		return ErrFenced
	}
	if l.unsure > 0 && serial == l.serial+l.unsure {
		l.serial, l.unsure = serial, 0
		if *ours {
			return nil
		}
	}
	if lineage != l.lineage || serial != l.serial {
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
	l.unsure, *ours = changes, true
	if err := tx.Commit(); err != nil {
		return err
	}
	l.serial, l.unsure = serial+changes, 0
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
	if r.Act == "" {
		r.Act = Apply
	}
	var number int
	err = l.change(ctx, true, "begin revision", func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE revision SET outcome = ? WHERE outcome = ? AND number = (SELECT max(number) FROM revision)", Killed, Started); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `INSERT INTO revision(`+revisionColumns+`)
			SELECT coalesce(max(number), 0) + 1, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, '' FROM revision RETURNING number`,
			r.System, r.Target, fromTime(orNow(r.Started)), Started, r.IR, r.Plan, tags, r.Commit, r.Act, r.BackTo, moves).Scan(&number); err != nil {
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
		return one(tx.ExecContext(ctx, "UPDATE revision SET finished = ?, outcome = ?, standing = ? WHERE number = ?", fromTime(time.Now()), outcome, deployed, number))
	})
}

// Begin journals that a run is about to be handed to an executor, and returns its id. It
// ignores ID, outcome and end of r.
func (l *Lease) Begin(ctx context.Context, r Run) (int64, error) {
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
		if err := tx.QueryRowContext(ctx, `INSERT INTO run(key, unit, definition, revision, outcome, attempt, started, finished, inputs, metrics, cpu, peak_mem, error, log, devices)
			VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, '', 0, 0, '', ?, ?) RETURNING id`,
			r.Key, r.Unit, r.Definition, r.Revision, Started, r.Attempt, fromTime(orNow(r.Started)), inputs, r.Log, devices).Scan(&id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO pending(run, handle) VALUES (?, '')", id)
		return err
	})
	return id, err
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
		_, err := makeCurrent(ctx, tx, u, current, true)
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
		changed, err := makeCurrent(ctx, tx, u, c, false)
		if err == nil && !changed {
			return errSame
		}
		return err
	})
}

// makeCurrent makes c current for u. Without always, a difference in revision and time alone
// changes nothing.
func makeCurrent(ctx context.Context, tx *sql.Tx, u *ir.Unit, c Current, always bool) (changed bool, err error) {
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
	a, err := affected(tx.ExecContext(ctx, `INSERT INTO current(unit, kind, definition, key, revision, handle, since, run) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(unit) DO UPDATE SET kind = excluded.kind, definition = excluded.definition, key = excluded.key,
			revision = excluded.revision, handle = excluded.handle, since = excluded.since, run = excluded.run
		WHERE ? OR (current.kind, current.definition, current.key, current.handle, current.run) <> (excluded.kind, excluded.definition, excluded.key, excluded.handle, excluded.run)`,
		c.Unit, c.Kind, c.Definition, c.Key, c.Revision, handle, fromTime(orNow(c.Since)), c.Run, always))
	if err != nil {
		return false, err
	}
	b, err := affected(tx.ExecContext(ctx, "INSERT INTO applied(unit, ir) VALUES (?, ?) ON CONFLICT(unit) DO UPDATE SET ir = excluded.ir WHERE applied.ir <> excluded.ir",
		c.Unit, string(text)))
	return a+b > 0, err
}

// Forget records that nothing is deployed for the unit any more. Its runs remain.
func (l *Lease) Forget(ctx context.Context, unit string) error {
	return l.change(ctx, true, "forget "+unit, func(ctx context.Context, tx *sql.Tx) error {
		n, err := affected(tx.ExecContext(ctx, "DELETE FROM current WHERE unit = ?", unit))
		if err != nil {
			return err
		}
		if n == 0 {
			return errSame
		}
		_, err = tx.ExecContext(ctx, "DELETE FROM applied WHERE unit = ?", unit)
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

// Register puts a model in service and returns the number of its version. A model that
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
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0), coalesce(max(rank), 0) FROM model WHERE model = ?", v.Model).Scan(&newest, &highest); err != nil {
			return err
		}
		err := tx.QueryRowContext(ctx, "SELECT version, rank, metrics FROM model WHERE model = ? AND digest = ?"+inService+" LIMIT 1", v.Model, v.Digest).Scan(&version, &rank, &before)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			version = newest + 1
			_, err = tx.ExecContext(ctx, "INSERT INTO model("+modelColumns+", rank) VALUES (?, ?, ?, ?, ?, ?, ?)",
				v.Model, version, v.Digest, v.Key, metrics, fromTime(orNow(v.Created)), highest+1)
		case err == nil && rank == highest && metrics == before:
			err = errSame
		case err == nil && rank == highest:
			_, err = tx.ExecContext(ctx, "UPDATE model SET metrics = ? WHERE model = ? AND version = ?", metrics, v.Model, version)
		case err == nil:
			_, err = tx.ExecContext(ctx, "UPDATE model SET metrics = ?, rank = ? WHERE model = ? AND version = ?", metrics, highest+1, v.Model, version)
		}
		return err
	})
	return version, err
}

// Move renames units together with their history: what is current, runs, times and, if an
// entity moves, its models. A new name must be free; what an earlier unit of that name left
// behind is replaced.
func (l *Lease) Move(ctx context.Context, moves []ir.Move) error {
	to := make(map[string]string, len(moves))
	for _, m := range moves {
		to[m.From] = m.To
	}
	return l.change(ctx, true, fmt.Sprintf("move %d units", len(moves)), func(ctx context.Context, tx *sql.Tx) error {
		for _, m := range moves {
			for _, table := range []string{"current", "took", "unstable"} {
				// Replace what an earlier unit of that name left behind.
				if _, err := tx.ExecContext(ctx, "DELETE FROM "+table+" WHERE unit = ? AND EXISTS (SELECT 1 FROM "+table+" WHERE unit = ?)", m.To, m.From); err != nil {
					return err
				}
			}
			for _, table := range []string{"run", "current", "took", "unstable"} {
				if _, err := tx.ExecContext(ctx, "UPDATE "+table+" SET unit = ? WHERE unit = ?", m.To, m.From); err != nil {
					return err
				}
			}
			from, _ := ir.SplitID(m.From)
			entity, _ := ir.SplitID(m.To)
			if err := moveModels(ctx, tx, from, entity); err != nil {
				return err
			}
		}
		return renameApplied(ctx, tx, to)
	})
}

// moveModels numbers the versions of a moved model after those of an earlier model with
// the new name.
func moveModels(ctx context.Context, tx *sql.Tx, from, to string) error {
	if from == to {
		return nil
	}
	var version, rank int
	if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(version), 0), coalesce(max(rank), 0) FROM model WHERE model = ?", to).Scan(&version, &rank); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE model SET model = ?, version = version + ?, rank = rank + ? WHERE model = ?", to, version, rank, from)
	return err
}

// renameApplied renames units in the applied definitions: the units themselves, and
// references from other units.
func renameApplied(ctx context.Context, tx *sql.Tx, to map[string]string) error {
	rows, err := tx.QueryContext(ctx, "SELECT unit, ir FROM applied")
	if err != nil {
		return err
	}
	defer rows.Close()
	changed := map[string]*ir.Unit{}
	for rows.Next() {
		var id, text string
		if err := rows.Scan(&id, &text); err != nil {
			return err
		}
		u := new(ir.Unit)
		if err := json.Unmarshal([]byte(text), u); err != nil {
			return fmt.Errorf("read unit %s: %w", id, err)
		}
		if rename(u, to) {
			changed[id] = u
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for id := range changed {
		if _, err := tx.ExecContext(ctx, "DELETE FROM applied WHERE unit = ?", id); err != nil {
			return err
		}
	}
	for _, u := range changed {
		text, err := json.Marshal(u)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO applied(unit, ir) VALUES (?, ?)", u.ID, string(text)); err != nil {
			return err
		}
	}
	return nil
}

func rename(u *ir.Unit, to map[string]string) (changed bool) {
	if id, ok := to[u.ID]; ok {
		u.ID, changed = id, true
		u.Entity, _ = ir.SplitID(id)
	}
	for i := range u.Inputs {
		if id, ok := to[u.Inputs[i].Unit]; ok {
			u.Inputs[i].Unit, changed = id, true
		}
	}
	return changed
}

// MarkUnstable records that a unit gave another result when it was run again.
func (l *Lease) MarkUnstable(ctx context.Context, u Unstable) error {
	ports, err := encode(len(u.Ports) == 0, u.Ports)
	if err != nil {
		return fmt.Errorf("mark %s: %w", u.Unit, err)
	}
	return l.change(ctx, true, "mark "+u.Unit, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO unstable(unit, definition, revision, ports) VALUES (?, ?, ?, ?)
			ON CONFLICT(unit) DO UPDATE SET definition = excluded.definition, revision = excluded.revision, ports = excluded.ports`, u.Unit, u.Definition, u.Revision, ports)
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
