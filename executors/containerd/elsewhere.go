package containerd

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"github.com/tenon-ml/tenon/planner/state"
)

// Lacks returns the layers of an image that containerd does not have, for whoever gets them from
// another machine. There are none if it has unpacked the image, which loaded says.
func (e *Executor) Lacks(ctx context.Context, img v1.Image) (layers []v1.Descriptor, loaded bool, err error) {
	hash, err := img.Digest()
	if err != nil {
		return nil, false, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, false, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return nil, false, err
	}
	ctx = e.in(ctx)
	err = e.patiently(ctx, func(c *client.Client) error {
		layers = nil
		if loaded, err = e.there(ctx, c, unpacked(hash, config)); err != nil || loaded {
			return err
		}
		for _, l := range manifest.Layers {
			_, err := c.ContentStore().Info(ctx, digest.Digest(l.Digest.String()))
			if errdefs.IsNotFound(err) {
				layers = append(layers, l)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("look for the image in containerd: %w", err)
	}
	return layers, loaded, nil
}

// Runs reports whether the program of a task has not ended. It does not ask a service whether it is
// ready.
func (e *Executor) Runs(ctx context.Context, h state.Handle) (bool, error) {
	ts, err := current(h)
	if err != nil {
		return false, err
	}
	e = e.at(ts.Place)
	ctx = e.in(ctx)
	c, err := e.connect(ctx)
	if err != nil {
		return false, err
	}
	st, err := e.look(ctx, c, ts)
	return err == nil && st.Phase == state.Running, e.explain(err)
}
