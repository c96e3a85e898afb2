package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A Route says which versions of a service answer. A service with a single version has none,
// unless one was rejected.
type Route struct {
	// Versions are the champion and the challenger, in this order, while a release is in
	// progress. The challenger is what is current for the unit. Only the challenger is left once
	// it has become the champion, until its process has that route.
	Versions []RouteVersion `json:"versions,omitempty"`
	Since    time.Time      `json:"since,omitzero"` // of these weights
	Paused   bool           `json:"paused,omitempty"`
	Serial   int64          `json:"serial"` // grows with every change
	Reason   string         `json:"reason,omitempty"`
	// Rejected is the last challenger that did not become the champion. While there are still
	// two versions, it is the one among them, and its end has begun.
	Rejected *Rejected `json:"rejected,omitempty"`
}

// A RouteVersion is a version of a service in a route.
type RouteVersion struct {
	Name       string  `json:"name"` // "late v3"
	Key        string  `json:"key"`
	Run        int64   `json:"run"` // that made it, with what it reads; 0 is that of the current one
	Definition string  `json:"definition"`
	Revision   int     `json:"revision"` // that deployed it
	Weight     int     `json:"weight"`   // percent
	Shadow     float64 `json:"shadow,omitempty"`
	// Unit is the unit as it was applied, of the champion. The state has that of the current one.
	Unit *ir.Unit `json:"unit,omitempty"`
}

// Rejected is a version that did not become the champion.
type Rejected struct {
	Name     string `json:"name"`
	Key      string `json:"key"`
	Reason   string `json:"reason"`
	Revision int    `json:"revision"` // that rejected it
}

// Releasing reports whether a release is in progress.
func (r *Route) Releasing() bool {
	return r != nil && len(r.Versions) == 2 && !r.Ending()
}

// Ending reports whether a challenger was rejected, and the champion does not run alone yet.
func (r *Route) Ending() bool {
	return r != nil && len(r.Versions) == 2 && r.Rejected != nil && r.Rejected.Key == r.Challenger().Key
}

// Finishing reports whether the challenger has become the champion, and its process may still
// have the route before.
func (r *Route) Finishing() bool { return r != nil && len(r.Versions) == 1 }

// Champion and Challenger return the versions of a release in progress.
func (r *Route) Champion() *RouteVersion   { return &r.Versions[0] }
func (r *Route) Challenger() *RouteVersion { return &r.Versions[1] }

// Clone returns a copy that can be changed.
func (r *Route) Clone() *Route {
	c := *r
	c.Versions = slices.Clone(r.Versions)
	return &c
}

// SetRoute records the route of a service that is current.
func (l *Lease) SetRoute(ctx context.Context, unit string, r *Route) error {
	route, err := encode(r == nil, r)
	if err != nil {
		return fmt.Errorf("route of %s: %w", unit, err)
	}
	return l.change(ctx, true, "record the route of "+unit, func(ctx context.Context, tx *sql.Tx) error {
		return one(tx.ExecContext(ctx, "UPDATE current SET route = ? WHERE env = ? AND unit = ?", route, l.s.env, unit))
	})
}

// SetRelease records how the next versions of a current service are released.
func (l *Lease) SetRelease(ctx context.Context, u *ir.Unit) error {
	return l.change(ctx, true, "record the release of "+u.ID, func(ctx context.Context, tx *sql.Tx) error {
		text, err := json.Marshal(u)
		if err != nil {
			return err
		}
		return one(tx.ExecContext(ctx, "UPDATE applied SET ir = ? WHERE env = ? AND unit = ?", string(text), l.s.env, u.ID))
	})
}

// renameRoutes renames units in the champions of routes.
func (l *Lease) renameRoutes(ctx context.Context, tx *sql.Tx, to map[string]string) error {
	rows, err := tx.QueryContext(ctx, "SELECT unit, route FROM current WHERE env = ? AND route <> ''", l.s.env)
	if err != nil {
		return err
	}
	defer rows.Close()
	changed := map[string]*Route{}
	for rows.Next() {
		var unit, text string
		if err := rows.Scan(&unit, &text); err != nil {
			return err
		}
		r := new(Route)
		if err := json.Unmarshal([]byte(text), r); err != nil {
			return fmt.Errorf("read the route of %s: %w", unit, err)
		}
		for i := range r.Versions {
			if u := r.Versions[i].Unit; u != nil && rename(u, to) {
				changed[unit] = r
			}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for unit, r := range changed {
		text, err := encode(false, r)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "UPDATE current SET route = ? WHERE env = ? AND unit = ?", text, l.s.env, unit); err != nil {
			return err
		}
	}
	return nil
}
