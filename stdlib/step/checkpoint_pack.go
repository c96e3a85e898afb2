package step

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/tenon-ml/tenon/internal/files"
)

// Pack writes a checkpoint as one file. It returns an [UnusableError] if the checkpoint is damaged, or is removed
// meanwhile.
func (c *Checkpoints) Pack(number int64, to io.Writer) error {
	found, parts, err := c.check(number)
	if err != nil {
		return &UnusableError{number, err}
	}
	w := tar.NewWriter(to)
	for _, name := range append(slices.Sorted(maps.Keys(parts)), CheckpointFile) {
		err := packFile(w, filepath.Join(found.Path, filepath.FromSlash(name)), name)
		if errors.Is(err, fs.ErrNotExist) {
			return &UnusableError{number, errors.New("was removed")}
		}
		if err != nil {
			return fmt.Errorf("pack checkpoint %d: %w", number, err)
		}
	}
	return w.Close()
}

func packFile(w *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: info.Size(), Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// Unpack reads what [Checkpoints.Pack] has written, and makes it a checkpoint. Whether it is whole is for
// [Checkpoints.Check] to say.
func (c *Checkpoints) Unpack(number int64, from io.Reader) (err error) {
	tmp, err := os.MkdirTemp(c.Path, files.HalfWritten)
	if err != nil {
		return err
	}
	defer files.RemoveAll(tmp) //nolint:errcheck // its name is not that of a checkpoint
	if err := unpackInto(tmp, from); err != nil {
		return fmt.Errorf("unpack checkpoint %d: %w", number, err)
	}
	if err := c.Discard(number); err != nil {
		return err
	}
	return os.Rename(tmp, c.At(number))
}

func unpackInto(dir string, from io.Reader) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.FromSlash(h.Name)
		if h.Typeflag != tar.TypeReg || !filepath.IsLocal(name) {
			return fmt.Errorf("%q is not a file of a checkpoint: %w", h.Name, fs.ErrInvalid)
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		if _, err := io.Copy(f, r); err != nil {
			return errors.Join(err, f.Close())
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
}
