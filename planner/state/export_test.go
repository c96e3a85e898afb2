package state

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Pause stops the heartbeat, as if the process slept.
func Pause(l *Lease) {
	l.stop()
	<-l.done
}

// Expire lets the lease expire without its holder noticing.
func Expire(s *Store, l *Lease) {
	if _, err := s.write.Exec("DELETE FROM lease WHERE token = ?", l.token); err != nil {
		panic(err)
	}
}

// SetClock makes the wall clock of the lock wrong by that much.
func SetClock(s *Store, by *atomic.Int64) {
	s.now = func() time.Time { return time.Now().Add(time.Duration(by.Load())) }
}

// SetStart changes the recorded start of the holder.
func SetStart(t *testing.T, s *Store, start string) {
	var text string
	var h Holder
	err := s.row(t.Context(), "read lock", []any{&text}, "SELECT holder FROM lease")
	if err := errors.Join(err, json.Unmarshal([]byte(text), &h)); err != nil {
		t.Fatal(err)
	}
	h.Process.Start = start
	b, err := json.Marshal(h)
	if err := errors.Join(err, Exec(t.Context(), s, "UPDATE lease SET holder = ?", string(b))); err != nil {
		t.Fatal(err)
	}
}

// SetOutage sets how long to wait for a server that is away.
func SetOutage(s *Store, d time.Duration) { s.database.(*postgres).outage = d }

// Hang begins a write and does not finish it.
func Hang(ctx context.Context, s *Store) error {
	_, err := s.begin(ctx)
	return err
}

// Exec runs a statement that no lease could run.
func Exec(ctx context.Context, s *Store, query string, args ...any) error {
	_, err := s.write.ExecContext(ctx, query, args...)
	return err
}

// Unmade returns the state before its tables are created.
func Unmade(where string) (*Store, error) { return opened(where) }

// MakeLayout creates the tables of an older layout.
func MakeLayout(ctx context.Context, s *Store, version int, tables string) error {
	tx, err := s.alone(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	_, err = tx.ExecContext(ctx, tables)
	return errors.Join(err, s.mark(ctx, tx, version), tx.Commit())
}

// Fill records n units as done, without history.
func Fill(s *Store, n int) error {
	tx, err := s.write.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	for _, q := range []string{
		`INSERT INTO run SELECT value+1, printf('key%025d', value), printf('features/f%05d/build', value), 'sha256:d', 1, 'done', 1, 1, 2, '{"in":"sha256:x"}', '', 0, 0, '', '', '', 0, 0, 0, '' FROM generate_series(0, ?)`,
		`INSERT INTO output SELECT value+1, 'table', printf('sha256:%064d', value), 'table', 100, 10 FROM generate_series(0, ?)`,
		`INSERT INTO current SELECT '', printf('features/f%05d/build', value), 'job', 'sha256:d', printf('key%025d', value), 1, '', 2, value+1, '' FROM generate_series(0, ?)`,
		`INSERT INTO applied SELECT '', printf('features/f%05d/build', value), '{}' FROM generate_series(0, ?)`,
		`INSERT INTO took SELECT printf('features/f%05d/build', value), '1000,2000', 0 FROM generate_series(0, ?)`,
	} {
		q = strings.Replace(q, "generate_series(0, ?)", "(WITH RECURSIVE g(value) AS (SELECT 0 UNION ALL SELECT value+1 FROM g WHERE value < ?) SELECT value FROM g)", 1)
		if _, err := tx.Exec(q, n-1); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Hold blocks all writes until goOn is called.
func Hold(s *Store) (goOn func()) {
	s.mu.Lock()
	return s.mu.Unlock
}

// SetOnWrite sets what is called before and after each write with a lease.
func SetOnWrite(l *Lease, f func(doing string, ended bool)) { l.s.OnWrite = f }

// MovingTables returns the tables that a move copies.
func MovingTables() (names []string) {
	for _, t := range moving {
		names = append(names, t.name)
	}
	return names
}

// LayoutOf returns the layout of the tables, whatever it is.
func LayoutOf(ctx context.Context, where string) (int, error) {
	s, err := opened(where)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return s.version(ctx, s.read)
}
