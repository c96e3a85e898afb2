package compiler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/cuecontext"

	"github.com/tenon-ml/tenon/internal/diag"
)

// A namedField is a field of a definition that a component names.
type namedField struct {
	path string   // "options.batch"
	in   []string // the place within what states the component: "unit", "params"
	// schema is the CUE type that the field has to have, or "" for any, and hint says how to declare it.
	schema, hint string
}

// What the compiler reads from a field itself has to have its type: a value of another one would count as absent.
const (
	seedSchema        = "int"
	checkpointsSchema = "{keep: int & >=1 & <=10, ...}"
)

// checkNamed refuses a component that names a field which its definition does not have:
// nothing could ever be there. The library's components are known to be sound.
func (c *decoder) checkNamed(e *entity) bool {
	ok := c.checkNamedOf(e, e.component, e.value, slices.Concat(e.component.named(), e.component.wired()))
	for i := range e.component.stages {
		s := &e.component.stages[i]
		w, err := c.work(e, s)
		if err != nil || w.of == nil {
			continue // reported elsewhere, or there is no component
		}
		fields, bound := e.value, w.run.bound()
		if part := s.Part + s.Of; part != "" {
			fields = e.value.LookupPath(cue.ParsePath(part))
		}
		if w.of != e.component {
			bound = append(bound, w.of.named()...)
		}
		ok = c.checkNamedOf(e, w.of, fields, bound) && ok
	}
	return ok
}

func (c *decoder) checkNamedOf(e *entity, k *component, fields cue.Value, named []namedField) bool {
	if k.pkg.Library() {
		return true
	}
	ok := true
	for _, f := range named {
		if mayHave(fields, f.path) {
			if f.schema != "" && !hasType(fields, f.path, f.schema) {
				ok = false
				c.componentFault(e, &componentError{of: k, field: f.in, message: fmt.Sprintf("refers to a field %s in %s, which has another type in its definition", f.path, strings.Join(f.in, ".")), hint: f.hint})
			}
			continue
		}
		ok = false
		fault := &componentError{
			of: k, field: f.in, message: fmt.Sprintf("refers to a field %s in %s, which its definition does not have", f.path, strings.Join(f.in, ".")),
		}
		if !strings.Contains(f.path, ".") {
			fault.hint = diag.DidYouMean(f.path, fieldNames(fields))
		}
		c.componentFault(e, fault)
	}
	return ok
}

// named returns the fields that the component itself names.
func (k *component) named() []namedField {
	all := inField(k.Declares, "declares")
	all = append(all, inField(slices.Sorted(maps.Keys(k.Columns)), "columns")...)
	all = append(all, inField(k.Times, "times")...)
	all = append(all, inField(k.ImportPaths, "import_paths")...)
	all = append(all, inField([]string{k.SQL}, "sql")...)
	if k.Unavailable != nil {
		all = append(all, inField([]string{k.Unavailable.Field}, "unavailable", "field")...)
	}
	if s := k.Serves; s != nil {
		all = append(all, inField([]string{s.Request, s.Lookup, s.Returns, s.History, s.Events, s.Engine}, "serves")...)
	}
	if k.Edge != nil {
		all = append(all, inField(append(k.Edge.All(), slices.Sorted(maps.Values(k.Edge.Scopes))...), "edge")...)
	}
	return append(all, inField(k.Limits, "limits")...)
}

// wired returns the fields of the entity that the stages themselves use.
func (k *component) wired() (all []namedField) {
	for i := range k.stages {
		s := &k.stages[i]
		all = append(all, inField([]string{s.Part}, s.at("part")...)...)
		all = append(all, inField([]string{s.Of}, s.at("of")...)...)
		all = append(all, inField([]string{s.If}, s.at("if")...)...)
		all = append(all, typed(s.Seed, seedSchema, "declare it as a whole number: `%s?: int`", s.at("seed")...)...)
		all = append(all, typed(s.Checkpoints, checkpointsSchema, "import \"tenon.dev/tenon\" and declare it as `%s?: tenon.#Checkpoints`", s.at("checkpoints")...)...)
		all = append(all, inField(s.Keeps, s.at("keeps")...)...)
		all = append(all, inField([]string{s.Release}, s.at("release")...)...)
		if s.Part != "" || s.Use != "" { // otherwise the stage passes them to its own unit
			all = append(all, inField([]string{s.Packages}, s.at("packages")...)...)
		}
		for _, in := range s.inputs {
			all = append(all, inField([]string{in.If}, s.at("inputs."+in.port)...)...)
		}
		if f := s.Endpoint; f != nil {
			all = append(all, inField([]string{f.Host, f.Port, f.Replicas, f.TLS, f.Management}, s.at("endpoint")...)...)
		}
	}
	return all
}

