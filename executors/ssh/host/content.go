package host

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// maxListing bounds the list of what is in a folder, in bytes.
const maxListing = 256 << 20

// Send writes the content of the file or folder at path: of a file its bytes; of a folder
// the length of its listing, as 8 bytes, the listing, and the content of its files and links
// in that order. It reads once what it sends; who receives it compares it with the digest.
func Send(ctx context.Context, w io.Writer, path string, folder bool) error {
	if !folder {
		return sendFile(ctx, w, path, -1)
	}
	_, entries, err := artifact.Look(ctx, path)
	if err != nil {
		return err
	}
	listing := artifact.Listing(entries)
	if err := binary.Write(w, binary.BigEndian, uint64(len(listing))); err != nil {
		return err
	}
	if _, err := w.Write(listing); err != nil {
		return err
	}
	for _, e := range entries {
		at := filepath.Join(path, filepath.FromSlash(e.Path))
		switch e.Kind {
		case artifact.Folder:
		case artifact.Link:
			target, err := os.Readlink(at)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(w, target); err != nil {
				return err
			}
		default:
			if err := sendFile(ctx, w, at, e.Size); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendFile writes a file of a size, or of any size if that is -1.
func sendFile(ctx context.Context, w io.Writer, path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(w, files.Reader(ctx, f))
	if err == nil && size >= 0 && n != size {
		err = fmt.Errorf("%s: %w", path, artifact.ErrChanged)
	}
	return err
}

// Receive writes what [Send] sends to a path that does not exist yet, in a folder that does.
// It does not trust what it reads: everything stays below the path. The caller has to compare
// the digest of the whole.
func Receive(r io.Reader, to string, folder bool) error {
	if !folder {
		return receiveFile(r, to, 0o644, -1)
	}
	var length uint64
	if err := binary.Read(r, binary.BigEndian, &length); err != nil {
		return fmt.Errorf("read the listing of a folder: %w", err)
	}
	if length > maxListing {
		return fmt.Errorf("the listing of a folder has %d bytes, more than %d", length, maxListing)
	}
	listing := make([]byte, length)
	if _, err := io.ReadFull(r, listing); err != nil {
		return fmt.Errorf("read the listing of a folder: %w", err)
	}
	entries, err := artifact.ParseListing(listing)
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	links := map[string]string{} // targets by path, written last so that nothing goes through one
	for _, e := range entries {
		at := filepath.Join(to, filepath.FromSlash(e.Path))
		switch e.Kind {
		case artifact.Folder:
			err = os.Mkdir(at, 0o755)
		case artifact.Link:
			links[at], err = receiveLink(r, e)
		case artifact.Executable:
			err = receiveFile(r, at, 0o755, e.Size)
		default:
			err = receiveFile(r, at, 0o644, e.Size)
		}
		if err != nil {
			return err
		}
	}
	for at, target := range links {
		if err := os.Symlink(target, at); err != nil {
			return err
		}
	}
	for at := range links {
		if err := artifact.CheckLink(to, at); err != nil {
			return err
		}
	}
	return nil
}

// maxLink is the longest target of a link that Linux has, in bytes.
const maxLink = 4096

func receiveLink(r io.Reader, e artifact.Entry) (target string, err error) {
	if e.Size < 0 || e.Size > maxLink {
		return "", fmt.Errorf("the target of the link %s has %d bytes", e.Path, e.Size)
	}
	b := make([]byte, e.Size)
	_, err = io.ReadFull(r, b)
	return string(b), err
}

func receiveFile(r io.Reader, to string, mode fs.FileMode, size int64) error {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if size < 0 {
		_, err = io.Copy(f, r)
	} else if _, err = io.CopyN(f, r, size); errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, f.Close())
}
