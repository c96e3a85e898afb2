package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// Import adds an archive to the store under a name, and returns that name, pinned. The
// archive is an OCI layout, the output of docker save, or a root file system, as a tar
// file that may be compressed.
func (s *Store) Import(ctx context.Context, file, name string) (string, error) {
	n, err := parse(name)
	if err != nil {
		return "", err
	}
	if n.digest != (v1.Hash{}) {
		return "", fmt.Errorf("an image must be imported with a tag, not with a digest: %s", n.name())
	}
	d, err := s.importFile(ctx, file, n)
	if err != nil {
		return "", fmt.Errorf("import %s: %w", file, err)
	}
	if err := s.name(ctx, n, d, time.Time{}); err != nil {
		return "", err
	}
	n.digest = d.Digest
	return n.String(), nil
}

func (s *Store) importFile(ctx context.Context, file string, n named) (v1.Descriptor, error) {
	f, err := os.Open(file)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer f.Close()
	sum := newSum(io.Discard)
	a, err := look(ctx, io.TeeReader(f, sum))
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := io.Copy(sum, f); err != nil { // what follows the archive
		return v1.Descriptor{}, err
	}
	switch {
	case a.members["oci-layout"] && a.members["index.json"]:
		return s.importOCI(ctx, file, n)
	case a.members["manifest.json"]:
		return s.importDocker(ctx, file, n)
	case a.root:
		return s.importRoot(ctx, file, n, sum.hash())
	}
	return v1.Descriptor{}, errors.New("it contains neither an image nor a root filesystem")
}

// An archive describes the contents of one.
type archive struct {
	members map[string]bool // of its root folder
	root    bool            // members are those of a root file system
}

// look reads through an archive. It fails if a member lies outside.
func look(ctx context.Context, r io.Reader) (archive, error) {
	a := archive{members: map[string]bool{}}
	err := each(ctx, r, func(h *tar.Header, _ io.Reader) error {
		top, _, _ := strings.Cut(path.Clean(h.Name), "/")
		a.members[top] = true
		return nil
	})
	a.root = a.members["bin"] || a.members["usr"] || a.members["etc"]
	return a, err
}

// each calls f for each member of an archive that may be compressed.
func each(ctx context.Context, r io.Reader, f func(h *tar.Header, r io.Reader) error) error {
	plain, err := decompress(r)
	if err != nil {
		return err
	}
	defer plain.Close()
	t := tar.NewReader(plain)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, plain)
			return err
		}
		if err != nil {
			return fmt.Errorf("it is not a readable tar file: %w", err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !inside(h.Name) || h.Typeflag == tar.TypeLink && !inside(h.Linkname) {
			return fmt.Errorf("its member %q is outside the root: create the archive with `tar -C ROOT -cf FILE .`", h.Name)
		}
		if err := f(h, t); err != nil {
			return err
		}
	}
}

// inside reports whether a member's path stays inside the archive.
func inside(name string) bool { return filepath.IsLocal(filepath.FromSlash(name)) }

// decompress reads gzip, zstd or uncompressed data.
func decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	magic, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(b)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b)
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}

// importRoot turns a root file system into an image of one layer.
func (s *Store) importRoot(ctx context.Context, file string, n named, digest v1.Hash) (v1.Descriptor, error) {
	l, _, err := s.blobLayer(ctx, key("root", digest.String()), "packing "+file, func(_ string, w io.Writer) error {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		plain, err := decompress(f)
		if err != nil {
			return err
		}
		defer plain.Close()
		_, err = io.Copy(w, plain)
		return err
	})
	if err != nil {
		return v1.Descriptor{}, err
	}
	config := &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH,
		Config: v1.Config{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
	}
	return s.store(ctx, n, config, []layer{l})
}

