package lang

import (
	"fmt"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/token"

	"github.com/tenon-ml/tenon/internal/diag"
)

// Sections lists the fields of a system that hold entities.
var Sections = []string{"targets", "resources", "sources", "features", "models", "deployments", "slos", "monitors", "loops", "steps"}

// Valid reports whether CUE finds nothing wrong with the whole system.
func (s *System) Valid() bool {
	s.validOnce.Do(func() {
		s.valid = len(s.unused) == 0 && s.Lookup("name").Exists() && s.Value.Validate(cue.Concrete(true), cue.Final()) == nil
	})
	return s.valid
}

// Faults returns what CUE finds wrong, one fault per cause, in Tenon's words. It checks
// entities one by one: when a whole system is validated at once, the errors of one hide
// those of another.
func (s *System) Faults() diag.List {
	if s.Valid() {
		return nil
	}
	if err := s.Value.Err(); err != nil && (!s.anyEntity() || !s.built()) {
		return append(s.translate(err, ""), s.explainAll(s.unused)...).Sort()
	}
	var fs []fault
	for _, f := range s.takeApart(s.Value.Err()) {
		if len(f.path) == 0 {
			fs = append(fs, f) // of the package, not of a field
		}
	}
	for _, field := range []string{"name", "target", "env", "moved", "budget", "tracking"} {
		if v := s.Lookup(field); v.Exists() || field == "name" {
			fs = append(fs, causes(s.takeApart(v.Validate(cue.Concrete(true))), field)...)
		}
	}
	whole := s.wholeEntities()
	var unread diag.List
	for _, section := range Sections {
		for _, name := range s.EntityNames(section) {
			if l := whole[section+"."+name]; len(l) > 0 {
				unread = append(unread, l...)
				continue // a consequence: CUE unifies a port with an entity
			}
			err := s.Lookup(section, name).Validate(cue.Concrete(true), cue.Final())
			fs = append(fs, causes(s.takeApart(err), section+"."+name)...)
		}
	}
	if len(unread) > 0 { // everything else may be a consequence
		fs = slices.DeleteFunc(fs, func(f fault) bool { return len(f.user) == 0 })
	}
	// What is missing may be what uses the import; what is not defined, a field that hides it.
	explained := func(f fault) bool { return f.format == required || f.format == undefinedField || f.format == notFound }
	if !slices.ContainsFunc(fs, explained) {
		fs = append(fs, s.unused...)
	}
	return append(unread, s.explainAll(fs)...).Sort()
}

// wholeEntities finds ports that are bound to an entity instead of its output,
// `features.x` instead of `features.x.out`, by the entity that reads.
func (s *System) wholeEntities() map[string]diag.List {
	names := map[string]bool{}
	for _, section := range Sections {
		for _, name := range s.EntityNames(section) {
			names[section+"."+name] = true
		}
	}
	found := map[string]diag.List{}
	for key := range s.decls() {
		p := strings.Split(key, ".")
		if n := portIn(p); n == 0 || n != len(p) {
			continue
		}
		ref, at := s.Reference(p...)
		if len(ref) != 2 || !names[strings.Join(ref, ".")] {
			continue
		}
		reader := p[0] + "." + p[1]
		found[reader] = append(found[reader], diag.Diagnostic{
			Message: fmt.Sprintf("%s is bound to %s instead of its output", key, strings.Join(ref, ".")),
			Wanted:  "the output",
			Found:   "the entity",
			Spans:   []diag.Span{at},
			Hint:    fmt.Sprintf("write %s.out", strings.Join(ref, ".")),
		})
	}
	return found
}

// explainAll describes the faults, without those that are consequences of others.
func (s *System) explainAll(fs []fault) diag.List {
	if slices.ContainsFunc(fs, fault.isCause) {
		fs = slices.DeleteFunc(fs, func(f fault) bool { return !f.isCause() })
	}
	var l diag.List
	for _, f := range fs {
		l = append(l, s.explain(f))
	}
	return l
}

