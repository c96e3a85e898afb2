package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// A stored image is one whose manifest and config are in the store. Its layers are
// fetched when they are read.
type stored struct {
	v1.Image
	ref string // where to fetch from, pinned
}

// core implements [partial.CompressedImageCore].
type core struct {
	ctx              context.Context
	s                *Store
	ref              string
	manifest, config []byte
	parsed           *v1.Manifest
}

func (c *core) RawManifest() ([]byte, error)   { return c.manifest, nil }
func (c *core) RawConfigFile() ([]byte, error) { return c.config, nil }
func (c *core) MediaType() (types.MediaType, error) {
	return c.parsed.MediaType, nil
}

func (c *core) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if h == c.parsed.Config.Digest {
		return partial.ConfigLayer(c)
	}
	for i, d := range c.parsed.Layers {
		if d.Digest == h {
			return &storedLayer{c, d, i}, nil
		}
	}
	return nil, fmt.Errorf("the image %s has no layer %s", c.ref, h)
}

// A storedLayer implements [partial.CompressedLayer].
type storedLayer struct {
	c *core
	d v1.Descriptor
	i int
}

func (l *storedLayer) Digest() (v1.Hash, error)            { return l.d.Digest, nil }
func (l *storedLayer) Size() (int64, error)                { return l.d.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) { return l.d.MediaType, nil }
func (l *storedLayer) Descriptor() (*v1.Descriptor, error) { return &l.d, nil }

// DiffID implements [partial.WithDiffID]. It avoids fetching the layer.
func (l *storedLayer) DiffID() (v1.Hash, error) {
	config, err := v1.ParseConfigFile(bytes.NewReader(l.c.config))
	if err != nil {
		return v1.Hash{}, err
	}
	if l.i >= len(config.RootFS.DiffIDs) {
		return v1.Hash{}, fmt.Errorf("the image %s is damaged: no digest of layer %d", l.c.ref, l.i+1)
	}
	return config.RootFS.DiffIDs[l.i], nil
}

func (l *storedLayer) Compressed() (io.ReadCloser, error) {
	if err := l.c.s.fetch(l.c.ctx, l.c.ref, l.d); err != nil {
		return nil, err
	}
	f, err := os.Open(l.c.s.blob(l.d.Digest))
	if err != nil {
		return nil, err
	}
	return &checked{f, newSum(io.Discard), l.d.Digest}, nil
}

// checked reads a blob and verifies its digest. It removes a damaged blob, so that it
// is built or fetched again.
type checked struct {
	f    *os.File
	sum  *sum
	want v1.Hash
}

func (c *checked) Read(b []byte) (int, error) {
	n, err := c.f.Read(b)
	_, _ = c.sum.Write(b[:n])
	if errors.Is(err, io.EOF) && c.sum.hash() != c.want {
		return n, errors.Join(fmt.Errorf("%s was damaged and has been removed: try again to build or fetch it again", c.f.Name()), os.Remove(c.f.Name()))
	}
	return n, err
}

func (c *checked) Close() error { return c.f.Close() }

// image builds an image from a manifest and a config, with OCI's media types.
func (s *Store) image(ctx context.Context, ref string, m *v1.Manifest, config *v1.ConfigFile) (v1.Image, error) {
	c, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	h, n, err := v1.SHA256(bytes.NewReader(c))
	if err != nil {
		return nil, err
	}
	m.SchemaVersion, m.MediaType = 2, types.OCIManifestSchema1
	m.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Size: n, Digest: h}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&core{ctx: ctx, s: s, ref: ref, manifest: b, config: c, parsed: m})
}

// Open opens an image by a name that [Store.Pin] returned. From an index it takes the
// image for Linux on this machine's architecture. Layers are fetched when they are
// first read, and stored; the context also bounds that.
func (s *Store) Open(ctx context.Context, pinned string) (v1.Image, error) {
	return s.open(ctx, pinned)
}

func (s *Store) open(ctx context.Context, pinned string) (*stored, error) {
	ref, err := parse(pinned)
	if err != nil {
		return nil, err
	}
	if ref.digest == (v1.Hash{}) {
		return nil, fmt.Errorf("the image %s is not pinned: its name has no digest", ref)
	}
	var fetched *v1.Descriptor // of the image that the name stands for
	m, raw, err := s.manifest(ref.digest, ref.String(), func(h v1.Hash) ([]byte, error) {
		d, b, err := s.fetchManifest(ctx, ref, h)
		if h == ref.digest {
			fetched = d
		}
		return b, err
	})
	if err != nil {
		return nil, err
	}
	if err := s.fetch(ctx, ref.String(), m.Config); err != nil {
		return nil, err
	}
	config, err := s.read(m.Config.Digest)
	if err != nil {
		return nil, fmt.Errorf("read the config of %s: %w", ref, err)
	}
	if fetched != nil {
		if err := s.name(ctx, ref, *fetched, time.Time{}); err != nil {
			return nil, err
		}
	}
	img, err := partial.CompressedToImage(&core{ctx: ctx, s: s, ref: ref.String(), manifest: raw, config: config, parsed: m})
	if err != nil {
		return nil, err
	}
	return &stored{img, ref.String()}, nil
}

// manifest reads a manifest, from an index that for this machine. It fetches what is
// not in the store.
func (s *Store) manifest(h v1.Hash, name string, fetch func(v1.Hash) ([]byte, error)) (*v1.Manifest, []byte, error) {
	for range 3 { // an index in an index is enough
		if h == (v1.Hash{}) {
			return nil, nil, fmt.Errorf("%s is not an image", name)
		}
		b, err := s.read(h)
		if errors.Is(err, fs.ErrNotExist) {
			b, err = fetch(h)
		}
		if err != nil {
			return nil, nil, err
		}
		var kind struct {
			MediaType types.MediaType `json:"mediaType"`
			Manifests []v1.Descriptor `json:"manifests"`
			Layers    []v1.Descriptor `json:"layers"`
		}
		if err := json.Unmarshal(b, &kind); err != nil {
			return nil, nil, fmt.Errorf("%s is not an image: %w", name, err)
		}
		if kind.Manifests == nil {
			m, err := v1.ParseManifest(bytes.NewReader(b))
			if err != nil || kind.Layers == nil || m.Config.Digest == (v1.Hash{}) || slices.ContainsFunc(m.Layers, func(d v1.Descriptor) bool { return d.Digest == (v1.Hash{}) }) {
				return nil, nil, fmt.Errorf("%s is not an image", name)
			}
			if m.MediaType == "" {
				m.MediaType = types.OCIManifestSchema1
			}
			return m, b, nil
		}
		if h, err = choose(kind.Manifests, name); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("%s is an index of indexes", name)
}

// choose returns the image for this machine from an index.
func choose(manifests []v1.Descriptor, name string) (v1.Hash, error) {
	var there []string
	for _, d := range manifests {
		switch p := d.Platform; {
		case p == nil && len(manifests) == 1, p != nil && p.OS == "linux" && p.Architecture == runtime.GOARCH:
			return d.Digest, nil
		case p != nil && p.OS != "unknown": // otherwise it is an attestation of another image
			there = append(there, p.String())
		}
	}
	slices.Sort(there)
	return v1.Hash{}, fmt.Errorf("%s has no image for linux/%s, only for %s", name, runtime.GOARCH, strings.Join(slices.Compact(there), ", "))
}
