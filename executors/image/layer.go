package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/zstd"
)

// A layer is the result of building what a key names.
type layer struct {
	Digest v1.Hash `json:"digest"`
	DiffID v1.Hash `json:"diff_id"` // digest of the tar
	Size   int64   `json:"size"`
}

// layer returns the layer of a key, and whether it was built just now. write builds it:
// it receives a path for temporary files, where nothing exists yet and which is removed
// afterwards, and writes the tar.
func (s *Store) layer(ctx context.Context, key, doing string, write func(work string, t tarWriter) error) (layer, bool, error) {
	return s.blobLayer(ctx, key, doing, func(work string, w io.Writer) error {
		t := tarWriter{tar.NewWriter(w)}
		if err := write(work, t); err != nil {
			return err
		}
		return t.Close()
	})
}

// blobLayer is like layer, for callers that already have a tar.
func (s *Store) blobLayer(ctx context.Context, key, doing string, write func(work string, w io.Writer) error) (l layer, made bool, err error) {
	if s.found(key, &l) && s.has(l.Digest, l.Size) {
		return l, false, nil
	}
	work, release, err := s.work(ctx, key)
	if err != nil {
		return layer{}, false, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if s.found(key, &l) && s.has(l.Digest, l.Size) {
		return l, false, nil
	}
	if doing != "" {
		s.say(ctx, "%s", doing)
	}
	l, err = s.compress(work+".tar", func(w io.Writer) error { return write(work, w) })
	if err != nil {
		return layer{}, false, err
	}
	return l, true, s.save(key, l)
}

// compress writes a tar as a compressed blob.
func (s *Store) compress(name string, write func(w io.Writer) error) (layer, error) {
	f, err := os.Create(name)
	if err != nil {
		return layer{}, err
	}
	defer os.Remove(name)
	defer f.Close()
	sum := newSum(f)
	// A single encoder, so that the bytes do not depend on the machine.
	z, err := zstd.NewWriter(sum, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return layer{}, err
	}
	plain := newSum(z)
	if err := write(plain); err != nil {
		return layer{}, err
	}
	if err := z.Close(); err != nil {
		return layer{}, err
	}
	l := layer{Digest: sum.hash(), DiffID: plain.hash(), Size: sum.n}
	return l, s.adopt(f, l.Digest)
}

// normalMode normalises the mode of a file to whether it is executable.
func normalMode(m fs.FileMode) fs.FileMode {
	if m&0o100 != 0 {
		return 0o755
	}
	return 0o644
}

// A tarWriter writes the tar of a layer. The tar does not depend on who wrote it or
// when.
type tarWriter struct{ *tar.Writer }

func (t tarWriter) header(name string, kind byte, mode fs.FileMode) *tar.Header {
	return &tar.Header{Typeflag: kind, Name: strings.TrimPrefix(name, "/"), Mode: int64(mode.Perm()), ModTime: epoch, Format: tar.FormatPAX}
}

func (t tarWriter) folder(name string) error {
	return t.WriteHeader(t.header(name+"/", tar.TypeDir, 0o755))
}

func (t tarWriter) file(name string, mode fs.FileMode, f fs.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := t.header(name, tar.TypeReg, mode)
	h.Size = info.Size()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(t, f)
	if errors.Is(err, tar.ErrWriteTooLong) || err == nil && n != h.Size {
		return fmt.Errorf("%s changed while it was being read", info.Name())
	}
	return err
}

// tree writes all files, sorted, below a path.
func (t tarWriter) tree(at string, files fs.FS, mode func(fs.FileMode) fs.FileMode) error {
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		to := path.Join(at, name)
		switch {
		case d.IsDir():
			return t.folder(to)
		case info.Mode()&fs.ModeSymlink != 0:
			h := t.header(to, tar.TypeSymlink, 0o777)
			if h.Linkname, err = fs.ReadLink(files, name); err != nil {
				return err
			}
			return t.WriteHeader(h)
		}
		f, err := files.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return t.file(to, mode(info.Mode()), f)
	})
}
