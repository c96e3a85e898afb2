package lang

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/parser"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
	"github.com/tenon-ml/tenon/stdlib"
)

// explain describes one fault.
func (s *System) explain(f fault) diag.Diagnostic {
	d := s.explainFault(f)
	s.explainEnvironment(f, &d)
	return d
}

func (s *System) explainFault(f fault) diag.Diagnostic {
	if len(f.path) == 0 && (f.format == notAllowed || f.format == required) {
		return s.explainOther(f)
	}
	switch f.format {
	case undefinedField, notFound:
		return s.explainUndefined(f)
	case notAllowed:
		return s.explainNotAllowed(f)
	case notOneOf:
		return s.explainEnum(f)
	case required:
		if port, column := inPort(f.path); port != nil && column != "" {
			return s.explainColumn(f, port, column)
		}
		return s.explainRequired(f)
	case conflict, mismatch, outOfBound:
		if n := len(f.path); n == 3 && f.path[2] == "component" {
			return s.explainTwice(f)
		} else if port, rest := inPort(f.path); port != nil && rest == "" && f.path[n-1] == "kind" {
			return s.explainKind(f, port)
		} else if port != nil && rest != "" {
			return s.explainColumn(f, port, rest)
		}
		return s.explainValue(f)
	}
	return s.explainOther(f)
}

// inPort splits a path below an entity's input port. For
// models.x.in.table.schema.age.type it returns the path of the port and "age".
func inPort(p []string) (port []string, column string) {
	n := portIn(p)
	if n == 0 || p[2] == "on" && len(p) != 4 {
		return nil, ""
	}
	if len(p) >= n+2 && p[n] == "schema" {
		return p[:n], p[n+1]
	}
	return p[:n], ""
}

// barePorts are the inputs of entities that are fields of their own, besides `on`, by section. All
// others are below `in`.
var barePorts = map[string][]string{"monitors": {"against", "labels", "outcomes", "metric"}, "loops": {"model"}}

// BarePorts returns the inputs of entities of a section that are fields of their own.
func BarePorts(section string) []string { return append([]string{"on"}, barePorts[section]...) }

// portIn returns how much of a path is that of a port of an entity, or of the table of a
// reference: 4 for models.x.in.table.schema. It is 0 if the path is none below one.
func portIn(p []string) int {
	at := func(i int, name string) bool { return i < len(p) && p[i] == name }
	switch {
	case at(2, "on"), len(p) > 2 && slices.Contains(barePorts[p[0]], p[2]):
		return 3
	case len(p) > 2 && NestedPort(p[0], p[2:]) > 0:
		return 2 + NestedPort(p[0], p[2:])
	case at(2, "in") && len(p) >= 4:
		return 4
	case at(2, "references") && at(4, "table"):
		return 5
	case at(2, "outputs") && at(4, "references") && at(6, "table"):
		return 7
	}
	return 0
}

func (s *System) spans(f fault, label string) []diag.Span {
	var out []diag.Span
	for i, p := range f.user {
		sp := diag.Span{Pos: p}
		if i == 0 {
			sp.Label = label
		}
		out = append(out, sp)
	}
	return out
}

func (s *System) explainUndefined(f fault) diag.Diagnostic {
	name := strings.Trim(f.arg(0), `"`)
	d := diag.Diagnostic{Message: fmt.Sprintf("%q is not defined", name), Spans: s.spans(f, "")}
	if len(f.user) == 0 {
		return d
	}
	d.Spans[0].Len = len(name)
	base := s.selectorBase(f.user[0])
	if base == nil {
		switch d.Hint = diag.DidYouMean(name, s.visibleNames()); {
		case slices.Contains(s.libraryPackages(), name):
			d.Hint = fmt.Sprintf("import it: \"%s/%s\"", libraryName, name)
		case name == "True" || name == "False":
			d.Hint = "in CUE, write " + strings.ToLower(name)
		case slices.Contains(Sections, name):
			d.Hint = fmt.Sprintf("the system has no field %s", name)
			if near := diag.Nearest(name, s.rootLabels()); near != "" {
				d.Hint += fmt.Sprintf("; did you mean %q?", near)
			}
		}
		return d
	}
	where := strings.Join(base, ".")
	d.Message = fmt.Sprintf("%s has no %q", where, name)
	if slices.Contains(Sections, base[0]) && len(base) == 1 {
		d.Message = fmt.Sprintf("no entry %q in %s", name, where)
	}
	if len(base) == 1 && slices.Contains(s.libraryPackage(base[0]), name) {
		d.Hint = fmt.Sprintf("a field called %s hides the package here: quote its name, \"%s\":, or rename it", base[0], base[0])
		return d
	}
	d.Hint = diag.DidYouMean(name, s.fieldNames(base, f.path))
	if d.Hint == "" && len(base) == 2 && slices.Contains(Sections, base[0]) {
		d.Hint = fmt.Sprintf("the output of %s is %s.out", where, where)
	}
	return d
}

