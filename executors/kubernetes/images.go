package kubernetes

import (
	"context"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/planner"
)

// image returns the name of the task's image in the registry.
func (e *Executor) image(ctx context.Context, t executors.Task) (string, error) {
	if name, err := inside.Sent(e.opts.Images, t); err != nil || name != "" {
		return name, err
	}
	return e.images.Of(ctx, t, e.repository())
}

// repository holds the images of all units.
func (e *Executor) repository() string { return e.opts.Registry + cloud.ClusterRepository }

// publishAll pushes the images of a plan that the registry lacks, and returns the names of all of them.
func (e *Executor) publishAll(ctx context.Context, p *planner.Plan) (map[string]string, error) {
	return inside.PushAll(ctx, p, e.repository(), func(*ir.Unit) *inside.Images { return &e.images })
}
