package containerd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/local"
)

// ImageName returns the name that tenon's image with a digest has in containerd.
func ImageName(digest string) string { return "tenon/image@" + digest }

// image makes the task's image and makes sure that containerd has unpacked it.
func (e *Executor) image(ctx context.Context, c *client.Client, t executors.Task) (*loaded, *v1.ConfigFile, error) {
	recipe, err := Recipe(ctx, t, e.opts.Programs)
	if err != nil {
		return nil, nil, err
	}
	built, err := e.opts.Build(ctx, recipe)
	if err != nil {
		return nil, nil, fmt.Errorf("build the image: %w", err)
	}
	config, err := built.ConfigFile()
	if err != nil {
		return nil, nil, fmt.Errorf("build the image: %w", err)
	}
	e.loading.Lock()
	defer e.loading.Unlock()
	img, err := e.loaded(ctx, c, built, config)
	if err != nil {
		return nil, nil, fmt.Errorf("load the image: %w", err)
	}
	return img, config, nil
}

// Recipe returns how to make the image of a task, which has Code, Lock, Environments and Image.
func Recipe(ctx context.Context, t executors.Task, programs executors.Programs) (r image.Recipe, err error) {
	p := image.Parts{Code: os.DirFS(t.Code)}
	if p.Lock, p.Environments, err = local.Locks(t); err != nil {
		return r, err
	}
	if p.Program, p.Duck, err = programs.Of(ctx, t.Unit.Code); err != nil {
		return r, err
	}
	u := t.Unit
	u.Code.Image = "" // t.Image is that reference, by digest
	return image.RecipeFor(u, t.Image, p), nil
}

// A loaded image is in containerd, and unpacked.
type loaded struct {
	name, digest string
	top          string    // the snapshot of its topmost layer
	used         time.Time // when its label of use was last updated
}

// usedEvery is how often tenon updates the label that says when an image was used.
const usedEvery = time.Hour

// loaded makes sure that an image is in containerd. It does not look again for an image
// that it has seen there: who finds it gone calls [Executor.forgetImage].
func (e *Executor) loaded(ctx context.Context, c *client.Client, built v1.Image, config *v1.ConfigFile) (*loaded, error) {
	hash, err := built.Digest()
	if err != nil {
		return nil, err
	}
	if l := e.images[hash.String()]; l != nil {
		if time.Since(l.used) < usedEvery {
			return l, nil
		}
		if there, err := e.use(ctx, c, l); err != nil || there {
			return l, err
		}
	}
	l := unpacked(hash, config)
	if err := e.load(ctx, c, l, built); err != nil {
		return nil, err
	}
	e.images[l.digest] = l
	return l, nil
}

// unpacked says where an image is once it is unpacked.
func unpacked(hash v1.Hash, config *v1.ConfigFile) *loaded {
	var layers []digest.Digest
	for _, d := range config.RootFS.DiffIDs {
		layers = append(layers, digest.Digest(d.String()))
	}
	return &loaded{name: ImageName(hash.String()), digest: hash.String(), top: identity.ChainID(layers).String(), used: time.Now()}
}

// forgetImage makes the next use of an image look for it again.
func (e *Executor) forgetImage(l *loaded) {
	e.loading.Lock()
	defer e.loading.Unlock()
	delete(e.images, l.digest)
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

// load copies the missing parts of an image to containerd and unpacks it. A lease keeps
// containerd from collecting parts that nothing refers to yet.
func (e *Executor) load(ctx context.Context, c *client.Client, l *loaded, built v1.Image) error {
	if there, err := e.there(ctx, c, l); err != nil || there {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// If tenon is killed, the lease expires by itself.
	ctx, release, err := c.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err != nil {
		return err
	}
	defer func() { _ = release(context.WithoutCancel(ctx)) }()
	target, err := copyContent(ctx, c.ContentStore(), built)
	if err != nil {
		return err
	}
	entry := images.Image{Name: l.name, Target: target, Labels: map[string]string{labelName: "image", labelUsed: now()}}
	img, err := c.ImageService().Create(ctx, entry)
	if errdefs.IsAlreadyExists(err) {
		img, err = c.ImageService().Update(ctx, entry)
	}
	if err != nil {
		return err
	}
	return client.NewImage(c, img).Unpack(ctx, e.opts.Snapshotter)
}

// there reports whether an image is loaded, and marks it as used. The blobs that it was
// unpacked from are not needed.
func (e *Executor) there(ctx context.Context, c *client.Client, l *loaded) (bool, error) {
	img, err := c.ImageService().Get(ctx, l.name)
	if err != nil {
		return false, ignoreMissing(err)
	}
	if _, err := c.SnapshotService(e.opts.Snapshotter).Stat(ctx, l.top); err != nil {
		return false, ignoreMissing(err)
	}
	if used, err := time.Parse(time.RFC3339, img.Labels[labelUsed]); err == nil && time.Since(used) < usedEvery {
		l.used = used
		return true, nil
	}
	return e.use(ctx, c, l)
}

// use marks an image as used, and reports whether it exists.
func (e *Executor) use(ctx context.Context, c *client.Client, l *loaded) (bool, error) {
	_, err := c.ImageService().Update(ctx, images.Image{Name: l.name, Labels: map[string]string{labelUsed: now()}}, "labels."+labelUsed)
	if err != nil {
		return false, ignoreMissing(err)
	}
	l.used = time.Now()
	return true, nil
}

func copyContent(ctx context.Context, store content.Store, built v1.Image) (target ocispec.Descriptor, err error) {
	manifest, err := built.Manifest()
	if err != nil {
		return target, err
	}
	layers, err := built.Layers()
	if err != nil {
		return target, err
	}
	labels := map[string]string{"containerd.io/gc.ref.content.config": manifest.Config.Digest.String()}
	for i, l := range layers {
		d := manifest.Layers[i]
		labels[fmt.Sprintf("containerd.io/gc.ref.content.l.%d", i)] = d.Digest.String()
		if err := put(ctx, store, descriptor(d), nil, l.Compressed); err != nil {
			return target, fmt.Errorf("layer %s: %w", d.Digest, err)
		}
	}
	config, err := built.RawConfigFile()
	if err != nil {
		return target, err
	}
	if err := put(ctx, store, descriptor(manifest.Config), nil, reading(config)); err != nil {
		return target, err
	}
	raw, err := built.RawManifest()
	if err != nil {
		return target, err
	}
	kind, err := built.MediaType() // the manifest need not contain it
	if err != nil {
		return target, err
	}
	target = ocispec.Descriptor{MediaType: string(kind), Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	return target, put(ctx, store, target, labels, reading(raw))
}

func descriptor(d v1.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size}
}

// put writes a blob unless it exists. An existing blob may come from another image,
// with labels of its own.
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
