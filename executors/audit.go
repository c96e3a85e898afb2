package executors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// audits reports whether a reused unit is to be run again. It is not if its inputs
// changed since the plan was made: then there is nothing to compare with.
func (w *walk) audits(ctx context.Context, n *work) bool {
	if !n.item.Audit || n.unit.Kind != ir.Job || w.resultOf(n.unit.ID) == nil {
		return false
	}
	err := w.resolve(ctx, n)
	shared := ""
	if err == nil && n.key != n.item.Key {
		shared, err = w.sharedKey(ctx, n)
	}
	var broken *stateError
	switch {
	case errors.As(err, &broken):
		w.stop(broken)
	case err != nil:
		w.audited(Audit{Unit: n.unit.ID, Error: err.Error()})
	case n.key != n.item.Key && shared != n.item.Key:
		w.audited(Audit{Unit: n.unit.ID, Error: "its inputs have changed since the plan was made"})
	default:
		n.audit = true
		return true
	}
	n.key = n.item.Key
	return false
}

func (w *walk) audited(a Audit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.result.Audits = append(w.result.Audits, a)
	slices.SortFunc(w.result.Audits, func(a, b Audit) int { return strings.Compare(a.Unit, b.Unit) })
}

// audit runs a unit again and compares the result with the recorded one. The recorded
// result stays current, whatever the outcome.
func (w *walk) audit(ctx context.Context, n *work) report {
	recorded := w.resultOf(n.unit.ID)
	c, err := w.open(ctx, n)
	var lent *state.LentError
	switch {
	case errors.As(err, &lent):
		n.tries--
		return report{work: n, verdict: outrun}
	case err != nil:
		w.stop(err)
		return report{work: n, verdict: canceled}
	}
	w.events.send(Event{Unit: n.unit.ID, Type: EventStarted, Attempt: n.tries, Message: "audit", Log: c.log()})
	if err = c.perform(ctx); err == nil {
		c.run.Outputs, err = c.outputs(ctx)
	}
	var broken *stateError
	switch {
	case errors.As(err, &broken):
		w.stop(broken)
		return c.abandon(ctx)
	case ctx.Err() != nil:
		return c.abandon(ctx)
	}
	found := Audit{Unit: n.unit.ID}
	if err != nil {
		found.Error = err.Error()
		c.run.Error = "audit: " + err.Error()
	}
	for _, port := range sortedKeys(c.run.Outputs) {
		if c.run.Outputs[port].Digest != recorded.Outputs[port].Digest {
			found.Differs = append(found.Differs, port)
		}
	}
	if !c.endAs(ctx, state.Audited) {
		return report{work: n, verdict: canceled}
	}
	if len(found.Differs) > 0 {
		u := state.Unstable{Unit: n.unit.ID, Definition: n.unit.Digest, Revision: w.result.Revision, Ports: found.Differs}
		if err := w.o.Lease.MarkUnstable(context.WithoutCancel(ctx), u); err != nil {
			w.stop(err)
			return report{work: n, verdict: canceled}
		}
	}
	w.audited(found)
	w.events.send(Event{Unit: n.unit.ID, Type: EventAudited, Attempt: n.tries, Duration: c.took(), Error: found.String(), Log: c.log()})
	return report{work: n, verdict: done}
}

// String describes the difference in one line, or is empty.
func (a Audit) String() string {
	switch {
	case a.Error != "":
		return "cannot run it again: " + a.Error
	case len(a.Differs) > 0:
		return fmt.Sprintf("not deterministic: %s differed for the same inputs", strings.Join(a.Differs, " and "))
	}
	return ""
}
