package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/tenon-ml/tenon/planner/artifact"
)

// How much of a file is sent at once, and how many such parts are in transfer: their
// product bounds the memory of a Put.
const (
	partSize   = 8 << 20 // bytes
	parts      = 16
	partsOfOne = 8      // of one file
	maxParts   = 10_000 // limit of S3; Azure allows more
)

const contentType = "application/octet-stream"

// Put stores the file or folder at path, which is left in place and must not be written
// to. Only missing blobs are sent. It fails with [artifact.ErrChanged] if something
// changes in the meantime. After an error the store is unchanged, except that it may have
// some of the files of a folder.
func (s *Store) Put(ctx context.Context, path string) (artifact.Ref, error) {
	ref, entries, err := artifact.Look(ctx, path)
	if err != nil {
		return ref, fmt.Errorf("store %s: %w", s.name, err)
	}
	if there, err := s.Has(ctx, ref); err != nil || there {
		return ref, err
	}
	if !ref.Dir {
		return ref, s.putFile(ctx, path, ref.Digest, ref.Size)
	}
	if err := s.putEntries(ctx, path, entries); err != nil {
		return ref, err
	}
	return ref, s.putBytes(ctx, ref.Digest, artifact.Listing(entries))
}

func (s *Store) putEntries(ctx context.Context, root string, entries []artifact.Entry) error {
	group, ctx := errgroup.WithContext(ctx)
	free := semaphore.NewWeighted(parts)
	seen := map[string]bool{}
	for _, e := range entries {
		if e.Kind == artifact.Folder || seen[e.Digest] {
			continue
		}
		seen[e.Digest] = true
		weight := int64(min(partsOfOne, 1+e.Size/partSize))
		if free.Acquire(ctx, weight) != nil {
			break // the group has the error
		}
		group.Go(func() error {
			defer free.Release(weight)
			return s.putEntry(ctx, filepath.Join(root, filepath.FromSlash(e.Path)), e)
		})
	}
	return group.Wait()
}

func (s *Store) putEntry(ctx context.Context, path string, e artifact.Entry) error {
	if there, err := s.has(ctx, e.Digest, e.Size); err != nil || there {
		return err
	}
	if e.Kind != artifact.Link {
		return s.putFile(ctx, path, e.Digest, e.Size)
	}
	target, err := os.Readlink(path)
	if err != nil {
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	return s.put(ctx, e.Digest, path, e.Size, bytes.NewReader([]byte(target)))
}

func (s *Store) putFile(ctx context.Context, path, digest string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	defer f.Close()
	return s.put(ctx, digest, path, size, f)
}

func (s *Store) putBytes(ctx context.Context, digest string, b []byte) error {
	if there, err := s.has(ctx, digest, int64(len(b))); err != nil || there {
		return err
	}
	return s.put(ctx, digest, digest, int64(len(b)), bytes.NewReader(b))
}

// put sends a blob. Content that does not match the digest is not stored.
func (s *Store) put(ctx context.Context, digest, what string, size int64, r io.Reader) error {
	k, err := key(digest)
	if err != nil {
		return err
	}
	h, _ := artifact.Hex(digest)
	if err := s.write(ctx, k, "store "+what, size, &proof{r: r, h: sha256.New(), want: h, what: what}); err != nil || size < partSize || s.writeOnly {
		return err
	}
	// Some servers lose an object if they are asked twice to assemble its parts, because
	// the first response was late.
	if there, err := s.has(ctx, digest, size); err != nil || there {
		return err
	}
	return fmt.Errorf("store %s: %s was uploaded but is missing: try again", s.name, what)
}

// write stores what r yields, or nothing.
func (s *Store) write(ctx context.Context, key, what string, size int64, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from := &source{r: r, cancel: cancel}
	err := s.bucket.write(ctx, s.prefix+key, from, size)
	if from.err != nil {
		err = from.err // the driver may only report that it was cancelled
	}
	if err != nil {
		return s.explain(what, err)
	}
	return nil
}

// A source cancels its consumer when it fails: a driver that only sees the read error
// stores what it has.
type source struct {
	r      io.Reader
	cancel func()
	err    error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF { //nolint:errorlint // readers return it bare
		s.err = err
		s.cancel()
	}
	return n, err
}

// A proof reads content that must match a digest, and fails at its end if it does not.
type proof struct {
	r    io.Reader
	h    hash.Hash
	want string // hexadecimal
	what string
}

func (p *proof) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.h.Write(b[:n])
	if err == io.EOF && hex.EncodeToString(p.h.Sum(nil)) != p.want { //nolint:errorlint // readers return it bare
		return n, fmt.Errorf("%s: %w", p.what, artifact.ErrChanged)
	}
	return n, err
}
