package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// A Controller is the process that watches the environment. It is a note for other controllers
// and for people: what protects the state is the lock, which a controller takes when it acts.
type Controller struct {
	ID     string    `json:"id"` // random, one for each start
	Holder Holder    `json:"holder"`
	Since  time.Time `json:"since"`
	Beat   int64     `json:"beat"` // grows while it lives
	At     time.Time `json:"at"`   // of the last beat, by its clock
	// Next is what it does next, and NextAt when, if that is known.
	Next   string    `json:"next,omitempty"`
	NextAt time.Time `json:"next_at,omitzero"`
	// Gone reports whether its process ran on this host and has certainly ended.
	Gone bool `json:"gone,omitempty"`
}

// Controller returns the controller of the environment, or nil if none runs, as far as is known.
func (s *Store) Controller(ctx context.Context) (*Controller, error) {
	var c Controller
	var holder string
	var since, at, next int64
	err := s.row(ctx, "read controller", []any{&c.ID, &holder, &since, &c.Beat, &at, &c.Next, &next},
		"SELECT id, holder, since, beat, made, next, next_at FROM controller WHERE env = ?", s.env)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(holder), &c.Holder); err != nil {
		return nil, fmt.Errorf("read controller: %w", err)
	}
	c.Since, c.At, c.NextAt, c.Gone = toTime(since), toTime(at), toTime(next), gone(c.Holder)
	return &c, nil
}

// ErrAnotherController means that another process watches the environment.
var ErrAnotherController = errors.New("another controller watches this environment")

// SetController records that a controller lives, and what it does next. Since the last beat of c, nobody
// else may have become the controller, unless over is that one, with the beat at which it was seen to have
// died; otherwise SetController returns [ErrAnotherController]. It fills in the holder's host and process, and raises
// the beat of c. It needs no lease, and returns a [HeldError] while the state is collected or moved.
func (s *Store) SetController(ctx context.Context, c *Controller, over *Controller) error {
	if err := c.Holder.complete(); err != nil {
		return fmt.Errorf("record the controller: %w", err)
	}
	holder, err := json.Marshal(c.Holder)
	if err != nil {
		return fmt.Errorf("record the controller: %w", err)
	}
	beat := c.Beat + 1
	err = s.record(ctx, "record the controller", func(ctx context.Context, tx *sql.Tx) error {
		var id string
		var seen int64
		err := tx.QueryRowContext(ctx, "SELECT id, beat FROM controller WHERE env = ?", s.env).Scan(&id, &seen)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err == nil && id != c.ID && (over == nil || id != over.ID || seen != over.Beat) {
			return ErrAnotherController
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM controller WHERE env = ?", s.env); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO controller(env, id, holder, since, beat, made, next, next_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			s.env, c.ID, string(holder), fromTime(c.Since), beat, fromTime(c.At), asText(c.Next), fromTime(c.NextAt))
		return err
	})
	if err == nil {
		c.Beat = beat
	}
	return err
}

// EndController records that a controller has ended, so that another one takes over at once.
func (s *Store) EndController(ctx context.Context, id string) error {
	return s.record(ctx, "end the controller", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM controller WHERE env = ? AND id = ?", s.env, id)
		return err
	})
}

// complete fills in the host and the process of a holder.
func (h *Holder) complete() error {
	if h.Host == "" {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		h.Host = host
	}
	if h.PID == 0 {
		h.PID = os.Getpid()
	}
	h.Process = processOf(h.PID)
	return nil
}
