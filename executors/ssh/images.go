package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/containerd"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/ssh/host"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// contained reports whether a unit runs in a container.
func contained(u ir.Unit) bool { return u.Code.Image != "" }

// runner returns what knows the units of its kind, without running any here.
func (e *Executor) runner(u ir.Unit) interface {
	executors.Checker
	Prepares(u ir.Unit, image string) string
	Missing(u ir.Unit, image string, lock []byte) *planner.Preparation
} {
	if contained(u) {
		return e.boxes
	}
	return e.local
}

// image makes the image of a task, as far as its layers are not those of its base.
func (e *Executor) image(ctx context.Context, t executors.Task) (v1.Image, error) {
	if e.opts.Build == nil {
		return nil, errors.New("this executor makes no images, but the unit has one")
	}
	if t.Image == "" {
		return nil, errors.New("the plan has no image for it: plan again")
	}
	if err := local.Apart(t, true); err != nil {
		return nil, err
	}
	recipe, err := containerd.Recipe(ctx, t, e.opts.Programs)
	if err != nil {
		return nil, err
	}
	img, err := e.opts.Build(ctx, recipe)
	if err != nil {
		return nil, fmt.Errorf("build the image: %w", err)
	}
	return img, nil
}

// image adds the image of a task. Its Python environments are in it, and only their locks are sent.
func (p *prepared) image(ctx context.Context, t executors.Task, img v1.Image) error {
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	sent := host.Image{Digest: digest.String(), Base: t.Image}
	kind, err := img.MediaType()
	if err != nil {
		return err
	}
	sent.Type = string(kind)
	if sent.Manifest, err = img.RawManifest(); err != nil {
		return err
	}
	if sent.Config, err = img.RawConfigFile(); err != nil {
		return err
	}
	p.start.Image = &sent
	p.sources[sent.Digest] = source{name: "image", image: img}
	for _, of := range append(slices.Collect(maps.Values(t.Beside)), t) {
		locks := map[string]string{}
		maps.Copy(locks, of.Environments)
		if of.Lock != "" {
			locks[of.Unit.Code.Lock] = of.Lock
		}
		for digest, path := range locks {
			ref, err := p.add(ctx, path, "", "lock of the Python environment")
			if err != nil {
				return err
			}
			p.start.Environments[digest] = host.Environment{Lock: ref}
		}
	}
	return nil
}

// putImage sends the layers of an image that containerd of a host lacks, which then gets it.
func (l *link) putImage(ctx context.Context, of host.Image, img v1.Image) error {
	for range 3 { // between two requests, containerd may lose what it had
		got, err := ask[host.Loaded](ctx, l, host.ImagePath, of)
		if err != nil || len(got.Missing) == 0 {
			return err
		}
		group, inGroup := errgroup.WithContext(ctx)
		group.SetLimit(atOnce)
		for _, digest := range got.Missing {
			group.Go(func() error {
				if err := l.putLayer(inGroup, digest, img); err != nil {
					return fmt.Errorf("layer %s: %w", digest, err)
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return own(fmt.Errorf("host %s loses layers of the image %s as fast as they are sent", l.host, of.Digest))
}

func (l *link) putLayer(ctx context.Context, digest string, img v1.Image) error {
	hash, err := v1.NewHash(digest)
	if err != nil {
		return own(err)
	}
	layer, err := img.LayerByDigest(hash)
	if err != nil {
		return own(err)
	}
	r, err := layer.Compressed()
	if err != nil {
		return own(err)
	}
	defer r.Close()
	return l.stream(ctx, host.BlobPath+digest, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// prepareImage makes the image of a task here. Its layers are sent once there is a host with room.
func (e *Executor) prepareImage(ctx context.Context, t executors.Task, report func(step.Progress)) error {
	_, err := e.image(image.WithProgress(ctx, func(text string) { report(step.Progress{Message: text}) }), t)
	return err
}
