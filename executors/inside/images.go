package inside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner"
)

// Images makes the images of units and pushes them to a registry.
type Images struct {
	// Programs are those of Tenon that units run.
	Programs executors.Programs
	// Pod is the path of tenon-pod, which has to run in the images.
	Pod string
	// Bare removes what the bases of images start by themselves, see [image.Recipe].
	Bare bool
	// Entry is what images start, see [image.Recipe].
	Entry []string
	// Build makes or finds the image of a recipe. Publish pushes an image to a repository
	// and returns its name there, by digest.
	Build   func(context.Context, image.Recipe) (v1.Image, error)
	Publish func(ctx context.Context, img v1.Image, repository string) (string, error)

	mu        sync.Mutex
	published map[string]string // known to be in the registry, by repository and recipe
}

// Of returns the name of the image of a task in a repository, and makes and pushes it if it is
// missing. The image does not contain the unit's files: they go through the store, so that
// editing them does not create another image.
func (m *Images) Of(ctx context.Context, t executors.Task, repository string) (string, error) {
	lock, environments, err := local.Locks(t)
	if err != nil {
		return "", err
	}
	recipe, err := m.Recipe(ctx, t.Unit, t.Image, image.Parts{Lock: lock, Environments: environments})
	if err != nil {
		return "", err
	}
	return m.Push(ctx, recipe, repository)
}

// Recipe returns the recipe of a unit's image, on a pinned base. The parts have the locks.
func (m *Images) Recipe(ctx context.Context, u ir.Unit, on string, parts image.Parts) (r image.Recipe, err error) {
	if parts.Program, parts.Duck, err = m.Programs.Of(ctx, u.Code); err != nil {
		return r, err
	}
	u.Code.Image = "" // on is that reference, by digest
	r = image.RecipeFor(u, on, parts)
	r.Pod, r.Bare, r.Entry = m.Pod, m.Bare, m.Entry
	return r, nil
}

// Key returns the key of a unit's image, on a pinned base, among those that were sent with a detached program. A unit that runs beside
// another version may need another program than alone, and a champion that is deployed again another environment than the declared
// version.
func Key(u ir.Unit, on string) string { return u.ID + " " + image.Name(u, on, false) }

// PushAll pushes the images of a plan that a repository lacks, and returns the names of all of them, by [Key]. of returns what makes
// the image of a unit, or nil if it has none.
func PushAll(ctx context.Context, p *planner.Plan, repository string, of func(*ir.Unit) *Images) (map[string]string, error) {
	names := map[string]string{}
	for i := range p.System.Units {
		u := &p.System.Units[i]
		m := of(u)
		if u.Kind == ir.Record || m == nil {
			continue
		}
		recipe, err := m.Recipe(ctx, *u, p.Image(u), image.PartsOf(u.Code, p.Blobs))
		if err != nil {
			return nil, err
		}
		name, err := m.Push(ctx, recipe, repository)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", u.ID, err)
		}
		names[Key(*u, p.Image(u))] = name
	}
	return names, nil
}

// Sent returns the image of a task among those that a detached program was sent with, or "" if it was sent with none.
func Sent(images map[string]string, t executors.Task) (string, error) {
	name := images[Key(t.Unit, t.Image)]
	if name == "" && len(images) > 0 {
		return "", errors.New("no image was made for this version of it, or for it together with the version beside it: apply without --detach; for a controller, run tenon run --detach again")
	}
	return name, nil
}

// Push makes an image and pushes it unless the registry has it. It returns its name there.
func (m *Images) Push(ctx context.Context, recipe image.Recipe, repository string) (string, error) {
	if _, err := os.Stat(recipe.Pod); err != nil {
		return "", fmt.Errorf("tenon-pod, the init of pods, is not next to tenon: run `make build` to build both: %w", err)
	}
	b, err := json.Marshal(recipe)
	if err != nil {
		return "", err
	}
	key := repository + " " + string(b)
	m.mu.Lock()
	defer m.mu.Unlock()
	if name := m.published[key]; name != "" {
		return name, nil
	}
	built, err := m.Build(ctx, recipe)
	if err != nil {
		return "", fmt.Errorf("build the image: %w", err)
	}
	name, err := m.Publish(ctx, built, repository)
	if err != nil {
		return "", fmt.Errorf("push the image to the registry: %w", err)
	}
	if m.published == nil {
		m.published = map[string]string{}
	}
	m.published[key] = name
	return name, nil
}
