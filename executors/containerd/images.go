package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
)

// imageName begins the names of tenon's images in containerd; the digest follows.
const imageName = "tenon/image@"

// image makes the task's image and sees to it that containerd has it unpacked.
func (e *Executor) image(ctx context.Context, c *client.Client, t executors.Task) (client.Image, *v1.ConfigFile, error) {
	if t.Image == "" {
		return nil, nil, errors.New("the plan names no image for it: plan again")
	}
	var lock []byte
	if t.Lock != "" {
		var err error
		if lock, err = os.ReadFile(t.Lock); err != nil {
			return nil, nil, fmt.Errorf("read the lock of the Python environment: %w", err)
		}
	}
	u := t.Unit
	u.Code.Image = "" // t.Image is that reference, by digest
	built, err := e.opts.Build(ctx, image.RecipeFor(u, t.Image, os.DirFS(t.Code), lock, e.opts.Tenon))
	if err != nil {
		return nil, nil, fmt.Errorf("make the image: %w", err)
	}
	config, err := built.ConfigFile()
	if err != nil {
		return nil, nil, fmt.Errorf("make the image: %w", err)
	}
	hash, err := built.Digest()
	if err != nil {
		return nil, nil, fmt.Errorf("make the image: %w", err)
	}
	e.loading.Lock()
	defer e.loading.Unlock()
	if img := e.images[hash.String()]; img != nil {
		if _, err := c.ImageService().Get(ctx, img.Name()); err == nil {
			return img, config, nil
		}
	}
	img, err := e.load(ctx, c, built)
	if err != nil {
		return nil, nil, fmt.Errorf("load the image: %w", err)
	}
	e.images[hash.String()] = img
	return img, config, nil
}

// load copies to containerd what it lacks of an image, and unpacks it. A lease
// keeps containerd from collecting what nothing refers to yet.
func (e *Executor) load(ctx context.Context, c *client.Client, built v1.Image) (client.Image, error) {
	ctx, release, err := c.WithLease(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = release(context.WithoutCancel(ctx)) }() // it ends by itself as well
	hash, err := built.Digest()
	if err != nil {
		return nil, err
	}
	name := imageName + hash.String()
	img, err := c.GetImage(ctx, name)
	if errdefs.IsNotFound(err) {
		img, err = e.copy(ctx, c, name, built)
	}
	if err != nil {
		return nil, err
	}
	unpacked, err := img.IsUnpacked(ctx, e.opts.Snapshotter)
	if err != nil || unpacked {
		return img, err
	}
	return img, img.Unpack(ctx, e.opts.Snapshotter)
}

func (e *Executor) copy(ctx context.Context, c *client.Client, name string, built v1.Image) (client.Image, error) {
	store := c.ContentStore()
	manifest, err := built.Manifest()
	if err != nil {
		return nil, err
	}
	layers, err := built.Layers()
	if err != nil {
		return nil, err
	}
	labels := map[string]string{"containerd.io/gc.ref.content.config": manifest.Config.Digest.String()}
	for i, l := range layers {
		d := manifest.Layers[i]
		labels[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = d.Digest.String()
		if err := put(ctx, store, descriptor(d), nil, l.Compressed); err != nil {
			return nil, fmt.Errorf("layer %s: %w", d.Digest, err)
		}
	}
	config, err := built.RawConfigFile()
	if err != nil {
		return nil, err
	}
	if err := put(ctx, store, descriptor(manifest.Config), nil, reading(config)); err != nil {
		return nil, err
	}
	raw, err := built.RawManifest()
	if err != nil {
		return nil, err
	}
	target := ocispec.Descriptor{MediaType: string(manifest.MediaType), Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if err := put(ctx, store, target, labels, reading(raw)); err != nil {
		return nil, err
	}
	img, err := c.ImageService().Create(ctx, images.Image{Name: name, Target: target, Labels: map[string]string{labelName: "image"}})
	if errdefs.IsAlreadyExists(err) {
		img, err = c.ImageService().Get(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	return client.NewImage(c, img), nil
}

func descriptor(d v1.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size}
}

// put writes a blob that is not there yet. What is there, another image may have
// brought, with labels of its own.
func put(ctx context.Context, store content.Store, d ocispec.Descriptor, labels map[string]string, open func() (io.ReadCloser, error)) error {
	if _, err := store.Info(ctx, d.Digest); err == nil {
		if labels == nil {
			return nil
		}
		fields := make([]string, 0, len(labels))
		for k := range labels {
			fields = append(fields, "labels."+k)
		}
		_, err := store.Update(ctx, content.Info{Digest: d.Digest, Labels: labels}, fields...)
		return err
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	return content.WriteBlob(ctx, store, "tenon-"+d.Digest.String(), r, d, content.WithLabels(labels))
}

func reading(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}
