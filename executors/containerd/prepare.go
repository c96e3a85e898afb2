package containerd

import (
	"context"

	"github.com/containerd/containerd/v2/client"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Prepares returns the name of the unit's image, which holds its environment and its
// code.
func (e *Executor) Prepares(u ir.Unit, on string) string { return image.Name(u, on, true) }

// Missing returns nil: which layers are missing is known only when the image is made.
func (e *Executor) Missing(ir.Unit, string, []byte) *planner.Preparation { return nil }

// Prepare makes the image of the task's unit and makes containerd unpack it.
func (e *Executor) Prepare(ctx context.Context, t executors.Task, report func(step.Progress)) error {
	ctx = image.WithProgress(e.in(ctx), func(text string) { report(step.Progress{Message: text}) })
	return e.patiently(ctx, func(c *client.Client) error {
		_, _, err := e.image(ctx, c, t)
		return err
	})
}
