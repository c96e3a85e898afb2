package artifact

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// The kinds of an [Entry].
const (
	Folder     = 'd'
	Plain      = 'f' // a file
	Executable = 'x' // an executable file
	Link       = 'l' // a symbolic link
)

// An Entry is something below a folder.
type Entry struct {
	Kind   rune
	Size   int64  // bytes of the file, or of the link's text
	Digest string // of the file, or of the link's text; "" for a folder
	Path   string // from the folder, with slashes
}

// Look returns the digest as [Digest] does, the size of all files and, for a folder, its
// entries.
func Look(ctx context.Context, path string) (Ref, []Entry, error) {
	t, err := scan(ctx, path)
	return Ref{Digest: t.digest, Dir: len(t.dirs) > 0, Size: t.size}, t.listing, err
}

// Listing returns the text from which a folder's digest is computed. It has a line for
// each entry below the folder, sorted by path, with a letter (d for a folder, f for a
// file, x for an executable file, l for a symbolic link), the size, the digest, and the
// path in quotes with slashes. The digest of a link is that of its target's text.
func Listing(entries []Entry) []byte {
	var b bytes.Buffer
	for _, e := range entries {
		digest := e.Digest
		if e.Kind == Folder {
			digest = "-"
		}
		fmt.Fprintf(&b, "%c %d %s %q\n", e.Kind, e.Size, digest, e.Path)
	}
	return b.Bytes()
}

// ParseListing parses the output of [Listing]. It does not trust its input: paths must
// stay within the folder, each must be in a folder that was listed before it, and none
// may repeat. It does not see the targets of links.
func ParseListing(text []byte) ([]Entry, error) {
	var entries []Entry
	kinds := map[string]rune{".": Folder}
	for line := range strings.Lines(string(text)) {
		e, err := parseEntry(line)
		if err != nil {
			return nil, fmt.Errorf("listing of a folder, line %d: %w", len(entries)+1, err)
		}
		if kinds[path.Dir(e.Path)] != Folder {
			return nil, fmt.Errorf("listing of a folder, line %d: %q is not in a folder listed before it", len(entries)+1, e.Path)
		}
		if kinds[e.Path] != 0 {
			return nil, fmt.Errorf("listing of a folder, line %d: %q is listed twice", len(entries)+1, e.Path)
		}
		kinds[e.Path] = e.Kind
		entries = append(entries, e)
	}
	return entries, nil
}

func parseEntry(line string) (Entry, error) {
	var e Entry
	fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
	if len(fields) != 4 || len(fields[0]) != 1 {
		return e, fmt.Errorf("want a kind, a size, a digest and a path, found %q", line)
	}
	e.Kind, e.Digest = rune(fields[0][0]), fields[2]
	var err error
	if e.Size, err = strconv.ParseInt(fields[1], 10, 64); err != nil || e.Size < 0 {
		return e, fmt.Errorf("%q is not a size", fields[1])
	}
	if e.Path, err = strconv.Unquote(fields[3]); err != nil {
		return e, fmt.Errorf("%s is not a quoted path", fields[3])
	}
	if !filepath.IsLocal(filepath.FromSlash(e.Path)) || path.Clean(e.Path) != e.Path || e.Path == "." || strings.Contains(e.Path, "\x00") {
		return e, fmt.Errorf("the path %q is outside the folder", e.Path)
	}
	switch e.Kind {
	case Folder:
		e.Digest = ""
	case Plain, Executable, Link:
		if _, ok := Hex(e.Digest); !ok {
			return e, fmt.Errorf("%q is not a digest", e.Digest)
		}
	default:
		return e, fmt.Errorf("unknown kind %q", e.Kind)
	}
	if string(Listing([]Entry{e})) != line {
		return e, fmt.Errorf("%q is not in canonical form", line)
	}
	return e, nil
}
