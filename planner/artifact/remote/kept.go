package remote

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// A Kept is a file that a service has written, such as a part of its request log. It is not an
// artifact: the state does not know it, and the service removes its oldest files. So it is not
// among the blobs, which others may need that share the store.
type Kept struct {
	Folder string    // of the service
	Name   string    // of the file. Names sort by the time at which files begin.
	From   string    // who wrote it, such as a pod
	Ended  time.Time // when it was complete, to the millisecond
	Size   int64     // bytes
	Digest string
}

// kept is the prefix of the keys of kept files. All that is known about a file is in its key, so
// that a list needs no other request, and a file is complete or absent.
const kept = "kept/"

// keyPart separates the parts of a key. It may occur in the name only.
const keyPart = "_"

func (k *Kept) key() string {
	h, _ := artifact.Hex(k.Digest)
	return kept + k.Folder + "/" + strings.Join([]string{k.Name, k.From, strconv.FormatInt(k.Ended.UnixMilli(), 10), strconv.FormatInt(k.Size, 10), h}, keyPart)
}

// parseKept reads a key. ok is false if it is not that of a kept file.
func parseKept(at string) (k Kept, ok bool) {
	folder, name, _ := cutLast(strings.TrimPrefix(at, kept), "/")
	parts := strings.Split(name, keyPart)
	n := len(parts) - 4
	if n < 1 {
		return k, false
	}
	ended, bad := strconv.ParseInt(parts[n+1], 10, 64)
	size, worse := strconv.ParseInt(parts[n+2], 10, 64)
	k = Kept{folder, strings.Join(parts[:n], keyPart), parts[n], time.UnixMilli(ended).UTC(), size, "sha256:" + parts[n+3]}
	return k, bad == nil && worse == nil && k.key() == at
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

// Keep stores a file in a folder of the store. from is who wrote it. It may be called again after
// an error, and stores the same file once. It fails with [artifact.ErrChanged] if the file changes
// meanwhile.
func (s *Store) Keep(ctx context.Context, folder, path, from string) (k Kept, err error) {
	k = Kept{Folder: folder, Name: filepath.Base(path), From: from}
	if strings.Contains(from, keyPart) {
		return k, fmt.Errorf("%q cannot be the name of a writer: it has a %q", from, keyPart)
	}
	if err := checkNote(folder + "/" + k.Name + "/" + from); err != nil {
		return k, err
	}
	info, err := os.Stat(path)
	if err == nil {
		k.Ended, k.Size = info.ModTime(), info.Size()
		k.Digest, err = artifact.Digest(ctx, path)
	}
	if err != nil {
		return k, fmt.Errorf("store %s: %w", s.name, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return k, fmt.Errorf("store %s: %w", s.name, err)
	}
	defer f.Close()
	h, _ := artifact.Hex(k.Digest)
	return k, s.write(ctx, k.key(), "keep "+k.Name, k.Size, &proof{r: f, h: sha256.New(), want: h, what: path})
}

// Kept lists the files in a folder, the oldest first.
func (s *Store) Kept(ctx context.Context, folder string) (all []Kept, err error) {
	err = s.each(ctx, kept+folder+"/", func(key string) error {
		if k, ok := parseKept(key); ok && k.Folder == folder {
			all = append(all, k)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Kept) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.From, b.From)) })
	return all, err
}

// GetKept copies a file to the path to, whose folder must exist, and replaces what is there. The
// copy was changed when the file ended. GetKept returns [artifact.ErrMissing] if it was removed, or an [artifact.DamagedError].
func (s *Store) GetKept(ctx context.Context, k Kept, to string) (err error) {
	f, err := os.CreateTemp(filepath.Dir(to), files.HalfWritten)
	if err != nil {
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := errors.Join(s.verified(ctx, k.key(), k.Digest, f), f.Close()); err != nil {
		return err
	}
	if err := errors.Join(os.Chtimes(f.Name(), k.Ended, k.Ended), os.Rename(f.Name(), to)); err != nil {
		return fmt.Errorf("store %s: %w", s.name, err)
	}
	return nil
}

// Forget removes a file, and succeeds if there is none.
func (s *Store) Forget(ctx context.Context, k Kept) error { return s.remove(ctx, k.key()) }