// selectorBase returns what precedes the name at pos: for `custmers` in
// `sources.custmers.out`, the path `sources`.
func (s *System) selectorBase(pos diag.Pos) []string {
	var base []string
	for _, file := range s.syntax {
		if s.Pos(file.Pos()).File != pos.File {
			continue
		}
		ast.Walk(file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && s.Pos(sel.Sel.Pos()) == pos {
				base = selectorPath(sel.X)
			}
			return base == nil
		}, nil)
	}
	return base
}

// fieldNames lists the fields of the base of a selector, as resolved at the place of the
// fault: a package, a path from the root, or one in its entity.
func (s *System) fieldNames(base, at []string) []string {
	if len(base) == 1 {
		if pkg := s.libraryPackage(base[0]); pkg != nil {
			return pkg
		}
	}
	candidates := [][]string{base}
	if len(at) >= 2 {
		candidates = append(candidates, append([]string{at[0], at[1]}, base...), append([]string{at[0]}, base...))
	}
	for _, p := range candidates {
		if len(p) == 1 && slices.Contains(Sections, p[0]) {
			if names := s.EntityNames(p[0]); len(names) > 0 {
				return names
			}
		}
		if names := names(s.Lookup(p...)); len(names) > 0 {
			return names
		}
	}
	return nil
}

// libraryPackage lists the definitions of a library package by its name.
func (s *System) libraryPackage(name string) []string {
	entries, err := fs.Glob(stdlib.CUE(), path.Join(name, "*.cue"))
	if err != nil || len(entries) == 0 {
		return nil
	}
	var defs []string
	for _, e := range entries {
		b, err := fs.ReadFile(stdlib.CUE(), e)
		if err != nil {
			continue
		}
		f, err := parser.ParseFile(e, b)
		if err != nil {
			continue
		}
		for _, d := range f.Decls {
			if field, ok := d.(*ast.Field); ok {
				if n, _, err := ast.LabelName(field.Label); err == nil && strings.HasPrefix(n, "#") {
					defs = append(defs, n)
				}
			}
		}
	}
	return defs
}

