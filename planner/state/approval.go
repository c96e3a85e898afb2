package state

import (
	"context"
	"database/sql"

	"github.com/tenon-ml/tenon/internal/protect"
)

// Approve records that somebody approves a saved plan for the environment, by the digest of
// the plan. It needs no lease. A second approval of the same identity changes nothing.
func (s *Store) Approve(ctx context.Context, plan string, a protect.Approval) error {
	return s.record(ctx, "approve a plan", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO approval(env, plan, identity, made) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			s.env, plan, a.By, fromTime(a.At))
		return err
	})
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
