package kubernetes

import (
	"context"
	"errors"
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/planner"
)

// image returns the name of the task's image in the registry.
func (e *Executor) image(ctx context.Context, t executors.Task) (string, error) {
	if name := e.opts.Images[imageKey(t.Unit, t.Image)]; name != "" {
		return name, nil
	} else if len(e.opts.Images) > 0 {
		return "", errors.New("no image was made for this version of it, or for it together with the version beside it: apply without --detach; for a controller, run tenon run --detach again")
	}
	return e.images.Of(ctx, t, e.repository())
}

// repository holds the images of all units.
func (e *Executor) repository() string { return e.opts.Registry + cloud.ClusterRepository }

// imageKey returns the key of a unit's image, on a pinned base, among those that are published
// already. A unit that runs beside another version may need another program than alone, and a
// champion that is deployed again another environment than the declared version.
func imageKey(u ir.Unit, on string) string { return u.ID + " " + image.Name(u, on, false) }

// publishAll pushes the images of a plan that the registry lacks, and returns the names
// of all of them, by [imageKey].
func (e *Executor) publishAll(ctx context.Context, p *planner.Plan) (map[string]string, error) {
	names := map[string]string{}
	for i := range p.System.Units {
		u := &p.System.Units[i]
		if u.Kind == ir.Record {
			continue
		}
		recipe, err := e.images.Recipe(ctx, *u, p.Image(u), image.PartsOf(u.Code, p.Blobs))
		if err != nil {
			return nil, err
		}
		name, err := e.images.Push(ctx, recipe, e.repository())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.ID, err)
		}
		names[imageKey(*u, p.Image(u))] = name
	}
	return names, nil
}
