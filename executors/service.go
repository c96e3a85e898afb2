package executors

import (
	"context"
	"fmt"

	"github.com/tenon-ml/tenon/planner/state"
)

// takeOver replaces a service with its ready successor. The order keeps one ready at
// every moment, and leaves none behind if the apply is killed: journal the end of the old
// one, record the new one, destroy the old one, clear the journal.
func (c *call) takeOver(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	id := c.n.unit.ID
	old, had := c.current[id]
	had = had && old.Handle != nil && old.Handle.ID != c.handle.ID

	var end state.Pending
	if had {
		end = state.Pending{Handle: old.Handle, Run: state.Run{
			Key: old.Key, Unit: id, Definition: old.Definition, Revision: c.result.Revision,
			Attempt: ending, Started: c.o.Now(), Devices: c.formerDevices(),
		}}
		var err error
		if end.Run.ID, err = c.o.Lease.Begin(ctx, end.Run); err != nil {
			return &stateError{err}
		}
		if err := c.o.Lease.SetHandle(ctx, end.Run.ID, *old.Handle); err != nil {
			return &stateError{err}
		}
	}
	if err := c.restoreRoute(ctx); err != nil {
		return err
	}
	if err := c.finish(ctx, c.handle); err != nil {
		return err
	}
	if !had {
		return nil
	}
	limited, cancel := cleanup(ctx)
	defer cancel()
	if err := c.quit(limited, *old.Handle); err != nil && c.broken() != nil {
		return err
	} else if err != nil {
		c.stuck = true
		c.leave(&UnitError{Unit: id, Err: fmt.Errorf("it is ready, but the previous version could not be stopped: %w", err)})
		return nil
	}
	c.events.send(Event{Unit: id, Type: EventDestroyed, Message: "replaced"})
	end.Run.Outcome, end.Run.Error = state.Canceled, fmt.Sprintf("stopped: replaced in revision %d", c.result.Revision)
	if err := c.o.Lease.Clear(ctx, end); err != nil {
		return &stateError{err}
	}
	return nil
}

// formerDevices returns the GPUs of the unit's deployed service.
func (c *call) formerDevices() []string {
	if r := c.resultOf(c.n.unit.ID); r != nil {
		return r.Devices
	}
	return nil
}
