package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// A Store keeps artifacts and notes under a URL. It is safe for concurrent use, also by
// several machines.
type Store struct {
	bucket   bucket
	prefix   string // of all keys in the bucket
	name     string // the URL without its settings
	remedy   string // remedy after a refusal
	patience patience
	// writeOnly says that nothing may be read: then nothing is known to be there.
	writeOnly bool
	place     string // the URL without its path
	borrowed  bool   // the bucket is that of another store, which closes it
}

// String returns the URL of the store without its settings.
func (s *Store) String() string { return s.name }

// Close releases the resources of the store.
func (s *Store) Close() error {
	if b, ok := s.bucket.(io.Closer); ok && !s.borrowed {
		return b.Close()
	}
	return nil
}

// Prefixes of the keys in a store.
const (
	blobs = "cas/sha256/"
	notes = "notes/"
)

// key returns the key of the blob with a digest.
func key(digest string) (string, error) {
	h, ok := artifact.Hex(digest)
	if !ok {
		return "", fmt.Errorf("%q is not a digest: %w", digest, artifact.ErrMissing)
	}
	return blobs + h[:2] + "/" + h[2:], nil
}

// Has reports whether the store has the complete artifact.
func (s *Store) Has(ctx context.Context, ref artifact.Ref) (bool, error) {
	size := ref.Size
	if ref.Dir {
		size = -1 // a folder's size is not that of its listing
	}
	return s.has(ctx, ref.Digest, size)
}

// has looks for a blob of that many bytes, or of any size if size is -1. One of another
// size is damaged and does not count.
func (s *Store) has(ctx context.Context, digest string, size int64) (bool, error) {
	k, err := key(digest)
	if err != nil {
		return false, nil //nolint:nilerr // nothing has that name
	}
	if s.writeOnly {
		return false, nil
	}
	is, err := s.bucket.size(ctx, s.prefix+k)
	if errors.Is(err, errAbsent) {
		return false, nil
	}
	if err != nil {
		return false, s.explain("look for "+digest, err)
	}
	return size < 0 || is == size, nil
}

// PutBytes stores b as a file.
func (s *Store) PutBytes(ctx context.Context, b []byte) (artifact.Ref, error) {
	ref := artifact.Ref{Digest: ir.Sum(b), Size: int64(len(b))}
	return ref, s.putBytes(ctx, ref.Digest, b)
}

// Bytes returns the verified content of a file. It returns [artifact.ErrMissing] or an
// [artifact.DamagedError] if the store does not hold it intact.
func (s *Store) Bytes(ctx context.Context, ref artifact.Ref) ([]byte, error) {
	if ref.Dir {
		return nil, fmt.Errorf("%s in %s is a folder, not a file", ref.Digest, s)
	}
	return s.bytes(ctx, ref.Digest)
}

// PutNote stores b under a name and replaces any earlier note.
func (s *Store) PutNote(ctx context.Context, name string, b []byte) error {
	if err := checkNote(name); err != nil {
		return err
	}
	return s.write(ctx, notes+name, "write the note "+name, int64(len(b)), strings.NewReader(string(b)))
}

// Note returns the note under a name, or [artifact.ErrMissing].
func (s *Store) Note(ctx context.Context, name string) ([]byte, error) {
	if err := checkNote(name); err != nil {
		return nil, err
	}
	var b strings.Builder
	err := s.read(ctx, notes+name, "the note "+name, &b)
	return []byte(b.String()), err
}

// Notes returns the notes whose names begin with prefix, by name. One that is removed meanwhile
// may be missing.
func (s *Store) Notes(ctx context.Context, prefix string) (map[string][]byte, error) {
	all := map[string][]byte{}
	err := s.each(ctx, notes+prefix, func(key string) error {
		name := strings.TrimPrefix(key, notes)
		b, err := s.Note(ctx, name)
		if errors.Is(err, artifact.ErrMissing) {
			return nil
		}
		all[name] = b
		return err
	})
	return all, err
}

// DeleteNotes removes the notes whose names begin with prefix. There may be none.
func (s *Store) DeleteNotes(ctx context.Context, prefix string) error {
	return s.each(ctx, notes+prefix, func(key string) error { return s.remove(ctx, key) })
}

// checkNote refuses names that have another meaning to one of the services.
func checkNote(name string) error {
	if name == "" || path.Clean("/"+name) != "/"+name || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/") != "" {
		return fmt.Errorf("%q is not a name of a note: use words of letters, digits, dots and dashes, separated by slashes", name)
	}
	return nil
}

// All returns the digests of all blobs: files, the files in folders, links and
// listings.
func (s *Store) All(ctx context.Context) ([]string, error) {
	var digests []string
	err := s.each(ctx, blobs, func(at string) error {
		digest := "sha256:" + strings.ReplaceAll(strings.TrimPrefix(at, blobs), "/", "")
		if k, err := key(digest); err == nil && k == at {
			digests = append(digests, digest)
		}
		return nil
	})
	return digests, err
}

// Remove removes a blob, and succeeds if there is none. Remove the listing of a folder
// before its contents.
func (s *Store) Remove(ctx context.Context, digest string) error {
	k, err := key(digest)
	if err != nil {
		return nil //nolint:nilerr // nothing has that name
	}
	return s.remove(ctx, k)
}

func (s *Store) remove(ctx context.Context, key string) error {
	if err := s.bucket.remove(ctx, s.prefix+key); err != nil {
		return s.explain("remove "+key, err)
	}
	return nil
}

// each calls f with each key that begins with prefix.
func (s *Store) each(ctx context.Context, prefix string, f func(key string) error) error {
	for key, err := range s.bucket.list(ctx, s.prefix+prefix, pageSize) {
		if err != nil {
			return s.explain("list "+prefix, err)
		}
		if err := f(strings.TrimPrefix(key, s.prefix)); err != nil {
			return err
		}
	}
	return nil
}

// explain adds which operation failed where and, after a refusal, the remedy.
func (s *Store) explain(what string, err error) error {
	if refused := (*refusal)(nil); errors.As(err, &refused) {
		return &RefusedError{Store: s.name, What: what, Why: refused.why, Remedy: s.remedy, err: err}
	}
	if why := unreached(err); why != "" {
		return &worded{fmt.Sprintf("cannot reach store %s to %s: %s\n  check that the server runs, and that the URL is right, for S3 with region=... or endpoint=http://HOST:PORT", s.name, what, why), err}
	}
	return fmt.Errorf("store %s: %s: %w", s.name, what, err)
}

// unreached returns why a server cannot be reached, or "" if it can.
func unreached(err error) string {
	var name *net.DNSError
	var dial *net.OpError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return "unknown host " + name.Name
	case errors.As(err, &dial) && dial.Op == "dial" && dial.Addr != nil:
		return fmt.Sprintf("%s: %v", dial.Addr, dial.Err)
	}
	return ""
}

// A worded error describes err in words for users.
type worded struct {
	text string
	err  error
}

func (e *worded) Error() string { return e.text }
func (e *worded) Unwrap() error { return e.err }

// A RefusedError means that a store rejected the credentials, or that they do not allow
// the operation.
type RefusedError struct {
	Store  string // its URL, without settings
	What   string // the operation
	Why    string // the message of the service
	Remedy string // what to set
	err    error
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("store %s refused to %s: %s\n  %s", e.Store, e.What, e.Why, e.Remedy)
}

func (e *RefusedError) Unwrap() error { return e.err }