// rootLabels lists the fields at the top level of the user's files.
func (s *System) rootLabels() []string {
	var names []string
	for key := range s.decls() {
		if !strings.Contains(key, ".") {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	return names
}

func (s *System) visibleNames() []string {
	out := slices.Clone(Sections)
	for _, imp := range s.imports {
		out = append(out, imp.PkgName)
	}
	return out
}

// names lists the fields of a value, including optional ones, if it has any.
func names(v cue.Value) []string {
	it, err := v.Fields(cue.Optional(true))
	if err != nil {
		return nil
	}
	var out []string
	for it.Next() {
		out = append(out, it.Selector().Unquoted())
	}
	return out
}

func (s *System) explainNotAllowed(f fault) diag.Diagnostic {
	n := len(f.path)
	field, owner := f.path[n-1], strings.Join(f.path[:n-1], ".")
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s has no field %q", owner, field),
		Spans:   s.spans(f, ""),
	}
	if port, column := inPort(f.path); port != nil && column != "" {
		d.Spans = append(d.Spans, s.At("bound here", port...))
	}
	if s.Written(f.path...) {
		d.Spans = []diag.Span{s.Label("", f.path...)}
	}
	if def, rel := s.definition(f.path); def.Exists() {
		v := def
		if len(rel) > 1 {
			v = def.LookupPath(cue.MakePath(strs(rel[:len(rel)-1])...))
		}
		allowed := slices.DeleteFunc(names(v), func(n string) bool {
			return n == "name" || n == "component" || n == "out" || n == "kind" || n == "task"
		})
		if d.Hint = diag.DidYouMean(field, allowed); d.Hint == "" && len(allowed) > 0 {
			slices.Sort(allowed)
			d.Hint = "it has " + strings.Join(allowed, ", ")
			if slices.Contains(allowed, "params") {
				d.Hint += "; the estimator's own parameters belong under params"
			}
		}
	}
	return d
}

func strs(p []string) []cue.Selector {
	out := make([]cue.Selector, len(p))
	for i, n := range p {
		out[i] = cue.Str(n).Optional()
	}
	return out
}

// definition returns the library definition that closes the field at path, and
// the field's path below it.
func (s *System) definition(path []string) (cue.Value, []string) {
	for _, d := range s.decls()[strings.Join(path, ".")] {
		if d.def == nil {
			continue
		}
		pkg, ok := d.def.X.(*ast.Ident)
		if !ok {
			continue
		}
		for _, imp := range s.imports {
			if imp.PkgName == pkg.Name {
				return s.packageValue(imp).LookupPath(cue.MakePath(cue.Def(selName(d.def)))), d.rel
			}
		}
	}
	return cue.Value{}, nil
}

func (s *System) packageValue(imp *build.Instance) cue.Value {
	return s.cue.BuildInstance(imp)
}

func (s *System) explainRequired(f fault) diag.Diagnostic {
	n := len(f.path)
	field := f.path[n-1]
	d := diag.Diagnostic{Message: fmt.Sprintf("%s needs a field %q", strings.Join(f.path[:n-1], "."), field)}
	if n == 1 {
		d = diag.Diagnostic{Message: fmt.Sprintf("the system needs a %s", field), Hint: fmt.Sprintf("write `%s: \"...\"` at the top", field)}
	} else {
		at := s.Label("declared here", f.path[:n-1]...)
		d.Spans = []diag.Span{at}
	}
	for _, p := range f.lib {
		d.Spans = append(d.Spans, diag.Span{Pos: p, Label: "required here"})
		break
	}
	return d
}

func (s *System) explainTwice(f fault) diag.Diagnostic {
	entity := f.path[0] + "." + f.path[1]
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s is declared twice, as %s and as %s", entity, strings.Trim(f.arg(0), `"`), strings.Trim(f.arg(1), `"`)),
		Hint:    "rename one of them",
	}
	for _, decl := range s.decls()[entity] {
		d.Spans = append(d.Spans, s.nodeSpan(decl.label, "declared here"))
	}
	if len(d.Spans) == 0 {
		d.Spans = s.spans(f, "declared here")
	}
	return d
}

// a adds the indefinite article to a word.
func a(word string) string {
	if strings.ContainsAny(word[:min(1, len(word))], "aeiou") {
		return "an " + word
	}
	return "a " + word
}

