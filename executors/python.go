package executors

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// ErrPython means that the interpreter is not the one that the plan was made with.
var ErrPython = errors.New("the version of Python has changed since the plan was made")

// findPython finds the exact versions of Python that the jobs of the plan run with, since
// run keys contain them. What a plan did not know is known now; what it knew must be the
// same here, because it decided with that.
func (w *walk) findPython(ctx context.Context) error {
	if w.plan.Python == nil {
		return nil
	}
	w.python = maps.Clone(w.plan.Python)
	x, ok := w.o.Executor.(Interpreter)
	if !ok || w.plan.System.Target.Base() != "" {
		return nil
	}
	seen := map[string]bool{}
	for _, n := range w.works {
		v := n.unit.Code.Python
		if v == "" || seen[v] || n.unit.Kind != ir.Job || n.unit.Code.Image != "" || !n.changes() {
			continue
		}
		seen[v] = true
		exact, err := x.Python(ctx, v, true)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			// Units that need it fail, the others run.
			w.noPython = fmt.Errorf("prepare: %w", err)
			continue
		}
		if planned := w.python[v]; planned != "" && exact != "" && planned != exact {
			return fmt.Errorf("%w: it was %s and is now %s: plan again", ErrPython, planned, exact)
		}
		if exact != "" {
			w.python[v] = exact
		}
	}
	return nil
}
