package host

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/planner/artifact"
)

// filePath is where the host has a file of any folder that it was sent, under its digest. It is
// another name of the file in an artifact, so that it takes no room while that is there.
func (s *server) filePath(e artifact.Entry) string {
	hex, _ := artifact.Hex(e.Digest) // it was parsed
	return filepath.Join(s.dir, "files", hex[:2], hex[2:])
}

// lacks lists the files of a folder that the host does not have.
func (s *server) lacks(_ context.Context, in Lacking) ([]string, error) {
	entries, err := artifact.ParseListing([]byte(in.Listing))
	if err != nil {
		return nil, err
	}
	lacking := []string{}
	for _, e := range entries {
		if e.Kind != artifact.Plain && e.Kind != artifact.Executable {
			continue
		}
		if info, err := os.Lstat(s.filePath(e)); err != nil || info.Size() != e.Size {
			lacking = append(lacking, e.Digest)
		}
	}
	return lacking, nil
}

// receiveFolder stores a folder, of which the sender leaves out files that the host has.
func (s *server) receiveFolder(ctx context.Context, r io.Reader, tmp, digest string) error {
	var reused []string
	entries, err := Receive(r, tmp, func(e artifact.Entry) string {
		reused = append(reused, s.filePath(e))
		return s.filePath(e)
	})
	if err == nil {
		err = s.keep(ctx, tmp, digest)
	}
	var damaged *artifact.DamagedError
	if errors.As(err, &damaged) && len(reused) > 0 {
		// One of them may be why. The sender tries again, with all files.
		for _, path := range reused {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return errors.Join(errNotHere, err)
	}
	if err != nil {
		return err
	}
	return s.index(entries, s.artifacts.Path(digest))
}

// index gives the files of a folder names under their digests.
func (s *server) index(entries []artifact.Entry, root string) error {
	for _, e := range entries {
		if e.Kind != artifact.Plain && e.Kind != artifact.Executable {
			continue
		}
		at := s.filePath(e)
		err := os.Link(filepath.Join(root, filepath.FromSlash(e.Path)), at)
		if errors.Is(err, fs.ErrNotExist) {
			if err = os.Mkdir(filepath.Dir(at), 0o700); err == nil || errors.Is(err, fs.ErrExist) {
				err = os.Link(filepath.Join(root, filepath.FromSlash(e.Path)), at)
			}
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
