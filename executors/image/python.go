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

var interpreter = lazyregexp.New(`^usr/(?:local/)?bin/python3\.[0-9]+$`)

// python returns the path of the interpreter with that version in a base. It reads all
// layers once.
func (s *Store) python(ctx context.Context, name string, base *stored, version string) (string, error) {
	h, err := base.Digest()
	if err != nil {
		return "", err
	}
	k := key("interpreters", h.String())
	var all []string
	if !s.found(k, &all) {
		if all, err = scan(base); err != nil {
			return "", err
		}
		if err := s.keep(k, all); err != nil {
			return "", err
		}
	}
	var looked []string
	for _, dir := range interpreters {
		file := path.Join(dir, "python"+version)
		if slices.Contains(all, file) {
			return "/" + file, nil
		}
		looked = append(looked, "/"+file)
	}
	has := "no other version either"
	if len(all) > 0 {
		has = "/" + strings.Join(all, ", /")
	}
	return "", fmt.Errorf("no Python %s in %s: looked for %s, found %s; use a base that has it, such as %s", version, name, strings.Join(looked, " and "), has, DefaultBase)
}

// scan lists the interpreters in an image.
func scan(base *stored) ([]string, error) {
	layers, err := base.Layers()
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
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
	return slices.Sorted(maps.Keys(found)), nil
}

func scanLayer(r io.Reader, found map[string]bool) error {
	added := map[string]bool{}
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
		switch {
		case marks: // a whiteout: it removes a path of a lower layer, or the contents of a folder
			maps.DeleteFunc(found, func(f string, _ bool) bool {
				return f == dir+gone || strings.HasPrefix(f, dir+gone+"/") || gone == ".wh..opq" && strings.HasPrefix(f, dir)
			})
		case interpreter.MatchString(name) && h.Typeflag != tar.TypeDir:
			added[name] = true
		}
	}
}
