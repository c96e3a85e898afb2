package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/tenon-ml/tenon/internal/batch"
	"github.com/tenon-ml/tenon/internal/files"
)

// A Store is a folder of artifacts. It is safe for concurrent use, also by several
// processes.
type Store struct {
	dir     string
	tmp     string
	placing sync.Map // digests whose names are not on disk yet
	names   batch.Batcher[*name]
	synced  map[string]bool // folders below dir whose own names are on disk; used by [Store.syncNames]
	behind  *behind         // or nil
}

// A name is the name of an artifact, until it is on disk.
type name struct {
	folder string
	err    error
}

// ErrMissing means that an artifact is not in the store.
var ErrMissing = errors.New("artifact is not in the store")

// A DamagedError means that an artifact in the store has changed.
type DamagedError struct {
	Digest, Path string
	Got          string // digest of what is stored
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("artifact %s was modified: %s now has the digest %s; remove it, and tenon makes it again", e.Digest, e.Path, e.Got)
}

// Open opens the store in dir and creates it if it does not exist.
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open artifacts: %w", err)
	}
	s := &Store{dir: dir, tmp: filepath.Join(dir, "tmp"), synced: map[string]bool{}}
	s.names.Run = s.syncNames
	if err := os.MkdirAll(s.tmp, 0o700); err != nil {
		return nil, fmt.Errorf("open artifacts: %w", err)
	}
	return s, nil
}

// Sweep removes unfinished work. No other process may be putting anything.
func (s *Store) Sweep() error {
	left, err := os.ReadDir(s.tmp)
	if err != nil {
		return fmt.Errorf("sweep artifacts: %w", err)
	}
	for _, e := range left {
		err = errors.Join(err, files.RemoveAll(filepath.Join(s.tmp, e.Name())))
	}
	return err
}

// Path returns where the artifact is, or would be, on this machine; "" if digest is
// malformed. [Store.Check] fetches what is missing.
func (s *Store) Path(digest string) string {
	h, ok := Hex(digest)
	if !ok {
		return ""
	}
	return filepath.Join(s.dir, h[:2], h[2:])
}

// Has reports whether the artifact is here, or was in the remote store at the last
// [Store.Look].
func (s *Store) Has(digest string) bool {
	return s.here(digest) || s.behind != nil && s.behind.knows(digest)
}

// here reports whether the artifact is on this machine.
func (s *Store) here(digest string) bool {
	p := s.Path(digest)
	if p == "" {
		return false
	}
	_, err := os.Lstat(p)
	return err == nil
}

// Present reports which of the digests [Store.Has]. It looks in parallel, because a plan
// asks for the artifacts of all units.
func (s *Store) Present(digests []string) map[string]bool {
	dir, err := os.Open(s.dir)
	if err != nil {
		return map[string]bool{}
	}
	defer dir.Close()
	found := make([]bool, len(digests))
	var wg sync.WaitGroup
	const part = 256
	for first := 0; first < len(digests); first += part {
		wg.Go(func() {
			for i := first; i < min(first+part, len(digests)); i++ {
				h, ok := Hex(digests[i])
				found[i] = ok && exists(dir, h[:2]+"/"+h[2:]) || s.behind != nil && s.behind.knows(digests[i])
			}
		})
	}
	wg.Wait()
	out := make(map[string]bool, len(digests))
	for i, d := range digests {
		out[d] = found[i]
	}
	return out
}

// All returns the digests of the artifacts that are on this machine.
func (s *Store) All() ([]string, error) {
	folders, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list artifacts: %w", err)
	}
	var digests []string
	for _, f := range folders {
		if !f.IsDir() || len(f.Name()) != 2 {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(s.dir, f.Name()))
		if err != nil {
			return nil, fmt.Errorf("list artifacts: %w", err)
		}
		for _, e := range entries {
			if digest := prefix + f.Name() + e.Name(); s.Path(digest) != "" {
				digests = append(digests, digest)
			}
		}
	}
	return digests, nil
}

