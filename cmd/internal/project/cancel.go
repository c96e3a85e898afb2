package project

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenon-ml/tenon/planner/state"
)

// Canceled describes a detached apply that was ended.
type Canceled struct {
	Revision state.Revision
	// Killed reports that none of its processes was there to record how it ended.
	Killed bool
	Left   []string // units that still run, because no process was there to end them
}

// Cancel ends the current detached apply. It returns nil if there is none.
func (w *Workspace) Cancel(ctx context.Context) (*Canceled, error) {
	last, err := w.store.Revisions(ctx, 1)
	if err != nil {
		return nil, err
	}
	if len(last) == 0 || last[0].Outcome != state.Started {
		return nil, nil
	}
	d, err := w.detachedIn(ctx, last[0])
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, errors.New("this apply does not run in the cluster: interrupt it on the machine where it runs")
	}
	w.set.notify(Notice{Text: fmt.Sprintf("stopping Job %s ...", d.Job().Name)})
	if err := d.End(ctx); err != nil {
		return nil, err
	}
	r, err := w.store.Revision(ctx, last[0].Number)
	if err != nil {
		return nil, err
	}
	c := &Canceled{Revision: *r}
	if r.Outcome != state.Started {
		return c, nil
	}
	c.Killed = true
	now, err := w.underWay(ctx, *r)
	if err != nil {
		return nil, err
	}
	for _, u := range now.Units {
		c.Left = append(c.Left, u.Unit)
	}
	return c, nil
}
