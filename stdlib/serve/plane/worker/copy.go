package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/planner/artifact"
)

// Copy copies the folder of an artifact to a new folder that only this user can enter. It fails
// unless the bytes that it has copied are those of the digest. Each file is read once: whoever
// changes the artifact meanwhile or later does not change the copy.
func Copy(from, digest, to string) error {
	if _, ok := artifact.Hex(digest); !ok {
		return errors.New("the step does not say which digest the model has, and a model in Python is not loaded without it")
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	entries, err := copyFolder(from, to)
	if err != nil {
		return fmt.Errorf("copy the model: %w", err)
	}
	sum := sha256.Sum256(artifact.Listing(entries))
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != digest {
		return fmt.Errorf("the model at %s has the digest %s, not %s: it was changed after it was made, and is not loaded", from, got, digest)
	}
	return nil
}

// copyFolder copies what is in a folder, and lists it as [artifact.Listing] wants it.
func copyFolder(from, to string) (entries []artifact.Entry, err error) {
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == from {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		e := artifact.Entry{Path: filepath.ToSlash(rel)}
		target := filepath.Join(to, rel)
		h := sha256.New()
		switch d.Type() {
		case fs.ModeDir:
			e.Kind = artifact.Folder
			entries = append(entries, e)
			return os.Mkdir(target, 0o700)
		case fs.ModeSymlink:
			e.Kind, e.Size, err = artifact.Link, 0, copyLink(path, target, h)
			if text, err := os.Readlink(target); err == nil {
				e.Size = int64(len(text))
			}
		default:
			e.Kind, e.Size, err = copyFile(path, target, h)
		}
		e.Digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
		entries = append(entries, e)
		return err
	})
	return entries, err
}

func copyLink(from, to string, h hash.Hash) error {
	text, err := os.Readlink(from)
	if err != nil {
		return err
	}
	_, _ = io.WriteString(h, text) // a hash takes everything
	return os.Symlink(text, to)
}

func copyFile(from, to string, h hash.Hash) (kind rune, size int64, err error) {
	// What is no regular file any more is neither followed nor waited for.
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, 0, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return 0, 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, 0, fmt.Errorf("%s is no file", from)
	}
	kind, mode := 'f', fs.FileMode(0o600)
	if info.Mode()&0o111 != 0 {
		kind, mode = artifact.Executable, 0o700
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return 0, 0, err
	}
	size, err = io.Copy(io.MultiWriter(out, h), in)
	return kind, size, errors.Join(err, out.Close())
}
