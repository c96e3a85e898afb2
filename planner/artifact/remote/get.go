package remote

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// filesAtOnce is how many files of a folder are fetched in parallel.
const filesAtOnce = 16

// Get writes an artifact to the path to, whose folder must exist. The artifact appears
// there completely, after all of it has been compared with its digests. Get returns
// [artifact.ErrMissing] or an [artifact.DamagedError] if the store does not hold it
// intact. If the path exists already, it must hold this artifact.
func (s *Store) Get(ctx context.Context, ref artifact.Ref, to string) (err error) {
	if _, err := os.Lstat(to); err == nil {
		return s.same(ctx, ref, to)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(to), files.HalfWritten)
	if err != nil {
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	defer func() { err = errors.Join(err, files.RemoveAll(tmp)) }()
	content := filepath.Join(tmp, "content")
	if ref.Dir {
		err = s.getFolder(ctx, ref, content)
	} else {
		err = s.getFile(ctx, ref.Digest, content, 0o644)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(content, to); err != nil {
		if _, there := os.Lstat(to); there == nil { // another process was faster
			return s.same(ctx, ref, to)
		}
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	return nil
}

// Fetch is [Store.Get] for callers that do not know whether the artifact is a folder: it
// is one if the blob parses as a listing. So an empty folder is fetched as an empty file,
// which has the same digest.
func (s *Store) Fetch(ctx context.Context, digest, to string) error {
	if err := s.Get(ctx, artifact.Ref{Digest: digest}, to); err != nil {
		return err
	}
	if !isListing(to) {
		return nil
	}
	if err := os.Remove(to); err != nil {
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	return s.Get(ctx, artifact.Ref{Digest: digest, Dir: true}, to)
}

// isListing reads no more of a file than necessary.
func isListing(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	begin, err := bufio.NewReader(io.LimitReader(f, 64<<10)).ReadString('\n')
	if err != nil {
		return false
	}
	if _, err := artifact.ParseListing([]byte(begin)); err != nil {
		return false
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	_, err = artifact.ParseListing(text)
	return err == nil
}

func (s *Store) same(ctx context.Context, ref artifact.Ref, to string) error {
	got, err := artifact.Digest(ctx, to)
	if err == nil && got != ref.Digest {
		err = fmt.Errorf("%s is not %s but %s: remove it", to, ref.Digest, got)
	}
	if err != nil {
		return fmt.Errorf("store %s: get: %w", s.name, err)
	}
	return nil
}

func (s *Store) getFolder(ctx context.Context, ref artifact.Ref, to string) error {
	text, err := s.bytes(ctx, ref.Digest)
	if err != nil {
		return err
	}
	entries, err := artifact.ParseListing(text)
	if err != nil {
		return fmt.Errorf("store %s: %s: %w", s.name, ref.Digest, err)
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(filesAtOnce)
	var links []artifact.Entry
	for _, e := range entries {
		at := filepath.Join(to, filepath.FromSlash(e.Path))
		switch e.Kind {
		case artifact.Folder:
			if err := os.Mkdir(at, 0o755); err != nil {
				return errors.Join(fmt.Errorf("store %s: %w", s.name, err), group.Wait())
			}
		case artifact.Link:
			links = append(links, e)
		default:
			mode := fs.FileMode(0o644)
			if e.Kind == artifact.Executable {
				mode = 0o755
			}
			group.Go(func() error { return s.getFile(inGroup, e.Digest, at, mode) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	// Links come last, so that nothing is ever written through one.
	for _, e := range links {
		if err := s.getLink(ctx, e, filepath.Join(to, filepath.FromSlash(e.Path))); err != nil {
			return err
		}
	}
	for _, e := range links {
		if err := artifact.CheckLink(to, filepath.Join(to, filepath.FromSlash(e.Path))); err != nil {
			return fmt.Errorf("store %s: %s: %w", s.name, ref.Digest, err)
		}
	}
	return nil
}

func (s *Store) getLink(ctx context.Context, e artifact.Entry, at string) error {
	target, err := s.bytes(ctx, e.Digest)
	if err != nil {
		return err
	}
	if err := os.Symlink(string(target), at); err != nil {
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	return nil
}

func (s *Store) getFile(ctx context.Context, digest, to string, mode fs.FileMode) error {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	return errors.Join(s.copy(ctx, digest, f), f.Close())
}

func (s *Store) bytes(ctx context.Context, digest string) ([]byte, error) {
	var b bytes.Buffer
	err := s.copy(ctx, digest, &b)
	return b.Bytes(), err
}

// copy writes a blob to w. After an error, discard what was written.
func (s *Store) copy(ctx context.Context, digest string, w io.Writer) error {
	k, err := key(digest)
	if err != nil {
		return err
	}
	return s.verified(ctx, k, digest, w)
}

// verified writes what is under a key to w, and compares it with its digest. After an error,
// discard what was written.
func (s *Store) verified(ctx context.Context, key, digest string, w io.Writer) error {
	h := sha256.New()
	if err := s.read(ctx, key, digest, io.MultiWriter(w, h)); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(h.Sum(nil)); got != digest {
		return &artifact.DamagedError{Digest: digest, Path: s.name + "/" + key, Got: got}
	}
	return nil
}

// read writes the blob under a key to w. If the connection breaks it resumes, and gives
// up after several attempts without progress.
func (s *Store) read(ctx context.Context, key, what string, w io.Writer) error {
	var n int64
	for tries := 0; ; {
		m, again, err := s.readFrom(ctx, key, n, w)
		if err == nil {
			return nil
		}
		if n += m; m > 0 {
			tries = 0
		}
		if tries++; errors.Is(err, errAbsent) {
			return fmt.Errorf("%s in %s: %w", what, s.name, artifact.ErrMissing)
		} else if !again || tries > s.patience.tries {
			return s.explain("get "+what, err)
		}
		if err := s.patience.wait(ctx, tries); err != nil {
			return err
		}
	}
}

// readFrom writes the blob under a key to w, from an offset on. It returns the number of
// bytes, and whether the read may be resumed after an error.
func (s *Store) readFrom(ctx context.Context, key string, offset int64, w io.Writer) (n int64, again bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, size, err := s.bucket.read(ctx, s.prefix+key, offset)
	if err != nil {
		return 0, false, err
	}
	defer r.Close()
	stalled := time.AfterFunc(s.patience.stall, func() { cancel(errStalled) })
	defer stalled.Stop()
	out := &progress{w: w, moved: func() { stalled.Reset(s.patience.stall) }}
	n, err = io.Copy(out, r)
	if out.err != nil {
		return n, false, out.err
	}
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return n, errors.Is(cause, errStalled), cause
	}
	return n, offset+n < size, err
}

var errStalled = errors.New("it stopped sending data")

// A progress reports writes, and keeps write errors apart from read errors.
type progress struct {
	w     io.Writer
	moved func()
	err   error
}

func (p *progress) Write(b []byte) (int, error) {
	p.moved()
	n, err := p.w.Write(b)
	p.err = err
	return n, err
}
