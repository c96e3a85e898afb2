package planner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Files finds the data files that match each pattern: a path, or a glob with *, ?, [a-z]
// in a name and ** for any folders. Patterns are slash-separated and relative to dir, or
// absolute. Paths are returned in the same form, sorted. A path without a glob may be a
// folder. Only a pattern with an explicit dot matches a name that begins with one.
//
// A pattern without a match is an error, and so is a link to nothing. All errors are returned together.
func Files(dir string, patterns []string) (map[string][]string, error) {
	out := make(map[string][]string, len(patterns))
	var errs []error
	for _, p := range patterns {
		found, err := find(dir, p)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("no file matches %s%s", p, suggestion(dir, p))
		}
		if err != nil {
			errs = append(errs, err)
		}
		out[p] = found
	}
	return out, errors.Join(errs...)
}

func find(dir, pattern string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
		return nil, fmt.Errorf("%q is not a pattern for files: %w", pattern, path.ErrBadPattern)
	}
	clean := path.Clean(pattern)
	if !hasGlob(pattern) {
		if _, err := os.Stat(onDisk(dir, clean)); err != nil {
			return nil, deadLink(dir, clean, err)
		}
		return []string{clean}, nil
	}
	// The search begins at the part before the first glob.
	var base, rest []string
	for part := range strings.SplitSeq(clean, "/") {
		if len(rest) > 0 || hasGlob(part) {
			rest = append(rest, part)
		} else {
			base = append(base, part)
		}
	}
	w := matcher{dir: dir, found: map[string]bool{}}
	from := strings.Join(base, "/")
	if from == "" && len(base) > 0 {
		from = "/" // an absolute pattern begins with an empty part
	}
	if err := w.match(from, rest); err != nil {
		return nil, fmt.Errorf("files %s: %w", pattern, err)
	}
	out := make([]string, 0, len(w.found))
	for p := range w.found {
		out = append(out, p)
	}
	slices.Sort(out)
	return out, nil
}

type matcher struct {
	dir   string
	found map[string]bool
}

// match adds the files below from that match the parts of a pattern.
func (w *matcher) match(from string, parts []string) error {
	part := parts[0]
	if part == "**" && len(parts) > 1 {
		if err := w.match(from, parts[1:]); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(onDisk(w.dir, from))
	if err != nil {
		return missing(err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") && !strings.HasPrefix(part, ".") {
			continue
		}
		full := path.Join(from, name)
		isDir := e.IsDir()
		if e.Type()&fs.ModeSymlink != 0 {
			info, err := os.Stat(onDisk(w.dir, full))
			if err != nil {
				// Data that is not here, such as an annexed file. Without it, the rest would
				// be taken for all.
				if matched, _ := path.Match(part, name); matched && len(parts) == 1 {
					return deadLink(w.dir, full, err)
				}
				continue
			}
			// ** does not follow links: they may form a cycle.
			isDir = info.IsDir()
			if isDir && part == "**" {
				continue
			}
		}
		ok := false
		if part != "**" {
			ok, _ = path.Match(part, name) // [find] has checked the pattern
		}
		switch {
		case part == "**" && isDir:
			err = w.match(full, parts)
		case part == "**" && len(parts) == 1:
			w.found[full] = true
		case ok && isDir && len(parts) > 1:
			err = w.match(full, parts[1:])
		case ok && !isDir && len(parts) == 1:
			w.found[full] = true
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func hasGlob(s string) bool { return strings.ContainsAny(s, `*?[\`) }

// onDisk returns where a path of [Files] is on disk.
func onDisk(dir, p string) string {
	native := filepath.FromSlash(p)
	if filepath.IsAbs(native) {
		return native
	}
	return filepath.Join(dir, native)
}

// missing turns a "does not exist" error into nil.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// deadLink names a link whose target cannot be found; a file that does not exist is no error.
func deadLink(dir, p string, err error) error {
	if to, linkErr := os.Readlink(onDisk(dir, p)); linkErr == nil {
		return fmt.Errorf("%s is a link to %s: %w", p, to, errors.Unwrap(err))
	}
	return missing(err)
}

// literally spells a path as a pattern that matches nothing else.
var literally = strings.NewReplacer(`[`, `[[]`, `*`, `[*]`, `?`, `[?]`, `\`, `\\`)

// suggestion suggests what else to write for a pattern that matches nothing.
func suggestion(dir, pattern string) string {
	if _, err := os.Stat(onDisk(dir, path.Clean(pattern))); err == nil {
		return fmt.Sprintf(" as a pattern; for the file of this very name, write %s", literally.Replace(pattern))
	}
	return similar(dir, pattern)
}

// similar suggests an existing file whose name resembles the missing one.
func similar(dir, pattern string) string {
	at, name := path.Split(path.Clean(pattern))
	if hasGlob(at) {
		return ""
	}
	entries, err := os.ReadDir(onDisk(dir, at))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, at+e.Name())
	}
	return didYouMean(at+name, names)
}

// didYouMean suggests the name closest to the wanted one, if any is close.
func didYouMean(wanted string, names []string) string {
	best, nearest := max(2, len(wanted)/4)+1, ""
	for _, n := range names {
		if d := distance(wanted, n); d < best {
			best, nearest = d, n
		}
	}
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s?", nearest)
}

// distance returns the edit distance of a and b: letters to insert, remove or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d++
			}
			diagonal = row[j+1]
			row[j+1] = min(d, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
