package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A LoopActKind is what a loop did, or what somebody told it to do.
type LoopActKind string

const (
	LoopRetrain    LoopActKind = "retrain"     // begins; [LoopRetrained], [LoopFailed] or [LoopGivenUp] ends it
	LoopRetrained  LoopActKind = "retrained"   //
	LoopRollback   LoopActKind = "rollback"    // begins; [LoopRolledBack], [LoopFailed] or [LoopGivenUp] ends it
	LoopRolledBack LoopActKind = "rolled back" //
	LoopFailed     LoopActKind = "failed"      //
	LoopGivenUp    LoopActKind = "given up"    // ends an act that a person did not want any more
	LoopSkipped    LoopActKind = "skipped"     // passed over what was missed
	LoopHold       LoopActKind = "hold"        // had a cause to act, and must not
	LoopAlert      LoopActKind = "alert"       // somebody has to look

	LoopNotice   LoopActKind = "notice"   // in the record of notices: one has to be sent
	LoopNotified LoopActKind = "notified" // ends it; [LoopFailed] does as well

	LoopPause   LoopActKind = "pause" // from here on, what people do
	LoopResume  LoopActKind = "resume"
	LoopTrigger LoopActKind = "trigger"
)

// A LoopAct is an entry of the record of a loop.
type LoopAct struct {
	Loop     string          `json:"loop"`   // unit
	Number   int64           `json:"number"` // of the loop, from 1
	At       time.Time       `json:"at"`
	Act      LoopActKind     `json:"act"`
	Of       int64           `json:"of,omitempty"` // the act that this one ends
	By       string          `json:"by,omitempty"` // the person, empty for the loop itself
	Reason   string          `json:"reason,omitempty"`
	Cause    string          `json:"cause,omitempty"` // what called for it
	Revision int             `json:"revision,omitempty"`
	Detail   json.RawMessage `json:"detail,omitempty"`
}

// NoticesOf names the record of the notices of a loop or a monitor. It is beside the record of the loop,
// which decisions are made from.
func NoticesOf(unit string) string { return unit + " notices" }

// IsNotices reports whether a record is one of notices.
func IsNotices(record string) bool { return strings.HasSuffix(record, NoticesOf("")) }

// AddLoopAct records an act in the environment and returns its number. It ignores the number of a.
// An act that ends another is refused with [ErrOvertaken] if that one has ended. AddLoopAct needs no
// lease, and returns a [HeldError] while the state is collected or moved.
func (s *Store) AddLoopAct(ctx context.Context, a LoopAct) (int64, error) {
	return s.addLoopAct(ctx, a, nil)
}

// ErrOvertaken is returned for a decision that was made before something else happened.
var ErrOvertaken = errors.New("something else happened in the meantime: decide again")

// ClaimLoopAct records that a loop begins an act, before it does anything. It returns
// [ErrOvertaken] if the loop has an act after number seen, or if one of the units is pinned. So of
// two controllers only one acts, and none acts against what a person has just said.
func (s *Store) ClaimLoopAct(ctx context.Context, a LoopAct, seen int64, units []string) (int64, error) {
	return s.addLoopAct(ctx, a, func(ctx context.Context, tx *sql.Tx, next int64) error {
		if next != seen+1 {
			return ErrOvertaken
		}
		for _, unit := range units {
			var n int
			if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM pin WHERE env = ? AND unit = ? AND lifted = 0", s.env, unit).Scan(&n); err != nil {
				return err
			}
			if n > 0 {
				return fmt.Errorf("%s is pinned: %w", unit, ErrOvertaken)
			}
		}
		return nil
	})
}

func (s *Store) addLoopAct(ctx context.Context, a LoopAct, check func(ctx context.Context, tx *sql.Tx, next int64) error) (int64, error) {
	a.At = orNow(a.At)
	n := numbering{table: "loop_act", column: "loop", env: s.env, of: a.Loop, at: a.At}
	err := s.record(ctx, "record an act of "+a.Loop, func(ctx context.Context, tx *sql.Tx) error {
		if there, err := n.next(ctx, tx); there || err != nil {
			return err
		}
		if check != nil {
			if err := check(ctx, tx, n.number); err != nil {
				return err
			}
		}
		if a.Of > 0 {
			var ends int
			if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM loop_act WHERE env = ? AND loop = ? AND of_act = ?", s.env, a.Loop, a.Of).Scan(&ends); err != nil {
				return err
			}
			if ends > 0 {
				return fmt.Errorf("act %d has ended: %w", a.Of, ErrOvertaken)
			}
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO loop_act(env, loop, number, made, act, of_act, identity, reason, cause, revision, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			s.env, a.Loop, n.number, fromTime(a.At), a.Act, a.Of, a.By, asText(a.Reason), asText(a.Cause), a.Revision, string(a.Detail))
		return err
	})
	return n.number, err
}

// LoopActs returns the record of a loop from a time on, newest first. The zero time and a limit of
// 0 mean no limit.
func (s *Store) LoopActs(ctx context.Context, loop string, since time.Time, limit int) (all []LoopAct, err error) {
	err = s.each(ctx, func(rows *sql.Rows) error {
		a := LoopAct{Loop: loop}
		var made int64
		var act, detail string
		if err := rows.Scan(&a.Number, &made, &act, &a.Of, &a.By, &a.Reason, &a.Cause, &a.Revision, &detail); err != nil {
			return err
		}
		a.At, a.Act = toTime(made), LoopActKind(act)
		all = append(all, a)
		return decode(detail, &all[len(all)-1].Detail)
	}, "SELECT number, made, act, of_act, identity, reason, cause, revision, detail FROM loop_act WHERE env = ? AND loop = ? AND made >= ? ORDER BY number DESC LIMIT ?",
		s.env, loop, fromTime(since), noLimit(limit))
	return all, err
}
