package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"
)

// A Measurement is what was measured of a monitor over a window of time.
type Measurement struct {
	Monitor string          `json:"monitor"` // unit
	Number  int64           `json:"number"`  // of the monitor, from 1
	Begin   time.Time       `json:"begin"`   // the window, without its end
	End     time.Time       `json:"end"`
	At      time.Time       `json:"at"` // when it was measured
	Verdict string          `json:"verdict"`
	Reason  string          `json:"reason,omitempty"`
	Report  json.RawMessage `json:"report,omitempty"`
}

// AddMeasurement records a measurement in the environment and returns its number. It ignores the
// number of m. It needs no lease, and returns a [HeldError] while the state is collected or moved.
func (s *Store) AddMeasurement(ctx context.Context, m Measurement) (int64, error) {
	m.At = orNow(m.At)
	n := numbering{table: "measurement", column: "monitor", env: s.env, of: m.Monitor, at: m.At}
	err := s.record(ctx, "record a measurement of "+m.Monitor, func(ctx context.Context, tx *sql.Tx) error {
		if there, err := n.next(ctx, tx); there || err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO measurement(env, monitor, number, began, ended, made, verdict, reason, report) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
			s.env, m.Monitor, n.number, fromTime(m.Begin), fromTime(m.End), fromTime(m.At), m.Verdict, asText(m.Reason), string(m.Report))
		return err
	})
	return n.number, err
}

// A numbering gives an entry of a record the next number.
type numbering struct {
	table, column, env, of string
	at                     time.Time
	number                 int64
	tried                  bool
}

// next sets the number. If it is called again for the same entry, which happens after a commit
// that was not answered, it reports whether the entry is there.
func (n *numbering) next(ctx context.Context, tx *sql.Tx) (there bool, err error) {
	where := " WHERE env = ? AND " + n.column + " = ?"
	if n.tried {
		var same int64
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(number), 0) FROM "+n.table+where+" AND number >= ? AND made = ?", n.env, n.of, n.number, fromTime(n.at)).Scan(&same); err != nil {
			return false, err
		}
		if same > 0 {
			n.number = same
			return true, nil
		}
	}
	n.tried = true
	err = tx.QueryRowContext(ctx, "SELECT coalesce(max(number), 0) + 1 FROM "+n.table+where, n.env, n.of).Scan(&n.number)
	return false, err
}

// LastMeasurement returns the newest measurement of a monitor, without its report, or nil.
func (s *Store) LastMeasurement(ctx context.Context, monitor string) (*Measurement, error) {
	m := Measurement{Monitor: monitor}
	var began, ended, made int64
	err := s.row(ctx, "read measurements of "+monitor, []any{&m.Number, &began, &ended, &made, &m.Verdict, &m.Reason},
		"SELECT number, began, ended, made, verdict, reason FROM measurement WHERE env = ? AND monitor = ? ORDER BY made DESC, number DESC LIMIT 1", s.env, monitor)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	m.Begin, m.End, m.At = toTime(began), toTime(ended), toTime(made)
	return &m, err
}

// Measurements returns what was measured of a monitor from a time on, newest first: one that was made as of a
// time in the past counts as of then. The zero time and a limit of 0 mean no limit.
func (s *Store) Measurements(ctx context.Context, monitor string, since time.Time, limit int) (all []Measurement, err error) {
	err = s.each(ctx, func(rows *sql.Rows) error {
		m := Measurement{Monitor: monitor}
		var began, ended, made int64
		var report string
		if err := rows.Scan(&m.Number, &began, &ended, &made, &m.Verdict, &m.Reason, &report); err != nil {
			return err
		}
		m.Begin, m.End, m.At = toTime(began), toTime(ended), toTime(made)
		all = append(all, m)
		return decode(report, &all[len(all)-1].Report)
	}, "SELECT number, began, ended, made, verdict, reason, report FROM measurement WHERE env = ? AND monitor = ? AND made >= ? ORDER BY made DESC, number DESC LIMIT ?",
		s.env, monitor, fromTime(since), noLimit(limit))
	return all, err
}
