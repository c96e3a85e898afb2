package host

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/planner/artifact"
)

// Where the host has files of folders that it was sent, under their digests. Those of artifacts and
// those of trees are apart: a program can write to the environment in which it runs, and no artifact
// may have the same inode.
const (
	ofArtifacts = "files"
	ofTrees     = "tree-files"
)

// filePath is where the host has a file of any artifact, or of any tree. It is another name of that
// file, so that it takes no room while the folder is there.
func (s *server) filePath(of string, e artifact.Entry) string {
	hex, _ := artifact.Hex(e.Digest) // it was parsed
	name := hex[2:]
	if e.Kind == artifact.Executable {
		name += "x"
	}
	return filepath.Join(s.dir, of, hex[:2], name)
}

// has returns where the host has a file, or "".
func (s *server) has(e artifact.Entry) string {
	for _, of := range []string{ofArtifacts, ofTrees} {
		if info, err := os.Lstat(s.filePath(of, e)); err == nil && info.Size() == e.Size {
			return s.filePath(of, e)
		}
	}
	return ""
}

// treePath is where the host has a folder of programs that nobody changes.
func (s *server) treePath(digest string) string {
	hex, _ := artifact.Hex(digest) // it was checked
	return filepath.Join(s.dir, "trees", hex)
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
		if s.has(e) == "" {
			lacking = append(lacking, e.Digest)
		}
	}
	return lacking, nil
}

// receiveFolder stores a folder, of which the sender leaves out files that the host has. They are
// copied, because a file of an artifact could be changed through another name.
func (s *server) receiveFolder(ctx context.Context, r io.Reader, tmp, digest string) error {
	return s.receive(r, tmp, s.artifacts.Path(digest), ofArtifacts, s.copied, func() error { return s.keep(ctx, tmp, digest) })
}

// copied makes a file from one that the host has.
func (s *server) copied(e artifact.Entry, at string) error {
	f, err := os.Open(s.has(e)) // without one, it does not exist
	if err != nil {
		return err
	}
	defer f.Close()
	return receiveFile(f, at, modeOf(e), e.Size)
}

// receiveTree stores a folder of programs, such as the packages of a Python environment. The files
// that another tree has get another name, as those of environments on one machine: they are large, and
// nobody should change them.
func (s *server) receiveTree(ctx context.Context, r io.Reader, tmp, digest string) error {
	linked := func(e artifact.Entry, at string) error {
		err := os.Link(s.filePath(ofTrees, e), at)
		// An empty file may have very many names, and an artifact may have the file.
		if errors.Is(err, unix.EMLINK) || errors.Is(err, fs.ErrNotExist) {
			return s.copied(e, at)
		}
		return err
	}
	return s.receive(r, tmp, s.treePath(digest), ofTrees, linked, func() error {
		got, err := artifact.Digest(ctx, tmp)
		if err == nil && got != digest {
			err = &artifact.DamagedError{Digest: digest, Path: "what arrived", Got: got}
		}
		if err != nil {
			return err
		}
		if err := sealed(tmp); err != nil {
			return err
		}
		err = os.Rename(tmp, s.treePath(digest))
		if _, there := os.Stat(s.treePath(digest)); there == nil {
			return nil // another connection may have been faster
		}
		return err
	})
}

// sealed makes the files of a folder read-only and durable.
func sealed(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode()&0o222 != 0 {
			err = os.Chmod(path, info.Mode().Perm()&^0o222)
		}
		return err
	})
	if err != nil {
		return err
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// receive receives a folder, lets keep store it at a path, and gives its files names under their
// digests, as those of artifacts or of trees.
func (s *server) receive(r io.Reader, tmp, at, of string, reuse func(e artifact.Entry, at string) error, keep func() error) error {
	var reused []string
	entries, err := Receive(r, tmp, func(e artifact.Entry, at string) error {
		reused = append(reused, s.filePath(ofArtifacts, e), s.filePath(ofTrees, e))
		return reuse(e, at)
	})
	if err == nil {
		err = keep()
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
	return s.index(entries, at, of)
}

// index gives the files of a folder names under their digests.
func (s *server) index(entries []artifact.Entry, root, of string) error {
	for _, e := range entries {
		if e.Kind != artifact.Plain && e.Kind != artifact.Executable {
			continue
		}
		at := s.filePath(of, e)
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
