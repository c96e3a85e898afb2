package project

import (
	"archive/zip"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Limits of AWS Lambda, in bytes.
const (
	mostUnzipped = 250 << 20
	mostUploaded = 50 << 20 // more has to come from S3
)

// zipped writes a bundle as the archive of a function. Its bytes depend only on the files.
func zipped(dir, to string, e *ExportedService) (err error) {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := zip.NewWriter(out)
	w.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	total := int64(0)
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += info.Size()
		// The date is the first that an archive can have.
		h := &zip.FileHeader{Name: filepath.ToSlash(rel), Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		h.SetMode(0o644)
		if info.Mode()&0o100 != 0 {
			h.SetMode(0o755)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		in, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, in)
		return errors.Join(err, in.Close())
	})
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	if total > mostUnzipped {
		return fmt.Errorf("the function has %d bytes; AWS Lambda takes at most %d: take --format image", total, mostUnzipped)
	}
	info, err := out.Stat()
	if err == nil && info.Size() > mostUploaded {
		e.Notes = append(e.Notes, "AWS Lambda takes an archive of this size from S3 only")
	}
	return err
}
