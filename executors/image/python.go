package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// interpreters are the folders of a base that may contain Python: the first in Docker's
// own images and in builds from source, the second in distributions.
var interpreters = []string{"usr/local/bin", "usr/bin"}

var (
	interpreter = lazyregexp.New(`^usr/(?:local/)?bin/python3\.[0-9]+$`)
	header      = lazyregexp.New(`^(usr/(?:local/)?)include/(python3\.[0-9]+)/patchlevel\.h$`)
	inHeader    = lazyregexp.New(`(?m)^#define PY_VERSION\s+"([^"\n]+)"`)
	inProgram   = lazyregexp.New(`\x00(3\.[0-9]+\.[0-9]+(?:(?:a|b|rc)[0-9]+)?)`)
)

// python returns the path of the interpreter with that version in a base, and its exact
// version, or "" if neither the program nor its headers say it. It reads all layers once.
func (s *Store) python(ctx context.Context, name string, base *stored, version string) (file, exact string, err error) {
	h, err := base.Digest()
	if err != nil {
		return "", "", err
	}
	k := key("exact versions of python", h.String())
	var all map[string]string
	if !s.found(k, &all) {
		if all, err = scan(base); err != nil {
			return "", "", err
		}
		if err := s.save(k, all); err != nil {
			return "", "", err
		}
	}
	var looked []string
	for _, dir := range interpreters {
		file := path.Join(dir, "python"+version)
		if exact, ok := all[file]; ok {
			return "/" + file, exact, nil
		}
		looked = append(looked, "/"+file)
	}
	has := "no other version either"
	if len(all) > 0 {
		has = "/" + strings.Join(slices.Sorted(maps.Keys(all)), ", /")
	}
	return "", "", fmt.Errorf("no Python %s in %s: looked for %s, found %s; use a base that has it, such as %s", version, name, strings.Join(looked, " and "), has, DefaultBase)
}

// Python returns the exact version of the interpreter with that version in a pinned base,
// or "" if the image does not say it.
func (s *Store) Python(ctx context.Context, pinned, version string) (string, error) {
	base, err := s.open(ctx, pinned)
	if err != nil {
		return "", err
	}
	_, exact, err := s.python(ctx, pinned, base, version)
	return exact, err
}

// scan returns the interpreters in an image, each with its exact version as far as that is
// known.
func scan(base *stored) (map[string]string, error) {
	layers, err := base.Layers()
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			return nil, err
		}
		err = scanLayer(r, found)
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
	}
	for file := range found {
		m := header.FindStringSubmatch(file)
		if m == nil {
			continue
		}
		if program := m[1] + "bin/" + m[2]; found[program] == "" {
			if _, there := found[program]; there {
				found[program] = found[file]
			}
		}
	}
	maps.DeleteFunc(found, func(file, _ string) bool { return !interpreter.MatchString(file) })
	return found, nil
}

// largest bounds what is read of a file to find a version in it.
const largest = 64 << 20

// scanLayer adds the interpreters and headers of a layer, by path, with the versions in
// them.
func scanLayer(r io.Reader, found map[string]string) error {
	added := map[string]string{}
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			maps.Copy(found, added)
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		dir, file := path.Split(name)
		gone, marks := strings.CutPrefix(file, ".wh.")
		text := inProgram
		switch {
		case marks: // a whiteout: it removes a path of a lower layer, or the contents of a folder
			maps.DeleteFunc(found, func(f, _ string) bool {
				return f == dir+gone || strings.HasPrefix(f, dir+gone+"/") || gone == ".wh..opq" && strings.HasPrefix(f, dir)
			})
			continue
		case h.Typeflag == tar.TypeDir:
			continue
		case header.MatchString(name):
			text = inHeader
		case !interpreter.MatchString(name):
			continue
		}
		content, err := io.ReadAll(io.LimitReader(t, largest))
		if err != nil {
			return err
		}
		_, version, _ := strings.Cut(strings.TrimSuffix(name, "/patchlevel.h"), "python")
		added[name] = oneOf(text.FindAllSubmatch(content, -1), version)
	}
}

// oneOf returns the only exact version of that version among matches, or "". A program has
// other texts that look like one: its Unicode data is also that of 3.2.0.
func oneOf(matches [][][]byte, version string) string {
	exact := ""
	for _, m := range matches {
		switch v := string(m[1]); {
		case !strings.HasPrefix(v, version+"."):
		case exact != "" && exact != v:
			return ""
		default:
			exact = v
		}
	}
	return exact
}