// built reports whether the package has a value with fields. It has none if a name in it
// is not defined, whatever its files contain.
func (s *System) built() bool {
	return slices.ContainsFunc(Sections, func(sec string) bool { return s.Lookup(sec).Exists() })
}

func (s *System) anyEntity() bool {
	return slices.ContainsFunc(Sections, func(sec string) bool { return len(s.EntityNames(sec)) > 0 })
}

// EntityNames returns the names in a section, in source order.
func (s *System) EntityNames(section string) []string {
	if s.Valid() {
		s.list(section)
		return s.names[section]
	}
	var names []string
	seen := map[string]bool{}
	add := func(n string) {
		if !seen[n] {
			seen[n] = true
			names = append(names, n)
		}
	}
	if it, err := s.Lookup(section).Fields(); err == nil {
		for it.Next() {
			add(it.Selector().Unquoted())
		}
	}
	// A section with a fault lists none or only some of its fields; the sources list all.
	for _, d := range s.decls()[section] {
		var sels []*ast.SelectorExpr
		var structs []*ast.StructLit
		parts(d.value, &sels, &structs)
		for _, st := range structs {
			for _, e := range st.Elts {
				if f, ok := e.(*ast.Field); ok && f.Constraint == token.ILLEGAL {
					n, plain, err := ast.LabelName(f.Label)
					if private := plain && strings.ContainsAny(n[:1], "_#"); err == nil && !private {
						add(n)
					}
				}
			}
		}
	}
	return names
}

// list caches the entities of a section of a valid system: a lookup in CUE searches all
// fields of its struct.
func (s *System) list(section string) {
	if _, done := s.entities[section]; done {
		return
	}
	var names []string
	entities := map[string]cue.Value{}
	if it, err := s.Value.LookupPath(cue.MakePath(cue.Str(section))).Fields(); err == nil {
		for it.Next() {
			name := it.Selector().Unquoted()
			names = append(names, name)
			entities[name] = it.Value()
		}
	}
	for id := range s.reused {
		if in, name, _ := strings.Cut(id, "/"); in == section {
			names = append(names, name)
		}
	}
	if s.entities == nil {
		s.entities, s.names = map[string]map[string]cue.Value{}, map[string][]string{}
	}
	s.entities[section], s.names[section] = entities, names
}

// A fault is one error of CUE, parsed.
type fault struct {
	err    errors.Error
	format string
	args   []any
	path   []string
	user   []diag.Pos // in the user's files; the error's own position first
	lib    []diag.Pos
}

func (f fault) arg(i int) string {
	if i >= len(f.args) {
		return ""
	}
	return fmt.Sprint(f.args[i])
}

// below reports whether the fault is in the entity "section.name", or in a field of the
// system.
func (f fault) below(entity string) bool {
	return entity == "" || len(f.path) >= 2 && f.path[0]+"."+f.path[1] == entity || len(f.path) >= 1 && f.path[0] == entity
}

// isCause reports whether the fault can be the cause of others. Other faults are only
// reported if nothing else was found.
func (f fault) isCause() bool {
	return f.format != interpolation && f.format != comprehensionIn && f.format != emptyDisj &&
		!strings.HasPrefix(f.format, "cannot reference optional field") && !strings.HasPrefix(f.format, "required field missing")
}

// translate converts the errors of one entity to faults.
func (s *System) translate(err error, entity string) diag.List {
	return s.explainAll(causes(s.takeApart(err), entity))
}

func (s *System) takeApart(err error) []fault {
	var fs []fault
	for _, e := range errors.Errors(err) {
		format, args := e.Msg()
		f := fault{err: e, format: format, args: args, path: e.Path()}
		for _, p := range append(errors.Positions(e), e.InputPositions()...) {
			at := s.Pos(p)
			switch {
			case at.File == "":
			case isLibrary(at.File):
				if !slices.Contains(f.lib, at) {
					f.lib = append(f.lib, at)
				}
			case !slices.Contains(f.user, at):
				f.user = append(f.user, at)
			}
		}
		if own := s.Pos(e.Position()); own.File != "" && !isLibrary(own.File) {
			f.user = slices.Insert(slices.DeleteFunc(f.user, func(p diag.Pos) bool { return p == own }), 0, own)
		}
		fs = append(fs, f)
	}
	return fs
}