// importDocker imports the only image in an output of docker save.
func (s *Store) importDocker(ctx context.Context, file string, n named) (v1.Descriptor, error) {
	img, err := tarball.Image(func() (io.ReadCloser, error) {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		plain, err := decompress(f)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return both{plain, f}, nil
	}, nil)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("it is not a docker archive of one image: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	from, err := img.Layers()
	if err != nil {
		return v1.Descriptor{}, err
	}
	var layers []layer
	for _, f := range from {
		want, err := f.DiffID()
		if err != nil {
			return v1.Descriptor{}, err
		}
		l, _, err := s.blobLayer(ctx, key("docker", want.String()), "packing a layer of "+file, func(_ string, w io.Writer) error {
			r, err := f.Uncompressed()
			if err != nil {
				return err
			}
			defer r.Close()
			tee := io.TeeReader(r, w)
			return each(ctx, tee, func(*tar.Header, io.Reader) error { return nil })
		})
		if err != nil {
			return v1.Descriptor{}, err
		}
		if l.DiffID != want {
			return v1.Descriptor{}, fmt.Errorf("it is damaged: a layer is %s, not %s", l.DiffID, want)
		}
		layers = append(layers, l)
	}
	return s.store(ctx, n, config, layers)
}

// both closes a reader and its source.
type both struct {
	io.ReadCloser
	from io.Closer
}

func (b both) Close() error { return errors.Join(b.ReadCloser.Close(), b.from.Close()) }

// store writes the config and the manifest of an image whose layers are in the store.
func (s *Store) store(ctx context.Context, n named, config *v1.ConfigFile, layers []layer) (v1.Descriptor, error) {
	m := &v1.Manifest{}
	config.RootFS = v1.RootFS{Type: "layers"}
	for _, l := range layers {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCILayerZStd, Size: l.Size, Digest: l.Digest})
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
	}
	if !historyFits(config.History, len(layers)) {
		config.History = nil
	}
	if config.Created.IsZero() {
		config.Created = v1.Time{Time: epoch}
	}
	img, err := s.image(ctx, n.String(), m, config)
	if err != nil {
		return v1.Descriptor{}, err
	}
	c, err := img.RawConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	raw, err := img.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := s.put(c); err != nil {
		return v1.Descriptor{}, err
	}
	h, err := s.put(raw)
	return v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: int64(len(raw)), Digest: h}, err
}

// importOCI imports the only image of an OCI layout.
func (s *Store) importOCI(ctx context.Context, file string, n named) (v1.Descriptor, error) {
	f, err := os.Open(file)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer f.Close()
	var index v1.IndexManifest
	err = each(ctx, f, func(h *tar.Header, r io.Reader) error {
		name := path.Clean(h.Name)
		if name == "index.json" {
			return json.NewDecoder(r).Decode(&index)
		}
		hex, ok := strings.CutPrefix(name, "blobs/sha256/")
		if !ok || h.Typeflag != tar.TypeReg {
			return nil
		}
		return s.importBlob(ctx, v1.Hash{Algorithm: "sha256", Hex: hex}, h.Size, r)
	})
	if err != nil {
		return v1.Descriptor{}, err
	}
	if len(index.Manifests) != 1 {
		return v1.Descriptor{}, fmt.Errorf("it contains %d images: export only one", len(index.Manifests))
	}
	d := index.Manifests[0]
	lacks := func(h v1.Hash) error { return fmt.Errorf("it lacks %s, which its image refers to", h) }
	m, _, err := s.manifest(d.Digest, n.name(), func(h v1.Hash) ([]byte, error) { return nil, lacks(h) })
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, part := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if !s.has(part.Digest, part.Size) {
			return v1.Descriptor{}, lacks(part.Digest)
		}
	}
	return d, nil
}

// importBlob imports a blob and verifies that its bytes match its digest.
func (s *Store) importBlob(ctx context.Context, h v1.Hash, size int64, r io.Reader) (err error) {
	if s.has(h, size) {
		return nil
	}
	if _, err := v1.NewHash(h.String()); err != nil {
		return fmt.Errorf("its blob has an invalid name: %w", err)
	}
	work, release, err := s.work(ctx, h.Hex)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	f, err := os.Create(work)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := newSum(f)
	if _, err := io.Copy(sum, r); err != nil {
		return err
	}
	if got := sum.hash(); got != h {
		return fmt.Errorf("it is damaged: its blob %s is %s", h, got)
	}
	return s.adopt(f, h)
}
