package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/tenon-ml/tenon/internal/files"
)

// A Remote is a store that other machines reach, too.
type Remote interface {
	// Put stores the file or folder at path, which stays where it is, unless it is
	// there already. After it the artifact is there whole.
	Put(ctx context.Context, path string) (Ref, error)
	// Fetch puts the artifact at the path to, whole and as its digest says, or fails
	// with [ErrMissing] or another error and leaves nothing.
	Fetch(ctx context.Context, digest, to string) error
	// All returns the digests of what is there, perhaps with those of parts of it.
	All(ctx context.Context) ([]string, error)
	// PutNote stores bytes under a name, in place of what was there, and Note returns
	// them, or [ErrMissing].
	PutNote(ctx context.Context, name string, b []byte) error
	Note(ctx context.Context, name string) ([]byte, error)
}

// OpenShared opens the store in dir as what this machine has of a remote one.
// What is put is in both before it is known under its digest. What only the
// remote one has is fetched when it is read.
func OpenShared(dir string, r Remote) (*Store, error) {
	s, err := Open(dir)
	if err == nil {
		s.behind = &behind{remote: r, has: map[string]bool{}}
	}
	return s, err
}

// behind is what lies behind a store.
type behind struct {
	remote Remote
	looked atomic.Bool
	mu     sync.Mutex
	has    map[string]bool // what it is known to have
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

// Look learns what the remote store has, so that Has knows of it: one question
// for a command, however many are asked of Has. Without a remote store it does nothing.
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

// Share makes sure that the remote store has an artifact that is here. Without
// one it does nothing.
func (s *Store) Share(ctx context.Context, digest string) error {
	if s.behind == nil || s.behind.knows(digest) {
		return nil
	}
	if !s.here(digest) {
		return nil // it is where it came from
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

// Fetch brings an artifact to this machine, unless it is here: [ErrMissing] if it
// is nowhere.
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

// maxLog is how many bytes of a log other machines can read, the last ones.
const maxLog = 16 << 20

// ShareLog lets other machines read the log of a task, which is the file at path.
// Without a remote store, or a log, it does nothing.
func (s *Store) ShareLog(ctx context.Context, task, path string) (err error) {
	if s.behind == nil {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("share the log of %s: %w", task, err)
		}
	}()
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-maxLog), maxLog))
	if err != nil {
		return err
	}
	return s.behind.remote.PutNote(ctx, logOf(task), b)
}

// Log returns the log of a task that another machine has shared, or [ErrMissing].
func (s *Store) Log(ctx context.Context, task string) ([]byte, error) {
	if s.behind == nil {
		return nil, ErrMissing
	}
	return s.behind.remote.Note(ctx, logOf(task))
}

func logOf(task string) string { return "logs/" + task }
