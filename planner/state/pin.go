package state

import (
	"context"
	"database/sql"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A Pin says that automation must leave what is deployed for a unit, or for all units of an entity.
type Pin struct {
	Unit     string    `json:"unit"`               // or an entity: "models/late"
	Key      string    `json:"key,omitempty"`      // of what is pinned
	Revision int       `json:"revision,omitempty"` // that deployed it
	By       string    `json:"by"`
	At       time.Time `json:"at"`
	Reason   string    `json:"reason,omitempty"`
	// Lifted is when the pin ended, and LiftedBy who ended it. Lifted is zero while it holds.
	Lifted   time.Time `json:"lifted,omitzero"`
	LiftedBy string    `json:"lifted_by,omitempty"`
}

// SetPin records a pin in the environment, instead of one that the unit has. It holds at once,
// also while an apply is running. It needs no lease, and returns a [HeldError] while the state is
// collected or moved.
func (s *Store) SetPin(ctx context.Context, p Pin) error {
	p.At = orNow(p.At)
	return s.record(ctx, "pin "+p.Unit, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE pin SET lifted = ?, lifted_by = ? WHERE env = ? AND unit = ? AND lifted = 0 AND made <> ?",
			fromTime(p.At), p.By, s.env, p.Unit, fromTime(p.At)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO pin(env, unit, made, run_key, revision, identity, reason, lifted, lifted_by) VALUES (?, ?, ?, ?, ?, ?, ?, 0, '')
			ON CONFLICT(env, unit, made) DO UPDATE SET run_key = excluded.run_key, revision = excluded.revision, identity = excluded.identity, reason = excluded.reason, lifted = 0, lifted_by = ''`,
			s.env, p.Unit, fromTime(p.At), p.Key, p.Revision, p.By, asText(p.Reason))
		return err
	})
}

// RemovePin lifts the pin of a unit. The record keeps it. It returns [ErrNotFound] if the unit has
// none.
func (s *Store) RemovePin(ctx context.Context, unit, by string, at time.Time) error {
	at = orNow(at)
	return s.record(ctx, "lift the pin of "+unit, func(ctx context.Context, tx *sql.Tx) error {
		return one(tx.ExecContext(ctx, "UPDATE pin SET lifted = ?, lifted_by = ? WHERE env = ? AND unit = ? AND lifted IN (0, ?)",
			fromTime(at), by, s.env, unit, fromTime(at)))
	})
}

// Pins returns the pins that hold in the environment, by unit.
func (s *Store) Pins(ctx context.Context) (map[string]Pin, error) {
	out := map[string]Pin{}
	all, err := s.pins(ctx, " AND lifted = 0")
	for _, p := range all {
		out[p.Unit] = p
	}
	return out, err
}

// PinHistory returns all pins of the environment, newest first, with those that were lifted.
func (s *Store) PinHistory(ctx context.Context) ([]Pin, error) { return s.pins(ctx, "") }

func (s *Store) pins(ctx context.Context, where string) (all []Pin, err error) {
	err = s.each(ctx, func(rows *sql.Rows) error {
		var p Pin
		var made, lifted int64
		if err := rows.Scan(&p.Unit, &made, &p.Key, &p.Revision, &p.By, &p.Reason, &lifted, &p.LiftedBy); err != nil {
			return err
		}
		p.At, p.Lifted = toTime(made), toTime(lifted)
		all = append(all, p)
		return nil
	}, "SELECT unit, made, run_key, revision, identity, reason, lifted, lifted_by FROM pin WHERE env = ?"+where+" ORDER BY made DESC, unit", s.env)
	return all, err
}

// renameRecords renames a unit, and its entity, in what is recorded of monitors, loops and pins.
func (l *Lease) renameRecords(ctx context.Context, tx *sql.Tx, m ir.Move) error {
	from, _ := ir.SplitID(m.From)
	to, _ := ir.SplitID(m.To)
	for _, t := range []struct{ name, column string }{{"measurement", "monitor"}, {"loop_act", "loop"}, {"pin", "unit"}} {
		for _, n := range []ir.Move{m, {From: from, To: to}, {From: NoticesOf(m.From), To: NoticesOf(m.To)}} {
			if n.From == n.To {
				continue
			}
			// Replace what an earlier unit of that name left behind.
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+t.name+" WHERE env = ? AND "+t.column+" = ? AND EXISTS (SELECT 1 FROM "+t.name+" WHERE env = ? AND "+t.column+" = ?)",
				l.s.env, n.To, l.s.env, n.From); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "UPDATE "+t.name+" SET "+t.column+" = ? WHERE env = ? AND "+t.column+" = ?", n.To, l.s.env, n.From); err != nil {
				return err
			}
		}
	}
	return nil
}
