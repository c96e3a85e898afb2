package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Contents are an image without a base: the files of a folder, and how they are started.
type Contents struct {
	Dir   string   // folder on this machine
	At    string   // where the image has it
	First []string // files of a layer of their own, because they change less often
	Work  string   // folder for layers, which the image reads as long as it is used

	OS, Arch    string
	User, Port  string
	Env         []string
	Entrypoint  []string
	Command     []string
	Healthcheck []string
}

// Pack makes an image of a folder. Equal files give an equal digest. Layers are gzip, which any
// runner reads.
func Pack(ctx context.Context, c Contents) (v1.Image, error) {
	if err := os.Mkdir(c.Work, 0o755); err != nil {
		return nil, err
	}
	p := &packed{layers: map[v1.Hash]string{}}
	config := v1.ConfigFile{
		OS: c.OS, Architecture: c.Arch, Created: v1.Time{Time: epoch}, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User: c.User, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Command, WorkingDir: c.At, ExposedPorts: map[string]struct{}{c.Port + "/tcp": {}},
			Healthcheck: &v1.HealthConfig{Test: append([]string{"CMD"}, c.Healthcheck...), Interval: 10 * time.Second, Timeout: 5 * time.Second, StartPeriod: 30 * time.Second, Retries: 3},
		},
	}
	for i, first := range []bool{true, false} {
		name := filepath.Join(c.Work, fmt.Sprint(i))
		l, err := packLayer(ctx, name, c, first)
		if err != nil {
			return nil, err
		}
		p.layers[l.Digest] = name
		p.manifest.Layers = append(p.manifest.Layers, v1.Descriptor{MediaType: types.OCILayer, Size: l.Size, Digest: l.Digest})
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
		config.History = append(config.History, v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "tenon export"})
	}
	var err error
	if p.config, err = json.Marshal(config); err != nil {
		return nil, err
	}
	h, n, err := v1.SHA256(bytes.NewReader(p.config))
	if err != nil {
		return nil, err
	}
	p.manifest.SchemaVersion, p.manifest.MediaType = 2, types.OCIManifestSchema1
	p.manifest.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Size: n, Digest: h}
	if p.raw, err = json.Marshal(p.manifest); err != nil {
		return nil, err
	}
	return partial.CompressedToImage(p)
}

// packLayer writes the layer of the files that come first, or of all others.
func packLayer(ctx context.Context, name string, c Contents, first bool) (l layer, err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return layer{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := newSum(f)
	z, err := gzip.NewWriterLevel(sum, gzip.DefaultCompression)
	if err != nil {
		return layer{}, err
	}
	plain := newSum(z)
	t := tarWriter{tar.NewWriter(plain)}
	if first {
		// The program may write temporary files.
		h := t.header("/tmp/", tar.TypeDir, 0)
		h.Mode = 0o1777
		err = t.WriteHeader(h)
	}
	err = errors.Join(err, filepath.WalkDir(c.Dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(c.Dir, name)
		if err != nil {
			return err
		}
		to := path.Join(c.At, filepath.ToSlash(rel))
		if d.IsDir() {
			if first && rel != "." {
				return nil
			}
			return t.folder(to)
		}
		if slices.Contains(c.First, rel) != first {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		in, err := os.Open(name)
		if err != nil {
			return err
		}
		return errors.Join(t.file(to, normalMode(info.Mode()), in), in.Close(), ctx.Err())
	}))
	if err = errors.Join(err, t.Close(), z.Close()); err != nil {
		return layer{}, err
	}
	return layer{Digest: sum.hash(), DiffID: plain.hash(), Size: sum.n}, nil
}

// packed implements [partial.CompressedImageCore].
type packed struct {
	manifest    v1.Manifest
	raw, config []byte
	layers      map[v1.Hash]string // paths
}

func (p *packed) RawManifest() ([]byte, error)        { return p.raw, nil }
func (p *packed) RawConfigFile() ([]byte, error)      { return p.config, nil }
func (p *packed) MediaType() (types.MediaType, error) { return p.manifest.MediaType, nil }
func (p *packed) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	for _, d := range p.manifest.Layers {
		if d.Digest == h {
			return packedLayer{p.layers[h], d}, nil
		}
	}
	if h == p.manifest.Config.Digest {
		return partial.ConfigLayer(p)
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

// packedLayer implements [partial.CompressedLayer].
type packedLayer struct {
	path string
	d    v1.Descriptor
}

func (l packedLayer) Digest() (v1.Hash, error)            { return l.d.Digest, nil }
func (l packedLayer) Size() (int64, error)                { return l.d.Size, nil }
func (l packedLayer) MediaType() (types.MediaType, error) { return l.d.MediaType, nil }
func (l packedLayer) Compressed() (io.ReadCloser, error)  { return os.Open(l.path) }

// WriteArchive writes an image as a tar of an OCI layout, which tools for containers import. Its
// bytes depend only on the image and on its name.
func WriteArchive(img v1.Image, to, name string) (err error) {
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	d := v1.Descriptor{MediaType: m.MediaType, Size: int64(len(manifest)), Digest: digest, Annotations: map[string]string{nameKey: "latest", "io.containerd.image.name": name + ":latest"}}
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{d}})
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	t := tarWriter{tar.NewWriter(out)}
	blob := func(h v1.Hash) string { return path.Join("blobs", h.Algorithm, h.Hex) }
	err = errors.Join(t.folder("blobs"), t.folder("blobs/sha256"))
	for _, f := range []struct {
		name string
		b    []byte
	}{{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", index}, {blob(digest), manifest}, {blob(m.Config.Digest), config}} {
		h := t.header(f.name, tar.TypeReg, 0o644)
		h.Size = int64(len(f.b))
		if err == nil {
			err = t.WriteHeader(h)
		}
		if err == nil {
			_, err = t.Write(f.b)
		}
	}
	layers, layersErr := img.Layers()
	if err = errors.Join(err, layersErr); err != nil {
		return err
	}
	for i, l := range layers {
		if err := writeLayer(t, blob(m.Layers[i].Digest), m.Layers[i].Size, l); err != nil {
			return err
		}
	}
	return t.Close()
}

func writeLayer(t tarWriter, name string, size int64, l v1.Layer) error {
	h := t.header(name, tar.TypeReg, 0o644)
	h.Size = size
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	_, err = io.Copy(t, r)
	return errors.Join(err, r.Close())
}
