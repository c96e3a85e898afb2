package compiler

import (
	"slices"
	"strconv"

	"cuelang.org/go/cue"

	"github.com/tenon-ml/tenon/lang"
)

// nested calls f for each input that is deeper in the fields of an entity, and puts what it returns
// in its place.
func (e *entity) nested(tree any, f func(path []string, v any) any, path ...string) any {
	if n := lang.NestedPort(e.section, path); n > 0 && n == len(path) {
		return f(path, tree)
	}
	below := func(name string) []string { return append(slices.Clone(path), name) }
	switch v := tree.(type) {
	case object:
		for i := range v {
			v[i].value = e.nested(v[i].value, f, below(v[i].name)...)
		}
	case []any:
		for i := range v {
			v[i] = e.nested(v[i], f, below(strconv.Itoa(i))...)
		}
	}
	return tree
}

// item returns a field of a struct, or an item of a list.
func item(v cue.Value, name string) cue.Value {
	if n, err := strconv.Atoi(name); err == nil && v.Kind() == cue.ListKind {
		return v.LookupPath(cue.MakePath(cue.Index(n)))
	}
	return at(v, name)
}
