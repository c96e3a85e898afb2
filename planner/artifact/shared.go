package artifact

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/logfile"
)

// A Remote is a store that other machines can reach, too.
type Remote interface {
	// Put stores the file or folder at path, unless the store has it already, and leaves
	// path in place. Afterwards the store has the complete artifact.
	Put(ctx context.Context, path string) (Ref, error)
	// Fetch writes the verified, complete artifact to the path to. If it fails, with
	// [ErrMissing] or another error, it leaves nothing behind.
	Fetch(ctx context.Context, digest, to string) error
	// All returns the digests of what is stored, perhaps with those of parts of it.
	All(ctx context.Context) ([]string, error)
	// PutNote stores bytes under a name and replaces any earlier note. Note returns them,
	// or [ErrMissing].
	PutNote(ctx context.Context, name string, b []byte) error
	Note(ctx context.Context, name string) ([]byte, error)
}

// OpenShared opens the store in dir as this machine's copy of a remote one. What is put
// is in both stores before it is known under its digest. What only the remote store has
// is fetched when it is read.
func OpenShared(dir string, r Remote) (*Store, error) {
	s, err := Open(dir)
	if err == nil {
		s.behind = &behind{remote: r, has: map[string]bool{}}
	}
	return s, err
}

// behind is the remote store behind a store.
type behind struct {
	remote Remote
	looked atomic.Bool
	mu     sync.Mutex
	has    map[string]bool // what the remote store is known to have
}

func (b *behind) knows(digest string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.has[digest]
}

func (b *behind) learn(digests ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range digests {
		b.has[d] = true
	}
}

// Look lists the remote store so that Has can answer from the list: one request for a
// command, however often Has is called. Without a remote store it does nothing.
func (s *Store) Look(ctx context.Context) error {
	if s.behind == nil || s.behind.looked.Load() {
		return nil
	}
	digests, err := s.behind.remote.All(ctx)
	if err != nil {
		return fmt.Errorf("look for artifacts: %w", err)
	}
	s.behind.learn(digests...)
	s.behind.looked.Store(true)
	return nil
}

// Share makes sure that the remote store has an artifact of this machine. Without a
// remote store it does nothing.
func (s *Store) Share(ctx context.Context, digest string) error {
	if s.behind == nil || s.behind.knows(digest) {
		return nil
	}
	if !s.here(digest) {
		return nil // it came from there
	}
	ref, err := s.behind.remote.Put(ctx, s.Path(digest))
	if err != nil {
		return fmt.Errorf("share artifact: %w", err)
	}
	if ref.Digest != digest {
		return &DamagedError{Digest: digest, Path: s.Path(digest), Got: ref.Digest}
	}
	s.behind.learn(digest)
	return nil
}

// Fetch brings an artifact to this machine, unless it is here. It returns [ErrMissing] if
// no store has it.
func (s *Store) Fetch(ctx context.Context, digest string) (err error) {
	if s.Path(digest) == "" {
		return fmt.Errorf("%s: %w", digest, ErrMissing)
	}
	if s.here(digest) {
		return nil
	}
	if s.behind == nil {
		return fmt.Errorf("%s: %w", digest, ErrMissing)
	}
	tmp, err := os.MkdirTemp(s.tmp, "fetch-")
	if err != nil {
		return fmt.Errorf("fetch artifact: %w", err)
	}
	defer func() { err = errors.Join(err, files.RemoveAll(tmp)) }()
	to := filepath.Join(tmp, "content")
	if err := s.behind.remote.Fetch(ctx, digest, to); err != nil {
		return fmt.Errorf("fetch artifact: %w", err)
	}
	t, err := scan(ctx, to)
	if err == nil && t.digest != digest {
		err = &DamagedError{Digest: digest, Path: to, Got: t.digest}
	}
	if err == nil {
		err = s.adopt(to, t, os.Rename)
	}
	if err != nil {
		return fmt.Errorf("fetch artifact: %w", err)
	}
	return nil
}

// maxLog is how many bytes, counted from the end of a log, other machines can read.
const maxLog = 16 << 20

// ShareLog lets other machines read the log of a task, the file at path. Without a remote
// store, or without a log, it does nothing.
func (s *Store) ShareLog(ctx context.Context, task, path string) (err error) {
	if s.behind == nil {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("share the log of %s: %w", task, err)
		}
	}()
	b, _, err := logfile.Tail(path, maxLog)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.behind.remote.PutNote(ctx, logOf(task), b)
}

// Log returns the log of a task that another machine shared, or [ErrMissing].
func (s *Store) Log(ctx context.Context, task string) ([]byte, error) {
	if s.behind == nil {
		return nil, ErrMissing
	}
	return s.behind.remote.Note(ctx, logOf(task))
}

func logOf(task string) string { return "logs/" + task }

// ShareCurves lets other machines read what a task has logged over time. Without a remote store it does nothing.
func (s *Store) ShareCurves(ctx context.Context, task string, b []byte) error {
	if s.behind == nil {
		return nil
	}
	if err := s.behind.remote.PutNote(ctx, curvesOf(task), b); err != nil {
		return fmt.Errorf("share the curves of %s: %w", task, err)
	}
	return nil
}

// Curves returns what a task has logged over time, as another machine shared it, or [ErrMissing].
func (s *Store) Curves(ctx context.Context, task string) ([]byte, error) {
	if s.behind == nil {
		return nil, ErrMissing
	}
	return s.behind.remote.Note(ctx, curvesOf(task))
}

func curvesOf(task string) string { return "curves/" + task }
