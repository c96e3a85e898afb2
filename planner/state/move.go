package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// Move renames units of the environment together with their history: what is current, runs,
// times and, if an entity moves, its models, measurements, acts and pins. A new name must be free; what an earlier unit of
// that name left behind is replaced. What another environment still has under the old name
// stays there as well.
func (l *Lease) Move(ctx context.Context, moves []ir.Move) error {
	to := make(map[string]string, len(moves))
	for _, m := range moves {
		to[m.From] = m.To
	}
	return l.change(ctx, true, fmt.Sprintf("move %d units", len(moves)), func(ctx context.Context, tx *sql.Tx) error {
		for _, m := range moves {
			if err := l.moveUnit(ctx, tx, m); err != nil {
				return err
			}
			from, _ := ir.SplitID(m.From)
			entity, _ := ir.SplitID(m.To)
			if err := l.moveModels(ctx, tx, from, entity); err != nil {
				return err
			}
			if err := l.renameRecords(ctx, tx, m); err != nil {
				return err
			}
		}
		if err := l.renameRoutes(ctx, tx, to); err != nil {
			return err
		}
		return l.renameApplied(ctx, tx, to)
	})
}

func (l *Lease) moveUnit(ctx context.Context, tx *sql.Tx, m ir.Move) error {
	var others int // environments that still have the old name, or run it now
	if err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM current WHERE env <> ?1 AND unit = ?2)
		+ (SELECT count(*) FROM pending JOIN run ON run.id = pending.run WHERE run.env <> ?1 AND run.unit = ?2)`, l.s.env, m.From).Scan(&others); err != nil {
		return err
	}
	type statement struct {
		query string
		args  []any
	}
	to, from, env := m.To, m.From, l.s.env
	statements := []statement{
		// Replace what an earlier unit of that name left behind.
		{"DELETE FROM current WHERE env = ? AND unit = ? AND EXISTS (SELECT 1 FROM current WHERE env = ? AND unit = ?)", []any{env, to, env, from}},
		{"UPDATE current SET unit = ? WHERE env = ? AND unit = ?", []any{to, env, from}},
	}
	if others == 0 {
		statements = append(statements, statement{"UPDATE run SET unit = ? WHERE unit = ?", []any{to, from}})
	} else {
		statements = append(statements, statement{"UPDATE run SET unit = ? WHERE env = ? AND unit = ?", []any{to, env, from}})
	}
	for _, t := range []struct{ name, columns string }{{"took", "last, prepared"}, {"unstable", "definition, revision, ports, env"}} {
		statements = append(statements,
			statement{"DELETE FROM " + t.name + " WHERE unit = ? AND EXISTS (SELECT 1 FROM " + t.name + " WHERE unit = ?)", []any{to, from}},
			statement{"INSERT INTO " + t.name + "(unit, " + t.columns + ") SELECT ?, " + t.columns + " FROM " + t.name + " WHERE unit = ?", []any{to, from}})
		if others == 0 {
			statements = append(statements, statement{"DELETE FROM " + t.name + " WHERE unit = ?", []any{from}})
		}
	}
	for _, x := range statements {
		if _, err := tx.ExecContext(ctx, x.query, x.args...); err != nil {
			return err
		}
	}
	return nil
}

// moveModels numbers the versions of a moved model after those that the new name already has.
// The same model keeps the number that it has under the new name.
func (l *Lease) moveModels(ctx context.Context, tx *sql.Tx, from, to string) error {
	if from == to {
		return nil
	}
	there, err := l.versions(ctx, tx, to)
	if err != nil {
		return err
	}
	moving, err := l.versions(ctx, tx, from)
	if err != nil {
		return err
	}
	numbers := map[string]int{}
	var newest, highest int
	for _, v := range there {
		numbers[v.digest] = v.version
		newest, highest = max(newest, v.version), max(highest, v.rank)
	}
	for _, v := range moving {
		if v.rank == 0 && v.elsewhere > 0 {
			continue
		}
		number, known := numbers[v.digest]
		if !known {
			number = newest + v.version
			if _, err := tx.ExecContext(ctx, "INSERT INTO model("+modelColumns+") SELECT ?, ?, digest, key, metrics, created FROM model WHERE model = ? AND version = ?",
				to, number, from, v.version); err != nil {
				return err
			}
		}
		if v.elsewhere == 0 {
			if _, err := tx.ExecContext(ctx, "DELETE FROM model WHERE model = ? AND version = ?", from, v.version); err != nil {
				return err
			}
		}
		if v.rank == 0 {
			continue
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM registered WHERE env = ? AND model = ? AND version = ?", l.s.env, from, v.version); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO registered(env, model, version, rank) VALUES (?, ?, ?, ?) ON CONFLICT(env, model, version) DO UPDATE SET rank = excluded.rank",
			l.s.env, to, number, highest+v.rank); err != nil {
			return err
		}
	}
	return nil
}

// A version is one of a model, with its rank in the environment, 0 for none, and the number
// of other environments that have registered it.
type version struct {
	version, rank, elsewhere int
	digest                   string
}

func (l *Lease) versions(ctx context.Context, tx *sql.Tx, model string) (all []version, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT m.version, m.digest, coalesce(max(r.rank) FILTER (WHERE r.env = ?), 0), count(r.env) FILTER (WHERE r.env <> ?)
		FROM model m LEFT JOIN registered r ON r.model = m.model AND r.version = m.version
		WHERE m.model = ? GROUP BY m.version, m.digest ORDER BY m.version`, l.s.env, l.s.env, model)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v version
		if err := rows.Scan(&v.version, &v.digest, &v.rank, &v.elsewhere); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// renameApplied renames units in the applied definitions: the units themselves, and
// references from other units.
func (l *Lease) renameApplied(ctx context.Context, tx *sql.Tx, to map[string]string) error {
	rows, err := tx.QueryContext(ctx, "SELECT unit, ir FROM applied WHERE env = ?", l.s.env)
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
		if _, err := tx.ExecContext(ctx, "DELETE FROM applied WHERE env = ? AND unit = ?", l.s.env, id); err != nil {
			return err
		}
	}
	for _, u := range changed {
		text, err := json.Marshal(u)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO applied(env, unit, ir) VALUES (?, ?, ?)", l.s.env, u.ID, string(text)); err != nil {
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
