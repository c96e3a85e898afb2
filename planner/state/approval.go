package state

import (
	"context"
	"database/sql"

	"github.com/tenon-ml/tenon/internal/protect"
)

// Approve records that somebody approves a saved plan for the environment, by the digest of
// the plan. It needs no lease, because it changes nothing that a plan is made from. A second
// approval of the same identity changes nothing.
func (s *Store) Approve(ctx context.Context, plan string, a protect.Approval) error {
	const doing = "approve a plan"
	s.notify(doing, false)
	defer s.notify(doing, true)
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.try(ctx, func(ctx context.Context) error {
		tx, err := s.begin(ctx)
		if err != nil {
			return err
		}
		defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
		if _, err := tx.ExecContext(ctx, "INSERT INTO approval(env, plan, identity, made) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			s.env, plan, a.By, fromTime(a.At)); err != nil {
			return err
		}
		return tx.Commit()
	})
	if err == nil {
		err = s.sync()
	}
	return s.explain(doing, err)
}

// Approvals returns the approvals of a saved plan for the environment, oldest first.
func (s *Store) Approvals(ctx context.Context, plan string) (all []protect.Approval, err error) {
	err = s.each(ctx, func(rows *sql.Rows) error {
		var a protect.Approval
		var made int64
		if err := rows.Scan(&a.By, &made); err != nil {
			return err
		}
		a.At = toTime(made)
		all = append(all, a)
		return nil
	}, "SELECT identity, made FROM approval WHERE env = ? AND plan = ? ORDER BY made, identity", s.env, plan)
	return all, err
}