// Remove removes an artifact from this machine. At any moment it is there completely or
// not at all.
func (s *Store) Remove(digest string) error {
	err := s.away(digest)
	if err != nil {
		err = fmt.Errorf("remove artifact: %w", err)
	}
	return err
}

// Put moves a finished file or folder into the store, as an artifact of the given kind.
// Nobody may write to it any more. Afterwards it is gone from path, even if the store had
// it already; a damaged copy in the store is replaced. After an error it is complete in
// one of the two places.
func (s *Store) Put(ctx context.Context, path, kind string) (Artifact, error) {
	a, err := s.take(ctx, path, kind, true)
	if err == nil {
		err = s.Share(ctx, a.Digest)
	}
	return a, err
}

// Add is like [Store.Put], but the file stays at path: if the file system allows it, as a
// hard link to the artifact.
func (s *Store) Add(ctx context.Context, path, kind string) (Artifact, error) {
	a, err := s.take(ctx, path, kind, false)
	if err == nil {
		err = s.Share(ctx, a.Digest)
	}
	return a, err
}

// take is Put on this machine. It leaves path in place if place does.
func (s *Store) take(ctx context.Context, path, kind string, moves bool) (Artifact, error) {
	a, err := s.place(ctx, path, kind, moves)
	if err == nil && moves {
		err = files.RemoveAll(path) // whatever is left there
	}
	if err != nil {
		return Artifact{}, fmt.Errorf("put artifact: %w", err)
	}
	return a, nil
}

func (s *Store) place(ctx context.Context, path, kind string, moves bool) (Artifact, error) {
	t, err := scan(ctx, path)
	if err != nil {
		return Artifact{}, err
	}
	a := Artifact{Digest: t.digest, Kind: kind, Size: t.size}
	if err := s.Heal(ctx, a.Digest); err != nil {
		return a, err
	}
	if s.here(a.Digest) {
		return a, s.placed(a.Digest)
	}
	// A file with another hard link could be changed through it.
	if !t.shared && (moves || len(t.dirs) == 0) {
		name := os.Rename
		if !moves {
			name = os.Link
		}
		err := s.adopt(path, t, name)
		if err == nil || moves && !errors.Is(err, syscall.EXDEV) {
			return a, err
		}
	}
	return a, s.copyIn(ctx, path, t.digest)
}

