package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner"
)

// repository holds the images of all units, below the target's registry.
const repository = "/tenon"

// image returns the name of the task's image in the registry. The image does not
// contain the unit's files: they go through the store, so that editing them does not
// create another image.
func (e *Executor) image(ctx context.Context, t executors.Task) (string, error) {
	if name := e.opts.Images[imageKey(t.Unit, t.Image)]; name != "" {
		return name, nil
	} else if len(e.opts.Images) > 0 {
		return "", errors.New("no image was made for this version of it, or for it together with the version beside it: apply without --detach")
	}
	lock, environments, err := local.Locks(t)
	if err != nil {
		return "", err
	}
	recipe, err := e.recipe(ctx, t.Unit, t.Image, image.Parts{Lock: lock, Environments: environments})
	if err != nil {
		return "", err
	}
	return e.publish(ctx, recipe)
}

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
		recipe, err := e.recipe(ctx, *u, p.Image(u), image.PartsOf(u.Code, p.Blobs))
		if err != nil {
			return nil, err
		}
		name, err := e.publish(ctx, recipe)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.ID, err)
		}
		names[imageKey(*u, p.Image(u))] = name
	}
	return names, nil
}

// recipe returns the recipe of a unit's image, on a pinned base. The parts have the locks.
func (e *Executor) recipe(ctx context.Context, u ir.Unit, on string, parts image.Parts) (r image.Recipe, err error) {
	if parts.Program, parts.Duck, err = e.opts.Programs.Of(ctx, u.Code); err != nil {
		return r, err
	}
	u.Code.Image = "" // on is that reference, by digest
	r = image.RecipeFor(u, on, parts)
	r.Pod = e.opts.Pod
	return r, nil
}

// publish makes an image and pushes it unless the registry has it. It returns its name
// there.
func (e *Executor) publish(ctx context.Context, recipe image.Recipe) (string, error) {
	if _, err := os.Stat(recipe.Pod); err != nil {
		return "", fmt.Errorf("tenon-pod, the init of pods, is not next to tenon: run `make build` to build both: %w", err)
	}
	key, err := json.Marshal(recipe)
	if err != nil {
		return "", err
	}
	e.publishing.Lock()
	defer e.publishing.Unlock()
	if name := e.published[string(key)]; name != "" {
		return name, nil
	}
	built, err := e.opts.Build(ctx, recipe)
	if err != nil {
		return "", fmt.Errorf("build the image: %w", err)
	}
	name, err := e.opts.Publish(ctx, built, e.opts.Registry+repository)
	if err != nil {
		return "", fmt.Errorf("push the image to the registry: %w", err)
	}
	e.published[string(key)] = name
	return name, nil
}
