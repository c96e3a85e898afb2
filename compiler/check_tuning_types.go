package compiler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/format"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
)

// checkSearchedTypes checks the ends of each range of a study, and each choice, against the type that the definition of
// the trainer gives to the parameter. CUE itself does not, since a searched value replaces what the model declares.
func (c *checker) checkSearchedTypes() {
	for _, id := range slices.Sorted(maps.Keys(c.entities)) {
		e := c.entities[id]
		if c.broken[id] || !e.value.Exists() || e.component == nil || e.study() == nil {
			continue // one that was restored was checked before
		}
		s := e.study()
		space := e.value.LookupPath(cue.ParsePath(s.Part + ".space"))
		it, err := space.Fields()
		if err != nil {
			continue // reported elsewhere
		}
		var definitions []cue.Value
		for it.Next() {
			if definitions == nil {
				definitions = e.component.definitions()
			}
			c.checkSearchedType(e, s, it.Selector().Unquoted(), it.Value(), definitions)
		}
	}
}

func (c *checker) checkSearchedType(e *entity, s *stage, path string, p cue.Value, definitions []cue.Value) {
	var types []parameterType
	for _, d := range definitions {
		if t, ok := typeOf(d, strings.Split(path, ".")); ok {
			types = append(types, t)
		}
	}
	if len(types) == 0 {
		return
	}
	for _, x := range searched(p) {
		if slices.ContainsFunc(types, func(t parameterType) bool { return t.takes(x) }) {
			continue
		}
		hint := ""
		if kind := types[0].value.IncompleteKind(); kind&cue.NumberKind == cue.IntKind && x.Kind() == cue.FloatKind {
			hint = "use tune.#Int"
		}
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("a %s does not take what the study of %s searches for %s", e.component.name, e, path),
			Spans:   []diag.Span{c.sys.At("", e.path(s.Part, "space", path)...)}, Wanted: types[0].text(), Found: oneLine(x), Hint: hint,
		})
		return
	}
}

// oneLine returns how a value is written in one line.
func oneLine(x cue.Value) string {
	if b, err := x.MarshalJSON(); err == nil && x.Kind()&(cue.StructKind|cue.ListKind) != 0 {
		return string(b)
	}
	return fmt.Sprint(x)
}

// definitions returns the definitions of entities of the component, in its package.
func (k *component) definitions() (all []cue.Value) {
	it, err := k.pkg.Value.Fields(cue.Definitions(true))
	if err != nil {
		return nil
	}
	for it.Next() {
		if name, err := it.Value().LookupPath(cue.ParsePath("component")).String(); err == nil && name == k.name {
			all = append(all, it.Value())
		}
	}
	return all
}

// A parameterType is the type of a field in a definition.
type parameterType struct {
	value    cue.Value
	optional bool
}

// typeOf returns the type of the field at a path, if the definition says it.
func typeOf(d cue.Value, path []string) (t parameterType, ok bool) {
	t.value = d
	for _, name := range path {
		if t.value.IncompleteKind() != cue.StructKind {
			return t, false
		}
		field := cue.Str(name)
		next := t.value.LookupPath(cue.MakePath(field))
		if t.optional = !next.Exists(); t.optional {
			next = t.value.LookupPath(cue.MakePath(field.Optional()))
		}
		if !next.Exists() {
			return t, false
		}
		t.value = next
	}
	return t, true
}

// takes reports whether a value is of the type. Null stands for an optional field that is left out.
func (t parameterType) takes(x cue.Value) bool {
	return t.optional && x.Kind() == cue.NullKind || t.value.Unify(x).Validate() == nil
}

// withDefault matches a type with a default, as the library writes it: *(*x | T) | x.
var withDefault = lazyregexp.New(`^\*\(\*.*? \| (.*)\) \| [^|]*$`)

// text returns how the type is written, without its default.
func (t parameterType) text() string {
	f, ok := t.value.Source().(*ast.Field)
	if !ok {
		return ""
	}
	b, err := format.Node(f.Value)
	if err != nil {
		return ""
	}
	text := strings.Join(strings.Fields(string(b)), " ")
	if m := withDefault.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return text
}

// searched returns the values of a parameter that a study certainly may try: its choices, or the ends of its range. Those of
// a tune.#Float are floating-point numbers, however they are written.
func searched(p cue.Value) (all []cue.Value) {
	if it, err := at(p, "choices").List(); err == nil {
		for it.Next() {
			all = append(all, it.Value())
		}
		return all
	}
	for _, end := range []cue.Value{at(p, "low"), at(p, "high")} {
		if end.Kind() == cue.IntKind && stringAt(p, "type") == "float" {
			end = cuecontext.New().CompileString(fmt.Sprintf("%v.0", end))
		}
		if end.Exists() {
			all = append(all, end)
		}
	}
	return all
}