// explainColumn describes a table that lacks a column that its reader needs, or has it
// with another type or wider values.
func (s *System) explainColumn(f fault, port []string, column string) diag.Diagnostic {
	reader := f.path[0] + "." + f.path[1]
	ref, at := s.Reference(port...)
	producer := strings.Join(ref[:min(2, len(ref))], ".")
	var d diag.Diagnostic
	for _, p := range f.user {
		if p != at.Pos {
			d.Spans = append(d.Spans, diag.Span{Pos: p, Label: "needed here"})
			break
		}
	}
	if at.File != "" {
		at.Label = "read here"
		d.Spans = append(d.Spans, at)
	}
	if len(ref) >= 2 {
		if sp, ok := s.Column(ref[0], ref[1], column); ok {
			sp.Label = "declared here"
			d.Spans = append(d.Spans, sp)
		} else if s.Written(ref[0], ref[1], "schema") {
			d.Spans = append(d.Spans, s.Label(producer+" produces these columns", ref[0], ref[1], "schema"))
		}
	}
	rule := f.path[len(f.path)-1]
	switch {
	case f.format == required && len(f.path) == len(port)+2:
		d.Message = fmt.Sprintf("%s needs a column %q, but %s does not produce it", reader, column, producer)
		have := names(s.Lookup(append(ref[:len(ref):len(ref)], "schema")...))
		d.Wanted, d.Found = "a column "+column, "the columns "+strings.Join(have, ", ")
		if near := diag.Nearest(column, have); near != "" {
			d.Hint = fmt.Sprintf("did you mean %q?", near)
		} else {
			d.Hint = fmt.Sprintf("add %q to the schema of %s", column, producer)
		}
	case f.format == required:
		d.Message = fmt.Sprintf("%s needs the %s of column %q, but %s does not declare it", reader, rule, column, producer)
		d.Hint = fmt.Sprintf("declare `%s` for the column in %s", rule, producer)
	default:
		found, wanted := f.arg(0), f.arg(1)
		if f.format == conflict && len(ref) >= 2 {
			// CUE does not say which of the two is the producer's, either.
			if v := s.Lookup(append(ref[:len(ref):len(ref)], "schema", column, rule)...); v.Exists() && fmt.Sprint(v) == wanted {
				found, wanted = wanted, found
			}
		}
		d.Message = fmt.Sprintf("%s needs the %s of column %q to be %s, but in %s it is %s", reader, rule, column, describe(wanted), producer, found)
		d.Wanted = fmt.Sprintf("%s: %s", rule, describe(wanted))
		d.Found = fmt.Sprintf("%s: %s", rule, found)
	}
	return d
}

func (s *System) explainValue(f fault) diag.Diagnostic {
	field, last := "the system", ""
	if n := len(f.path); n > 0 {
		field, last = strings.Join(f.path, "."), f.path[n-1]
	}
	found, wanted := f.arg(0), f.arg(1)
	if d, ok := s.explainTag(f); ok {
		return d
	}
	if f.format == conflict && len(f.user) > 1 {
		d := diag.Diagnostic{Message: fmt.Sprintf("%s has two values, %s and %s", field, found, wanted),
			Hint: fmt.Sprintf("keep one of them; if one is a default that another file may change, write it as `*%s | _`", wanted)}
		for _, p := range f.user {
			d.Spans = append(d.Spans, diag.Span{Pos: p})
		}
		if len(f.path) == 3 && len(s.decls()[f.path[0]+"."+f.path[1]]) > 1 {
			d.Hint += fmt.Sprintf("\nif these are two entities, rename one of them: both are %s.%s", f.path[0], f.path[1])
		}
		return d
	}
	if f.format != outOfBound && s.Written(f.path...) {
		// The user's value is the one in the source.
		if at := s.At("", f.path...); strings.HasPrefix(string(s.textAt(at)), wanted) && !strings.HasPrefix(string(s.textAt(at)), found) {
			found, wanted = wanted, found
		}
	}
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s cannot be %s", field, found),
		Wanted:  describe(wanted),
		Found:   found,
		Spans:   s.spans(f, ""),
	}
	if s.Written(f.path...) {
		d.Spans = []diag.Span{s.At("", f.path...)}
	}
	if strings.HasPrefix(wanted, "{secret!") || last == "secret" && strings.HasPrefix(wanted, "{env?") {
		d.Message = fmt.Sprintf("%s is a secret and must not be in the system", field)
		d.Wanted, d.Found = "a reference", "a literal"
		if last != "secret" {
			last += ": secret"
		}
		d.Hint = fmt.Sprintf("write `%s: env: \"NAME\"` and set NAME in the environment of tenon", last)
		return d
	}
	for _, p := range f.lib {
		if text := s.textAt(diag.Span{Pos: p}); len(text) > 0 && text[0] != '{' {
			d.Spans = append(d.Spans, diag.Span{Pos: p, Label: "required here"})
			break
		}
	}
	return d
}

var tagged = lazyregexp.New(`^(.*?)\s*@tag\(([^,)]+)`)

