package lang

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/parser"

	"github.com/tenon-ml/tenon/stdlib"
)

// others are values that users may prefer to a default. Every default of the library has one
// among them that its field allows.
var others = []string{`"next"`, `"scores"`, "true", "false", "3", "0.25", `"none"`, `"7d"`, `"8d"`, `"90m"`, `"2GiB"`, `"duckdb"`, `"SGD"`, `"int8"`, `";"`, `"file"`, `"service"`, `"10.0.0.0/16"`, `"arm64"`, `"sagemaker"`, `"external"`, `"Standard"`, `["-"]`, `[2]`, `["ES256"]`, `{a: "b"}`, `"page"`, `"lower"`, `"sum"`, "0.9", "200", `"1.33"`, `"RAPID"`, `"random"`, "2", `"NoExecute"`, `"vertex"`, `"run"`}

// A defaulted field is one of a definition of the library that has a default.
type defaulted struct {
	def, field   string // "serve.#HTTP", "port"
	value, other string
}

// defaultedFields returns all of them, from the values of the definitions.
func defaultedFields(t *testing.T, s *System) []defaulted {
	var all []defaulted
	for _, name := range s.libraryPackages() {
		p, err := s.Package(libraryName + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		defs, err := p.Value.Fields(cue.Definitions(true))
		if err != nil {
			t.Fatal(err)
		}
		for defs.Next() {
			if defs.Selector().IsDefinition() {
				all = append(all, defaultsIn(s, name+"."+defs.Selector().String(), "", defs.Value())...)
			}
		}
	}
	return all
}

func defaultsIn(s *System, def, below string, v cue.Value) []defaulted {
	var all []defaulted
	it, err := v.Fields(cue.Optional(true))
	if err != nil {
		return nil
	}
	for it.Next() {
		field := strings.Trim(below+"."+it.Selector().Unquoted(), ".")
		x, ok := it.Value().Default()
		if !ok || x.Validate(cue.Concrete(true)) != nil || empty(x) {
			all = append(all, defaultsIn(s, def, field, it.Value())...)
			continue
		}
		d := defaulted{def: def, field: field, value: fmt.Sprint(x)}
		for _, other := range others {
			o := s.cue.CompileString(other)
			if u := it.Value().Unify(o); d.other == "" && !x.Equals(o) && u.Validate(cue.Concrete(true)) == nil {
				d.other = other
			}
		}
		all = append(all, d)
	}
	return all
}

// empty reports whether a value is the default of an open list, which CUE gives it.
func empty(v cue.Value) bool {
	n, err := v.Len().Int64()
	return err == nil && n == 0 && v.Kind() == cue.ListKind
}

// starredFields returns the names of the fields with a default in the files of the library.
func starredFields(t *testing.T) []string {
	var names []string
	files, err := fs.Glob(stdlib.CUE(), "*/*.cue")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := fs.ReadFile(stdlib.CUE(), name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(name, b)
		if err != nil {
			t.Fatal(err)
		}
		ast.Walk(f, func(n ast.Node) bool {
			if d, ok := n.(*ast.Field); ok && len(marked(d.Value)) > 0 {
				label, _, _ := ast.LabelName(d.Label)
				names = append(names, label)
			}
			return true
		}, nil)
	}
	return names
}

// For every field with a default in the library, the default of a user wins, wherever it is
// written, and so does a value over that.
func TestUsersOverrideEveryDefaultOfTheLibrary(t *testing.T) {
	imports := func(text string) string {
		var b strings.Builder
		b.WriteString("package x\n\n")
		for _, name := range (&System{}).libraryPackages() {
			if strings.Contains(text, name+".#") {
				fmt.Fprintf(&b, "import %q\n", libraryName+"/"+name)
			}
		}
		return b.String() + text
	}
	var all strings.Builder
	all.WriteString("\ntenon.#System\nname: \"x\"\n")
	for i, def := range []string{"col.#Column", "evaluate.#Any", "feature.#Base", "loop.#Retrain", "monitor.#Base", "serve.#HTTP", "slo.#Objectives", "source.#Base", "split.#Any", "step.#Base", "train.#Base"} {
		fmt.Fprintf(&all, "_p%d: %s\n", i, def) // imports its package
	}
	s, err := Load(folder(t, map[string]string{"cue.mod/module.cue": moduleFile(stdlib.Version), "s.cue": imports(all.String())}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	fields := defaultedFields(t, s)
	for _, name := range starredFields(t) {
		if !slices.ContainsFunc(fields, func(d defaulted) bool { return path.Ext("."+d.field) == "."+name }) {
			t.Errorf("the field %s has a default, but is not among those that are tested", name)
		}
	}

	var text, more strings.Builder
	text.WriteString("\ntenon.#System\nname: \"x\"\n")
	more.WriteString("package x\n\n")
	for i, d := range fields {
		if d.other == "" {
			t.Errorf("no value but the default is known for %s.%s: add one to others", d.def, d.field)
			continue
		}
		nested := strings.ReplaceAll(d.field, ".", ": ")
		parent := ""
		if i := strings.LastIndex(nested, ": "); i > 0 {
			parent = nested[:i] + ": {}"
		}
		fmt.Fprintf(&text, "_f%d: {\n\tplain: %s & {%[6]s}\n\tother: %[2]s & {%s: *%s | _}\n\tvalue: %[2]s & {%[3]s: *%[4]s | _}\n\tlater: %[2]s\n\tread: other.%[5]s\n}\n", i, d.def, nested, d.other, d.field, parent)
		fmt.Fprintf(&more, "_f%d: later: %s: *%s | _\n_f%[1]d: value: %[2]s: %[4]s\n", i, nested, d.other, d.value)
	}
	dir := folder(t, map[string]string{"cue.mod/module.cue": moduleFile(stdlib.Version), "s.cue": imports(text.String()), "more.cue": more.String()})
	if s, err = Load(dir, Options{}); err != nil {
		t.Fatal(err)
	}
	at := func(field, entry string) cue.Value {
		return s.Value.LookupPath(cue.MakePath(cue.Hid(field, "acme.example/x@v0"), cue.Str(entry)))
	}
	for i, d := range fields {
		for entry, want := range map[string]string{"plain": d.value, "other": d.other, "later": d.other, "read": d.other, "value": d.value} {
			v := at(fmt.Sprintf("_f%d", i), entry).LookupPath(cue.ParsePath(d.field))
			if entry == "read" {
				v = at(fmt.Sprintf("_f%d", i), entry)
			}
			got, _ := v.Default()
			if !got.IsConcrete() || !got.Equals(s.cue.CompileString(want)) {
				t.Errorf("%s.%s, %s: got %v, want %s", d.def, d.field, entry, got, want)
			}
		}
	}
}
