package state

import (
	"context"
	"database/sql"
)

// record makes a write that no plan depends on: it needs no lease, because it must not wait
// for an apply, and raises no serial, so that saved plans stay valid. While somebody holds the
// lock of [All] it returns a [HeldError], because the state may be on its way to another
// database. f must be safe to repeat, also after it was committed.
func (s *Store) record(ctx context.Context, doing string, f func(ctx context.Context, tx *sql.Tx) error) error {
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
		var there int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM meta").Scan(&there); err != nil {
			return err
		}
		if there == 0 { // it was moved in the meantime
			return errReplaced
		}
		if err := s.excluded(ctx, tx); err != nil {
			return err
		}
		if err := f(ctx, tx); err != nil {
			return err
		}
		return tx.Commit()
	})
	if err == nil {
		err = s.sync()
	}
	return s.explain(doing, err)
}

// excluded returns a [HeldError] while somebody holds the lock of [All].
func (s *Store) excluded(ctx context.Context, tx *sql.Tx) error {
	all, err := leasesFrom(ctx, tx, " WHERE env = ?", All)
	if err != nil {
		return err
	}
	for _, l := range all {
		if held, err := s.holds(l, nil); err != nil {
			return err
		} else if held != nil {
			return held
		}
	}
	return nil
}