// explainTag describes the fault of a field that got a wrong value from a tag.
func (s *System) explainTag(f fault) (diag.Diagnostic, bool) {
	at := s.At("", f.path...)
	m := tagged.FindStringSubmatch(string(s.textAt(at)))
	for _, t := range s.tags {
		name, value, ok := strings.Cut(t, "=")
		if ok && m != nil && m[2] == name {
			return diag.Diagnostic{
				Message: fmt.Sprintf("%s cannot be %q, the value of the tag %s", strings.Join(f.path, "."), value, t),
				Wanted:  strings.ReplaceAll(m[1], "*", ""),
				Found:   fmt.Sprintf("%q", value),
				Spans:   []diag.Span{at},
			}, true
		}
	}
	return diag.Diagnostic{}, false
}

// textAt returns the source from a position to the end of its line.
func (s *System) textAt(at diag.Span) []byte {
	lines := strings.Split(string(s.Source(at.File)), "\n")
	if at.Line == 0 || at.Line > len(lines) || at.Col > len(lines[at.Line-1]) {
		return nil
	}
	return []byte(lines[at.Line-1][at.Col-1:])
}

func (s *System) explainOther(f fault) diag.Diagnostic {
	if strings.HasPrefix(f.format, "incomplete value") {
		return s.explainIncomplete(f)
	}
	message := plainSyntax(fmt.Sprintf(f.format, f.args...))
	if inner := errors.Unwrap(f.err); inner != nil || f.format == "" || f.format == "import failed" {
		message = f.err.Error()
	} else if len(f.path) > 0 {
		message = strings.Join(f.path, ".") + ": " + message
	}
	d := diag.Diagnostic{Message: message, Spans: s.spans(f, "")}
	for _, p := range f.lib {
		d.Spans = append(d.Spans, diag.Span{Pos: p})
	}
	switch {
	case strings.Contains(message, carries):
		_, d.Message, _ = strings.Cut(message, carries)
		d.Message, d.Hint, _ = strings.Cut(carries+d.Message, ": ")
	case cannotFetch.MatchString(message):
		m := cannotFetch.FindStringSubmatch(message)
		modulePath, _, _ := strings.Cut(m[1], "@")
		major, _, _ := strings.Cut(m[2], ".")
		d.Message, d.Found = fmt.Sprintf("cannot fetch the module %s", m[1]), m[3]
		d.Spans = append(d.Spans, s.ModuleSpan(modulePath+"@"+major))
		d.Hint = fmt.Sprintf("modules are fetched from %s ($CUE_REGISTRY)", s.registry.from)
	case strings.Contains(message, "cannot find package"), strings.Contains(message, "cannot find module providing package"):
		if m := packageName.FindStringSubmatch(message); m != nil && strings.HasPrefix(m[1], libraryName+"/") {
			packages := s.libraryPackages()
			base := path.Base(m[1])
			switch {
			case !slices.Contains(packages, base):
				d.Message = fmt.Sprintf("the standard library has no package %q", m[1])
				d.Hint = diag.DidYouMean(base, packages)
			case m[1] != libraryName+"/"+base:
				d.Message = fmt.Sprintf("the standard library has no package %q", m[1])
				d.Hint = fmt.Sprintf("did you mean %q?", libraryName+"/"+base)
			default:
				d.Message = "the module does not require the standard library " + libraryName
				d.Hint = "run `tenon init` to add it to cue.mod/module.cue"
			}
		} else if m != nil {
			d.Message = fmt.Sprintf("no required module has the package %q", m[1])
			d.Hint = "add its module to deps in cue.mod/module.cue, for example with `cue mod get MODULE@VERSION`"
		}
	case strings.HasPrefix(f.format, unused):
		d.Hint = "remove the import, or quote the name of the field that hides it"
	case strings.Contains(f.format, "no tag for"), strings.Contains(message, "not used in any file"), strings.Contains(message, "tag"):
		d.Hint = "a tag is declared in the system as `field: string @tag(name)`, or used in a file as `@if(name)`"
	}
	return d
}

var cannotFetch = lazyregexp.New(`cannot fetch (\S+@(v[^\s:]+)): (?:module \S+: )?((?s:.*))`)

var packageName = lazyregexp.New(`package "?([^\s":]+)`)

func (s *System) libraryPackages() []string {
	entries, _ := fs.ReadDir(stdlib.CUE(), ".")
	var out []string
	for _, e := range entries {
		if e.Name() != "cue.mod" {
			out = append(out, e.Name())
		}
	}
	return out
}