// bound returns the fields that the stage passes to its unit, see [stage.binds].
func (s *stage) bound() []namedField {
	all := inField(s.Params, s.at("params")...)
	all = append(all, inField(s.Files, s.at("files")...)...)
	all = append(all, inField(s.MachineFiles, s.at("machine_files")...)...)
	all = append(all, inField(s.Code, s.at("code")...)...)
	all = append(all, inField([]string{s.Document}, s.at("document")...)...)
	all = append(all, inField([]string{s.Looks}, s.at("looks")...)...)
	for _, m := range s.Makes {
		in := s.at("makes")
		all = append(all, inField(slices.Sorted(maps.Keys(m.Raw)), in...)...)
		if m.Each != "" {
			all = append(all, inField([]string{m.Each}, in...)...)
		} else {
			all = append(all, inField([]string{m.Path, m.Params, m.Columns}, in...)...)
		}
	}
	all = append(all, inField([]string{s.Image}, s.at("image")...)...)
	all = append(all, inField([]string{s.Command}, s.at("command")...)...)
	all = append(all, inField([]string{s.Packages}, s.at("packages")...)...)
	all = append(all, inField([]string{s.Secrets.field}, s.at("secrets")...)...)
	for _, name := range slices.Sorted(maps.Keys(s.Secrets.byName)) {
		all = append(all, inField([]string{s.Secrets.byName[name]}, s.at("secrets."+name)...)...)
	}
	return all
}

func inField(paths []string, in ...string) (all []namedField) {
	for _, p := range paths {
		if p != "" {
			all = append(all, namedField{path: p, in: in})
		}
	}
	return all
}

// typed is inField of one path that has to have a type. hint has a verb for the path.
func typed(path, schema, hint string, in ...string) []namedField {
	all := inField([]string{path}, in...)
	for i := range all {
		all[i].schema, all[i].hint = schema, fmt.Sprintf(hint, path)
	}
	return all
}

// hasType reports whether the field at a path of a value is an instance of a CUE type, whatever users set it to.
func hasType(v cue.Value, path, schema string) bool {
	field := v.LookupPath(cue.ParsePath(path))
	if !field.Exists() {
		at := cue.ParsePath(path).Optional()
		if field = v.LookupPath(at); !field.Exists() {
			return true // the value is open
		}
	}
	return cuecontext.New().CompileString(schema).Subsume(field) == nil
}

// mayHave reports whether there is a field at a path of a value, or could be: an optional
// one, or any one where the value is open.
func mayHave(v cue.Value, path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		if v.IncompleteKind() != cue.StructKind || name == "*" {
			return true
		}
		field := cue.Str(name)
		if !v.Allows(field) {
			return false
		}
		next := v.LookupPath(cue.MakePath(field))
		if !next.Exists() {
			// For an entity, Allows goes by the "..." of its section, and not by its definition.
			if v.Err() == nil && v.FillPath(cue.MakePath(field), ast.NewIdent("_")).Err() != nil {
				return false
			}
			next = v.LookupPath(cue.MakePath(field.Optional()))
		}
		v = next
	}
	return true
}

// fieldNames returns the names of the fields of a value, optional ones included.
func fieldNames(v cue.Value) (names []string) {
	if it, err := v.Fields(cue.Optional(true)); err == nil {
		for it.Next() {
			names = append(names, it.Selector().Unquoted())
		}
	}
	return names
}
