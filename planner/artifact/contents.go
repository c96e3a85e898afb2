package artifact

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Contents are a folder that may not exist as such: what it would contain, and how to read that.
type Contents struct {
	Entries []Entry // in the order of [Listing]
	// Open reads a file, or the text of a link.
	Open func(Entry) (io.ReadCloser, error)
}

// Digest is the digest that the folder would have.
func (c Contents) Digest() string { return DigestOf(Listing(c.Entries)) }

// ContentsOf returns the contents of a folder that exists.
func ContentsOf(ctx context.Context, dir string) (Contents, error) {
	ref, entries, err := Look(ctx, dir)
	if err == nil && !ref.Dir {
		err = fmt.Errorf("%s is not a folder", dir)
	}
	return Contents{Entries: entries, Open: func(e Entry) (io.ReadCloser, error) {
		at := filepath.Join(dir, filepath.FromSlash(e.Path))
		if e.Kind == Link {
			target, err := os.Readlink(at)
			return io.NopCloser(strings.NewReader(target)), err
		}
		return os.Open(at)
	}}, err
}
