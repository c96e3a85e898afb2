package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// LentAs says how another environment holds devices.
type LentAs string

const (
	LentToService LentAs = "deployed" // a service, until it is removed
	LentToRun     LentAs = "running"  // a unit of an apply in progress, until it ends
	LentLeft      LentAs = "left"     // what a killed apply left, until the environment is applied again
)

// Lent are devices that a unit of another environment holds.
type Lent struct {
	Env, Unit string
	Devices   []string // as the run records them: "gpu=0", or "gpu=0 1/4" for a share
	As        LentAs
}

// A LentError means that another environment holds a device that a run was to get.
type LentError struct {
	Device string
	Lent   Lent
}

func (e *LentError) Error() string {
	return fmt.Sprintf("%s is lent to %s of %s", e.Device, e.Lent.Unit, EnvironmentNamed(e.Lent.Env))
}

const lentQuery = `SELECT current.env, current.unit, run.devices, 0, 0, '' FROM current JOIN run ON run.id = current.run
	WHERE current.env <> ?1 AND current.kind = 'service' AND run.devices <> ''
UNION ALL SELECT run.env, run.unit, run.devices, 1, coalesce(lease.expires, 0), coalesce(lease.holder, '')
	FROM pending JOIN run ON run.id = pending.run LEFT JOIN lease ON lease.env = run.env
	WHERE run.env <> ?1 AND run.devices <> '' ORDER BY 1, 2, 4`

// LentElsewhere returns the devices that units of other environments hold.
func (s *Store) LentElsewhere(ctx context.Context) (all []Lent, err error) {
	err = s.each(ctx, func(rows *sql.Rows) error {
		l, err := s.scanLent(rows)
		all = append(all, l)
		return err
	}, lentQuery, s.env)
	return all, err
}

func (s *Store) scanLent(rows *sql.Rows) (Lent, error) {
	l := Lent{As: LentToService}
	var devices, holder string
	var pending bool
	var expires int64
	if err := rows.Scan(&l.Env, &l.Unit, &devices, &pending, &expires, &holder); err != nil {
		return l, err
	}
	if err := decode(devices, &l.Devices); err != nil {
		return l, fmt.Errorf("devices of %s: %w", l.Unit, err)
	}
	if !pending {
		return l, nil
	}
	alive, err := s.lives(toTime(expires), holder)
	if l.As = LentLeft; alive {
		l.As = LentToRun
	}
	return l, err
}

// lives reports whether the holder of a lock of another environment is alive.
func (s *Store) lives(expires time.Time, holder string) (bool, error) {
	if holder == "" {
		return false, nil
	}
	var h Holder
	if err := json.Unmarshal([]byte(holder), &h); err != nil {
		return false, fmt.Errorf("holder of the lock: %w", err)
	}
	return s.now().Before(expires) && !gone(h), nil
}

// lend returns a [LentError] unless the devices of a run are free of other environments, or its
// unit has them already. It is part of the transaction that enters the run in the journal, so two
// environments never lend the same device.
func (l *Lease) lend(ctx context.Context, tx *sql.Tx, r Run) error {
	if len(r.Devices) == 0 {
		return nil
	}
	var text string
	var had []string
	err := tx.QueryRowContext(ctx, "SELECT run.devices FROM current JOIN run ON run.id = current.run WHERE current.env = ? AND current.unit = ? AND current.kind = 'service'",
		l.s.env, r.Unit).Scan(&text)
	if err == nil {
		err = decode(text, &had)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	wanted := map[string]*big.Rat{}
	for _, d := range r.Devices {
		if slices.Contains(had, d) {
			continue
		}
		name, share := shareOf(d)
		if wanted[name] == nil {
			wanted[name] = new(big.Rat)
		}
		wanted[name].Add(wanted[name], share)
	}
	rows, err := tx.QueryContext(ctx, lentQuery, l.s.env)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		lent, err := l.s.scanLent(rows)
		if err != nil {
			return err
		}
		for _, d := range lent.Devices {
			name, share := shareOf(d)
			if wanted[name] == nil {
				continue
			}
			if wanted[name].Add(wanted[name], share); wanted[name].Cmp(big.NewRat(1, 1)) > 0 {
				return &LentError{Device: d, Lent: lent}
			}
		}
	}
	return rows.Err()
}

// shareOf returns the name of a recorded device, and how much of it is lent: all of it, unless its
// part is a fraction. A slice has a name of its own.
func shareOf(device string) (name string, share *big.Rat) {
	name, part, _ := strings.Cut(device, " ")
	if r, ok := new(big.Rat).SetString(part); ok && r.Sign() > 0 {
		return name, r
	}
	return name, big.NewRat(1, 1)
}
