package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/tenon-ml/tenon/internal/files"
)

// Annotations in index.json: the name of an image, which is pinned unless the image was
// imported, and when a registry last resolved the name to it.
const (
	nameKey     = "org.opencontainers.image.ref.name"
	resolvedKey = "dev.tenon.resolved"
)

func (s *Store) blob(h v1.Hash) string {
	return filepath.Join(s.opts.Dir, "blobs", h.Algorithm, h.Hex)
}

// has reports whether a blob exists. Its digest is verified when it is read.
func (s *Store) has(h v1.Hash, size int64) bool {
	info, err := os.Stat(s.blob(h))
	return err == nil && info.Size() == size
}

// read reads a small blob. A damaged blob counts as missing.
func (s *Store) read(h v1.Hash) ([]byte, error) {
	b, err := os.ReadFile(s.blob(h))
	if err != nil {
		return nil, err
	}
	if got := sha256.Sum256(b); hex.EncodeToString(got[:]) != h.Hex {
		return nil, fmt.Errorf("%s is damaged: %w", s.blob(h), fs.ErrNotExist)
	}
	return b, nil
}

// adopt moves a completely written file to the path of the blob with that digest.
func (s *Store) adopt(f *os.File, h v1.Hash) error {
	to := s.blob(h)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}

// put writes a small blob.
func (s *Store) put(b []byte) (v1.Hash, error) {
	h, n, err := v1.SHA256(bytes.NewReader(b))
	if err != nil || s.has(h, n) {
		return h, err
	}
	return h, writeFile(s.blob(h), b)
}

// found reads the cached value of a key.
func (s *Store) found(key string, v any) bool {
	b, err := os.ReadFile(filepath.Join(s.opts.Dir, "found", key+".json"))
	return err == nil && json.Unmarshal(b, v) == nil
}

// save caches the value of a key.
func (s *Store) save(key string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(s.opts.Dir, "found", key+".json"), append(b, '\n'))
}

// An Entry describes an image in the store.
type Entry struct {
	Name     string    `json:"name"` // pinned if the image was fetched
	Digest   v1.Hash   `json:"digest"`
	Size     int64     `json:"size"` // compressed, of all layers
	Layers   int       `json:"layers"`
	Resolved time.Time `json:"resolved,omitzero"` // when the registry last resolved the name to it; zero if it has since resolved to another
}

// List lists the imported and fetched images, by name.
func (s *Store) List() ([]Entry, error) {
	index, err := s.index()
	if err != nil {
		return nil, err
	}
	entries := []Entry{}
	for _, d := range index.Manifests {
		e := Entry{Name: d.Annotations[nameKey], Digest: d.Digest}
		m, _, err := s.manifest(d.Digest, e.Name, func(h v1.Hash) ([]byte, error) {
			return nil, fmt.Errorf("%s: manifest %s is lost or damaged: remove %s and import the images again", e.Name, h, filepath.Join(s.opts.Dir, "index.json"))
		})
		if err != nil {
			return nil, err
		}
		e.Layers = len(m.Layers)
		for _, l := range m.Layers {
			e.Size += l.Size
		}
		e.Resolved, _ = time.Parse(time.RFC3339, d.Annotations[resolvedKey])
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

// index reads index.json.
func (s *Store) index() (*v1.IndexManifest, error) {
	b, err := os.ReadFile(filepath.Join(s.opts.Dir, "index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}, nil
	}
	if err != nil {
		return nil, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: remove it and import the images again: %w", filepath.Join(s.opts.Dir, "index.json"), err)
	}
	return index, nil
}

// name gives an image its name in index.json. resolved is when its registry resolved
// the name without the digest to it; if it is set, the name no longer stands for any
// other image.
func (s *Store) name(ctx context.Context, n named, d v1.Descriptor, resolved time.Time) (err error) {
	_, release, err := s.work(ctx, "index")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	index, err := s.index()
	if err != nil {
		return err
	}
	annotations := map[string]string{nameKey: n.String()}
	if !resolved.IsZero() {
		annotations[resolvedKey] = resolved.UTC().Format(time.RFC3339)
	}
	var others []v1.Descriptor
	for _, old := range index.Manifests {
		name, at := old.Annotations[nameKey], old.Annotations[resolvedKey]
		switch {
		case name != n.String():
			if !resolved.IsZero() && strings.HasPrefix(name, n.name()+"@") {
				delete(old.Annotations, resolvedKey)
			}
			others = append(others, old)
		case resolved.IsZero() && at != "":
			annotations[resolvedKey] = at
		}
	}
	index.Manifests = append(others, v1.Descriptor{MediaType: d.MediaType, Size: d.Size, Digest: d.Digest, Annotations: annotations})
	b, err := json.MarshalIndent(index, "", "\t")
	if err != nil {
		return err
	}
	return errors.Join(
		writeFile(filepath.Join(s.opts.Dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`+"\n")),
		writeFile(filepath.Join(s.opts.Dir, "index.json"), append(b, '\n')),
	)
}

// named looks up a name in index.json: the image imported under it, otherwise the one
// that a registry last resolved it to. The digest is zero if there is none.
func (s *Store) named(n named) (h v1.Hash, imported bool, err error) {
	index, err := s.index()
	if err != nil {
		return v1.Hash{}, false, err
	}
	for _, d := range index.Manifests {
		switch name := d.Annotations[nameKey]; {
		case name == n.name():
			return d.Digest, true, nil
		case d.Annotations[resolvedKey] != "" && name == n.name()+"@"+d.Digest.String():
			h = d.Digest
		}
	}
	return h, false, nil
}

// work waits until no other process works on that name. It returns a path at which
// nothing exists; release removes what was written there.
func (s *Store) work(ctx context.Context, name string) (dir string, release func() error, err error) {
	dir = filepath.Join(s.opts.Dir, "work", name)
	held, err := files.Lock(ctx, dir+".lock")
	if err != nil {
		return "", nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", nil, errors.Join(err, held.Close())
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), held.Close()) }, nil
}

// writeFile writes a file and creates its parent folders.
func writeFile(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return files.WriteSynced(path, b, 0o644)
}

// A sum computes the digest and the size of what is written through it.
type sum struct {
	w io.Writer
	h hash.Hash
	n int64
}

func newSum(w io.Writer) *sum { return &sum{w: w, h: sha256.New()} }

func (s *sum) Write(b []byte) (int, error) {
	n, err := s.w.Write(b)
	s.h.Write(b[:n])
	s.n += int64(n)
	return n, err
}

func (s *sum) hash() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(s.h.Sum(nil))}
}

type reportKey struct{}

// WithProgress returns a context whose calls report slow work to report, one line each,
// instead of to the log of the store.
func WithProgress(ctx context.Context, report func(string)) context.Context {
	return context.WithValue(ctx, reportKey{}, report)
}

// say reports slow work.
func (s *Store) say(ctx context.Context, format string, args ...any) {
	if report, ok := ctx.Value(reportKey{}).(func(string)); ok {
		report(fmt.Sprintf(format, args...))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.opts.Log, format+"\n", args...)
}
