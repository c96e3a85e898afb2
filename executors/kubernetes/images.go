package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
)

// repository is where all images of units are, below the target's registry.
const repository = "/tenon"

// image makes the task's image, sees to it that the registry has it, and returns its
// name there. The unit's files are not in it: they pass through the store, so that a
// change of them makes no other image.
func (e *Executor) image(ctx context.Context, t executors.Task) (string, error) {
	var lock []byte
	if t.Lock != "" {
		var err error
		if lock, err = os.ReadFile(t.Lock); err != nil {
			return "", fmt.Errorf("read the lock of the Python environment: %w", err)
		}
	}
	if _, err := os.Stat(e.opts.Pod); err != nil {
		return "", fmt.Errorf("tenon-pod, the program of pods, is not beside tenon: `make build` makes both: %w", err)
	}
	u := t.Unit
	u.Code.Image = "" // t.Image is that reference, by digest
	recipe := image.RecipeFor(u, t.Image, nil, lock, e.opts.Tenon)
	recipe.Pod = e.opts.Pod
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
		return "", fmt.Errorf("make the image: %w", err)
	}
	name, err := e.opts.Publish(ctx, built, e.opts.Registry+repository)
	if err != nil {
		return "", fmt.Errorf("put the image into the registry: %w", err)
	}
	e.published[string(key)] = name
	return name, nil
}