// CUE's message formats that need special treatment.
const (
	undefinedField  = "undefined field: %s"
	notFound        = "reference %q not found"
	notAllowed      = "field not allowed"
	required        = "field is required but not present"
	conflict        = "conflicting values %s and %s"
	mismatch        = "conflicting values %s and %s (mismatched types %s and %s)"
	outOfBound      = "invalid value %v (out of bound %s)"
	emptyDisj       = "%d errors in empty disjunction:"
	interpolation   = "invalid interpolation"
	unused          = "imported and not used"
	notOneOf        = "not one of" // see enums
	comprehensionIn = "missing required field in for comprehension: %v"
)

// causes keeps one fault per cause: it drops the consequences of other faults, of this
// entity or of one it reads from.
func causes(fs []fault, entity string) []fault {
	fs = enums(fs)
	elsewhere := slices.ContainsFunc(fs, func(f fault) bool { return !f.below(entity) })
	kindConflict := map[string]bool{} // ports bound to a port of another kind
	twice := false
	for _, f := range fs {
		if n := len(f.path); f.format == conflict && n > 0 {
			if f.path[n-1] == "kind" {
				kindConflict[strings.Join(f.path[:n-1], ".")] = true
			}
			twice = twice || f.path[n-1] == "component" && n == 3
		}
	}
	var out []fault
	seen := map[string]int{}
	for _, f := range fs {
		p := strings.Join(f.path, ".")
		switch {
		case !f.below(entity):
			continue // reported at its own place
		case !f.isCause() && elsewhere:
			continue
		case elsewhere && len(f.path) > 2 && (f.format == required || f.format == outOfBound || f.format == conflict) && portIn(f.path) > 0:
			continue // the entity that is read has the fault
		case twice && !(len(f.path) == 3 && f.path[2] == "component"):
			continue
		}
		under := false
		for port := range kindConflict {
			under = under || strings.HasPrefix(p, port+".") && p != port+".kind"
		}
		if under {
			continue
		}
		key := p + "|" + fmt.Sprint(f.user)
		if f.format == mismatch || f.format == conflict || f.format == outOfBound {
			key = p // alternatives of a disjunction: one is enough
		}
		if f.format == undefinedField || f.format == notFound {
			key = fmt.Sprint(f.user)
		}
		if i, ok := seen[key]; ok {
			if rank(f) > rank(out[i]) {
				out[i] = f
			}
			continue
		}
		seen[key] = len(out)
		out = append(out, f)
	}
	return out
}

// rank orders several errors for one field by how informative they are: a bound is more
// informative than a type, and a type more than a default that was not taken.
func rank(f fault) int {
	switch f.format {
	case outOfBound:
		return 3
	case mismatch:
		if strings.ContainsAny(f.arg(1), "0123456789\"") {
			return 1
		}
		return 2
	}
	return 0
}

// plainSyntax replaces the parser's terms for missing tokens with plain words.
func plainSyntax(message string) string {
	return strings.NewReplacer("'EOF'", "the end of the file", "'newline'", "the end of the line").Replace(message)
}

// syntaxFaults describes the errors of CUE's parser for one file.
func syntaxFaults(file string, err error) diag.List {
	var l diag.List
	for _, e := range errors.Errors(err) {
		format, args := e.Msg()
		d := diag.Diagnostic{Message: plainSyntax(fmt.Sprintf(format, args...))}
		for _, p := range errors.Positions(e) {
			at := p.Position()
			d.Spans = append(d.Spans, diag.Span{Pos: diag.Pos{File: file, Line: at.Line, Col: at.Column}})
		}
		l = append(l, d)
	}
	return l.Sort()
}
