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

// Send writes contents: the length of their listing, as 8 bytes, the listing, and in that order,
// for each file and link, whether its content follows, as one byte, and the content. has, which may
// be nil, says what the receiver has. It reads everything once; the receiver compares it with the
// digest.
func Send(ctx context.Context, w io.Writer, c artifact.Contents, has func(artifact.Entry) bool) error {
	listing := artifact.Listing(c.Entries)
	if err := binary.Write(w, binary.BigEndian, uint64(len(listing))); err != nil {
		return err
	}
	if _, err := w.Write(listing); err != nil {
		return err
	}
	for _, e := range c.Entries {
		if e.Kind == artifact.Folder {
			continue
		}
		if has != nil && has(e) {
			if _, err := w.Write([]byte{hasIt}); err != nil {
				return err
			}
			continue
		}
		if _, err := w.Write([]byte{follows}); err != nil {
			return err
		}
		if err := sendEntry(ctx, w, c, e); err != nil {
			return err
		}
	}
	return nil
}

// Whether the content of an entry follows.
const (
	follows = 1
	hasIt   = 0
)

func sendEntry(ctx context.Context, w io.Writer, c artifact.Contents, e artifact.Entry) error {
	r, err := c.Open(e)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(w, files.Reader(ctx, r))
	if err == nil && n != e.Size {
		err = fmt.Errorf("%s: %w", e.Path, artifact.ErrChanged)
	}
	return err
}

// SendFile writes the content of a file.
func SendFile(ctx context.Context, w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, files.Reader(ctx, f))
	return err
}

// Receive writes what [Send] sends to a path that does not exist yet, in a folder that does.
// It does not trust what it reads: everything stays below the path. reuse makes a file
// at a path whose content is not sent; it is nil if all is sent. The caller has to compare the digest
// of the whole.
func Receive(r io.Reader, to string, reuse func(e artifact.Entry, at string) error) ([]artifact.Entry, error) {
	entries, err := receiveListing(r)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return nil, err
	}
	links := map[string]string{} // targets by path, written last so that nothing goes through one
	for _, e := range entries {
		at := filepath.Join(to, filepath.FromSlash(e.Path))
		if e.Kind == artifact.Folder {
			if err := os.Mkdir(at, 0o755); err != nil {
				return nil, err
			}
			continue
		}
		var sent [1]byte
		if _, err = io.ReadFull(r, sent[:]); err == nil {
			switch {
			case sent[0] == hasIt && (reuse == nil || e.Kind == artifact.Link):
				err = errNotHere
			case sent[0] == hasIt:
				err = reuse(e, at)
			case e.Kind == artifact.Link:
				links[at], err = receiveLink(r, e)
			default:
				err = receiveFile(r, at, modeOf(e), e.Size)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: %w: %w", e.Path, errNotHere, err)
		}
		if err != nil {
			return nil, err
		}
	}
	for at, target := range links {
		if err := os.Symlink(target, at); err != nil {
			return nil, err
		}
	}
	for at := range links {
		if err := artifact.CheckLink(to, at); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func receiveListing(r io.Reader) ([]artifact.Entry, error) {
	var length uint64
	if err := binary.Read(r, binary.BigEndian, &length); err != nil {
		return nil, fmt.Errorf("read the listing of a folder: %w", err)
	}
	if length > maxListing {
		return nil, fmt.Errorf("the listing of a folder has %d bytes, more than %d", length, maxListing)
	}
	listing := make([]byte, length)
	if _, err := io.ReadFull(r, listing); err != nil {
		return nil, fmt.Errorf("read the listing of a folder: %w", err)
	}
	return artifact.ParseListing(listing)
}

// errNotHere says that the sender counts on a file that the receiver does not have.
var errNotHere = errors.New("a file that was not sent is not here any more")

// modeOf returns the rights of a file.
func modeOf(e artifact.Entry) fs.FileMode {
	if e.Kind == artifact.Executable {
		return 0o755
	}
	return 0o644
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

// ReceiveFile writes what [SendFile] sends to a path that does not exist yet.
func ReceiveFile(r io.Reader, to string) error { return receiveFile(r, to, 0o644, -1) }

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
