package project

import (
	"context"
	"sync"

	"github.com/tenon-ml/tenon/planner/state"
)

// A lastSeen remembers what was read of an environment last. A controller looks every few seconds, and
// mostly nothing has changed: every change of what it remembers has another serial.
type lastSeen struct {
	mu        sync.Mutex
	meta      state.Meta
	known     bool
	current   map[string]state.Current
	revisions []state.Revision // newest first
}

// A listedUnit names a unit in a list of what was deployed, by the digest of the list.
type listedUnit struct{ list, unit string }

// now returns what is deployed, by unit, and all revisions, newest first. The caller must not change
// them.
func (w *Workspace) now(ctx context.Context) (map[string]state.Current, []state.Revision, error) {
	meta, err := w.store.Meta(ctx) // before the rest, which may be newer
	if err != nil {
		return nil, nil, err
	}
	r := w.lastSeen
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known && r.meta == meta {
		return r.current, r.revisions, nil
	}
	r.known = false
	if r.current, err = w.store.Current(ctx); err != nil {
		return nil, nil, err
	}
	if r.revisions, err = w.store.Revisions(ctx, 0); err != nil {
		return nil, nil, err
	}
	r.meta, r.known = meta, true
	return r.current, r.revisions, nil
}

// keyThen returns the key of a unit that was deployed at the end of a revision, or "".
func (w *Workspace) keyThen(ctx context.Context, r *state.Revision, unit string) (string, error) {
	at := listedUnit{r.Deployed, unit}
	if known, ok := w.causes.Load(at); ok {
		return known.(string), nil
	}
	var then state.Deployed
	if err := w.recorded(ctx, r, "list of what was deployed", r.Deployed, &then); err != nil {
		return "", err
	}
	w.causes.Store(at, then[unit].Key)
	return then[unit].Key, nil
}
