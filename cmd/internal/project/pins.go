package project

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// Pins returns the pins that hold, or all that there were, newest first.
func (w *Workspace) Pins(ctx context.Context, all bool) ([]state.Pin, error) {
	pins, err := w.store.PinHistory(ctx)
	if err != nil {
		return nil, err
	}
	out := []state.Pin{}
	for _, p := range pins {
		if all || p.Lifted.IsZero() {
			out = append(out, p)
		}
	}
	return out, nil
}

// Pin keeps automation from replacing what is deployed for a unit or an entity. The name may end
// with a revision, "models.late@7": the pin is refused unless what is deployed is as it was then.
func (w *Workspace) Pin(ctx context.Context, name, reason string) (*state.Pin, error) {
	name, at, versioned := strings.Cut(name, "@")
	s, err := w.deployed(ctx)
	if err != nil {
		return nil, err
	}
	id, units, err := s.named(name)
	if err != nil {
		return nil, err
	}
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	p := state.Pin{Unit: id, At: time.Now().UTC(), Reason: reason}
	for _, u := range units { // the last of them is what others read
		if c, ok := current[u]; ok {
			p.Key, p.Revision = c.Key, c.Revision
		}
	}
	if versioned {
		if p.Revision, err = w.pinnedAt(ctx, id, at, units, current); err != nil {
			return nil, err
		}
	}
	if p.By, err = w.person(ctx); err != nil {
		return nil, err
	}
	return &p, w.store.SetPin(ctx, p)
}

// pinnedAt returns the number of a revision if units are deployed as they were at its end.
func (w *Workspace) pinnedAt(ctx context.Context, id, name string, units []string, current map[string]state.Current) (int, error) {
	number, err := strconv.Atoi(name)
	if err != nil {
		return 0, &RequestError{fmt.Errorf("%q is not the number of a revision: write %s@7, with a number of tenon history", name, id)}
	}
	r, err := w.revision(ctx, number)
	if err != nil {
		return 0, err
	}
	if r.Deployed == "" {
		return 0, w.notWhole(ctx, r)
	}
	var then state.Deployed
	if err := w.recorded(ctx, r, "list of what was deployed", r.Deployed, &then); err != nil {
		return 0, err
	}
	for _, u := range units {
		was, ok := then[u]
		if !ok || was.Key != current[u].Key || current[u].Kind == ir.Job && was.Run != current[u].Run {
			return 0, fmt.Errorf("%s is not as it was in revision @%d: run tenon rollback @%[2]d first, and then tenon pin %[1]s", id, number)
		}
	}
	return number, nil
}

// Unpin lifts the pin of a unit or an entity.
func (w *Workspace) Unpin(ctx context.Context, name string) (*state.Pin, error) {
	pins, err := w.store.Pins(ctx)
	if err != nil {
		return nil, err
	}
	p, ok := pins[unitName(name)]
	if !ok {
		if p, ok = pins[name]; !ok {
			var names []string
			for id := range pins {
				names = append(names, id)
			}
			slices.Sort(names)
			if len(names) == 0 {
				return nil, errors.New("nothing is pinned")
			}
			return nil, fmt.Errorf("%s is not pinned; pinned are %s", name, strings.Join(names, ", "))
		}
	}
	by, err := w.person(ctx)
	if err != nil {
		return nil, err
	}
	p.Lifted, p.LiftedBy = time.Now().UTC(), by
	err = w.store.RemovePin(ctx, p.Unit, by, p.Lifted)
	if errors.Is(err, state.ErrNotFound) {
		return nil, fmt.Errorf("the pin of %s has just been lifted by somebody else", p.Unit)
	}
	return &p, err
}
