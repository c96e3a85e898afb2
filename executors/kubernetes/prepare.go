package kubernetes

import (
	"context"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Prepares returns the name of the image that a unit may need to have made, or "" if
// the registry is known to have it.
func (e *Executor) Prepares(u ir.Unit, on string) string {
	if e.opts.Images[inside.Key(u, on)] != "" {
		return ""
	}
	return image.Name(u, on, false)
}

// Missing returns nil: which layers are missing is known only when the image is made.
func (e *Executor) Missing(ir.Unit, string, []byte) *planner.Preparation { return nil }

// Prepare makes the image of the task's unit and pushes it to the registry.
func (e *Executor) Prepare(ctx context.Context, t executors.Task, report func(step.Progress)) error {
	_, err := e.image(image.WithProgress(ctx, func(text string) { report(step.Progress{Message: text}) }), t)
	return err
}
