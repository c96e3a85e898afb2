// Package classes knows what the classes of some Python packages are and which
// parameters they take. It reads the indexes that programs in stdlib/lib/packages write
// from the packages themselves, and runs no Python. It does not know who uses a class,
// and decides nothing where the index is silent.
package classes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/stdlib"
)

// An Index has the classes of one package, in one version.
type Index struct {
	root string   // the module: "sklearn"
	pins []string // as locks write them: "scikit-learn==1.9.1"; any of them
	text []byte   // "\n", then a line per path, sorted
}

// A Class is what an index says about a class, or about a function that takes parameters.
type Class struct {
	Path    string           `json:"-"`
	Is      string           `json:"is"`      // "classifier", "regressor", ..., or "" if that depends
	Does    []string         `json:"does"`    // those of its methods that matter
	Column  bool             `json:"column"`  // it takes one column of text, and no table
	Numbers bool             `json:"numbers"` // it refuses text, whatever its parameters are
	Present bool             `json:"present"` // it refuses missing values, whatever its parameters are
	Members string           `json:"members"` // the parameter whose estimators have to be of its kind
	Open    bool             `json:"open"`    // it takes parameters that are not listed
	Params  map[string]Param `json:"params"`
}

// Name returns the last part of the path.
func (c *Class) Name() string { return c.Path[strings.LastIndex(c.Path, ".")+1:] }

// Can reports whether the class has a method.
func (c *Class) Can(method string) bool { return slices.Contains(c.Does, method) }

// Of returns the library's index of the package that an import path leads into, or nil.
func Of(path string) *Index {
	root, _, _ := strings.Cut(path, ".")
	b, err := fs.ReadFile(stdlib.Files(), "lib/packages/"+root+".txt")
	if err != nil {
		return nil
	}
	return Parse(root, b)
}

// Parse returns the index of a module that a text is.
func Parse(root string, text []byte) *Index {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	return &Index{root: root, pins: strings.Fields(string(first)), text: text[len(first):]}
}

// String returns the name and the version of the package.
func (x *Index) String() string { return strings.Replace(x.pins[0], "==", " ", 1) }

// Pin returns the requirement of the package.
func (x *Index) Pin() string { return x.pins[0] }

// Locked reports whether a lock has the package in the version of the index, and whether
// it has the package at all.
func (x *Index) Locked(lock []byte) (version, any bool) {
	for line := range bytes.Lines(lock) {
		for _, pin := range x.pins {
			name, _, _ := strings.Cut(pin, "==")
			rest, ok := bytes.CutPrefix(line, []byte(name))
			if !ok || len(rest) == 0 || !bytes.ContainsAny(rest[:1], "= @[\n") {
				continue
			}
			any = true
			if rest, ok = bytes.CutPrefix(line, []byte(pin)); ok && (len(rest) == 0 || bytes.ContainsAny(rest[:1], " ;\\\n")) {
				version = true
			}
		}
	}
	return version, any
}

// Find returns the class at an import path. It is nil with ok if the index does not say
// what there is, and nil without ok if there is certainly no class.
func (x *Index) Find(path string) (c *Class, ok bool, err error) {
	entry, found := x.line(path)
	if !found {
		return nil, x.silent(path), nil
	}
	if to, alias := strings.CutPrefix(entry, "="); alias {
		path = to
		entry, _ = x.line(to)
	}
	if entry == "?" {
		return nil, true, nil
	}
	c = &Class{Path: path}
	if err := json.Unmarshal([]byte(entry), c); err != nil {
		return nil, false, fmt.Errorf("index of %s: %s: %w", x.root, path, err)
	}
	return c, true, nil
}

// line returns what follows a path in its line.
func (x *Index) line(path string) (string, bool) {
	start := "\n" + path + " "
	i := bytes.Index(x.text, []byte(start))
	if i < 0 {
		return "", false
	}
	rest, _, _ := bytes.Cut(x.text[i+len(start):], []byte("\n"))
	return string(rest), true
}

// silent reports whether a path may exist although the index does not have it: private
// modules are not in it, some others cannot be imported everywhere, and some make names
// when they are asked for.
func (x *Index) silent(path string) bool {
	parts := strings.Split(path, ".")
	if _, found := x.line(strings.Join(parts[:len(parts)-1], ".") + ".+"); found {
		return true
	}
	for i, p := range parts {
		if strings.HasPrefix(p, "_") {
			return true
		}
		if _, found := x.line(strings.Join(parts[:i+1], ".") + ".*"); found {
			return true
		}
	}
	return false
}

// All returns the classes for which keep returns true, ordered by path.
func (x *Index) All(keep func(*Class) bool) (all []*Class) {
	for line := range strings.Lines(string(x.text)) {
		path, entry, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(entry, "{") {
			continue
		}
		c := &Class{Path: path}
		if json.Unmarshal([]byte(entry), c) == nil && keep(c) {
			all = append(all, c)
		}
	}
	return all
}