// PutBytes stores b as a file and returns its digest.
func (s *Store) PutBytes(ctx context.Context, b []byte) (string, error) {
	digest := DigestOf(b)
	if s.here(digest) {
		return digest, errors.Join(s.placed(digest), s.Share(ctx, digest))
	}
	f, err := os.CreateTemp(s.tmp, "bytes-")
	if err != nil {
		return "", fmt.Errorf("put artifact: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.adopt(f.Name(), tree{digest: digest, files: []string{f.Name()}}, os.Rename)
	}
	if err = errors.Join(err, files.RemoveAll(f.Name())); err != nil {
		return "", fmt.Errorf("put artifact: %w", err)
	}
	return digest, s.Share(ctx, digest)
}

// Bytes returns the verified content of an artifact that is a file.
func (s *Store) Bytes(ctx context.Context, digest string) ([]byte, error) {
	if err := s.Fetch(ctx, digest); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(s.Path(digest))
	if err != nil {
		return nil, fmt.Errorf("read artifact: %w", err)
	}
	if got := DigestOf(b); got != digest {
		return nil, &DamagedError{Digest: digest, Path: s.Path(digest), Got: got}
	}
	return b, nil
}

// Check reads the artifact and compares it with its digest. It returns [ErrMissing], a
// [DamagedError], or nil.
func (s *Store) Check(ctx context.Context, digest string) error {
	if err := s.Fetch(ctx, digest); err != nil {
		return err
	}
	return s.sound(ctx, digest)
}

// sound is Check on this machine.
func (s *Store) sound(ctx context.Context, digest string) error {
	if !s.here(digest) {
		return fmt.Errorf("%s: %w", digest, ErrMissing)
	}
	got, err := Digest(ctx, s.Path(digest))
	if err != nil {
		return fmt.Errorf("check artifact %s: %w", digest, err)
	}
	if got != digest {
		return &DamagedError{Digest: digest, Path: s.Path(digest), Got: got}
	}
	return nil
}

// Heal removes an artifact that is damaged, so that it is made again.
func (s *Store) Heal(ctx context.Context, digest string) error {
	if err := s.sound(ctx, digest); err == nil || errors.Is(err, ErrMissing) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.away(digest)
}

// away moves an artifact out of its place and removes it. A reader can still read what it
// has opened.
func (s *Store) away(digest string) error {
	old, err := os.MkdirTemp(s.tmp, "old-")
	if err != nil {
		return err
	}
	defer files.RemoveAll(old) //nolint:errcheck // Sweep tries again
	path := s.Path(digest)
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		_ = os.Chmod(path, 0o755) // moving a folder needs write permission on it
	}
	if err := os.Rename(path, filepath.Join(old, "content")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// adopt makes what is at path read-only, syncs it and gives it its final name.
func (s *Store) adopt(path string, t tree, name func(from, to string) error) error {
	final := s.Path(t.digest)
	for _, f := range t.files {
		if err := seal(f, f == path); err != nil {
			return err
		}
	}
	for _, d := range slices.Backward(t.dirs) {
		mode := fs.FileMode(0o555)
		if d == path {
			mode = 0o755 // moving a folder needs write permission on it
		}
		if err := errors.Join(os.Chmod(d, mode), syncPath(d)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o700); err != nil {
		return err
	}
	s.placing.Store(t.digest, true)
	defer s.placing.Delete(t.digest)
	if err := name(path, final); err != nil {
		// Another process may have put the same content there first.
		if s.here(t.digest) {
			return s.syncName(final)
		}
		return err
	}
	if len(t.dirs) > 0 {
		if err := os.Chmod(final, 0o555); err != nil {
			return err
		}
	}
	return s.syncName(final)
}

// placed waits for the name of an artifact that another call is placing.
func (s *Store) placed(digest string) error {
	if _, busy := s.placing.Load(digest); !busy {
		return nil
	}
	return s.syncName(s.Path(digest))
}

// syncName waits until the name of an artifact is on disk.
func (s *Store) syncName(final string) error {
	n := &name{folder: filepath.Dir(final)}
	s.names.Do(n)
	return n.err
}

// syncNames syncs the names that arrive together: once per folder, all folders at once.
// The name of a new folder is synced only once.
func (s *Store) syncNames(names []*name) {
	folders := map[string]error{}
	for _, n := range names {
		folders[n.folder] = nil
		if !s.synced[n.folder] {
			folders[s.dir] = nil
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, folder := range slices.Collect(maps.Keys(folders)) {
		wg.Go(func() {
			err := syncPath(folder)
			mu.Lock()
			defer mu.Unlock()
			folders[folder] = err
		})
	}
	wg.Wait()
	for _, n := range names {
		n.err = folders[n.folder]
		if !s.synced[n.folder] {
			n.err = errors.Join(n.err, folders[s.dir])
		}
	}
	for _, n := range names {
		s.synced[n.folder] = s.synced[n.folder] || n.err == nil
	}
}

// seal makes a file read-only and syncs it. A file within a folder stays executable,
// because that is part of the folder's digest.
func seal(path string, alone bool) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o444)
	if !alone && info.Mode()&0o111 != 0 {
		mode = 0o555
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return syncPath(path)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// Some file systems cannot sync a folder and return EINVAL.
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// copyIn copies what is at path into the store, and verifies the copy.
func (s *Store) copyIn(ctx context.Context, path, digest string) error {
	tmp, err := os.MkdirTemp(s.tmp, "copy-")
	if err != nil {
		return err
	}
	defer files.RemoveAll(tmp) //nolint:errcheck // Sweep tries again
	to := filepath.Join(tmp, "content")
	if err := files.CopyTree(ctx, path, to, 0o700, 0o600); err != nil {
		return err
	}
	t, err := scan(ctx, to)
	if err != nil {
		return err
	}
	if t.digest != digest {
		return fmt.Errorf("%s: %w", path, ErrChanged)
	}
	return s.adopt(to, t, os.Rename)
}
