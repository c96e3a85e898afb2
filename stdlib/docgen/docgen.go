// Package docgen writes the reference of the standard library, docs/library.md,
// from the CUE itself: the comments of its definitions and their fields.
//
// In goes the file tree of the module, out comes Markdown. It reads the syntax
// only and evaluates nothing. The test beside it keeps the page up to date.
package docgen

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"
)

const intro = `# The standard library

Generated from the comments in ` + "`stdlib/cue`" + `; change them there. How the pieces fit together is said in
[language.md](language.md).

Every package is imported as ` + "`tenon.dev/NAME`" + `. An entity takes its name from its place (` + "`sources: NAME: ...`" + `),
so ` + "`name`" + ` is not listed; neither is what a definition fixes for itself. Of the last column, *yes* means that the
field has to be given, *no* that it may be left out, and anything else is what it is when it is left out. Where a name
holds ` + "`NAME`" + `, any name can stand there. What a definition gives to others is its ` + "`out`" + `.
`

// A pkg is one package: its comment and what it defines, in order.
type pkg struct {
	name, doc string
	fields    []*ast.Field
}

// A row is one field of a definition.
type row struct{ names, typ, need, doc string }

// Library returns the reference of the module in fsys.
func Library(fsys fs.FS) ([]byte, error) {
	files, err := fs.Glob(fsys, "*/*.cue")
	if err != nil {
		return nil, err
	}
	var pkgs []*pkg
	for _, file := range files {
		name := path.Dir(file)
		if name == "cue.mod" {
			continue
		}
		if len(pkgs) == 0 || pkgs[len(pkgs)-1].name != name {
			pkgs = append(pkgs, &pkg{name: name})
		}
		if err := pkgs[len(pkgs)-1].read(fsys, file); err != nil {
			return nil, err
		}
	}
	var b strings.Builder
	b.WriteString(intro + "\n| package | |\n|---|---|\n")
	for _, p := range pkgs {
		first, _, _ := strings.Cut(p.doc, ". ")
		first = strings.TrimPrefix(first, "Package "+p.name+" ")
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", p.name, p.name, cell(strings.TrimSuffix(first, ".")))
	}
	for _, p := range pkgs {
		p.write(&b)
	}
	return []byte(b.String()), nil
}

func (p *pkg) read(fsys fs.FS, file string) error {
	src, err := fs.ReadFile(fsys, file)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(file, src, parser.ParseComments)
	if err != nil {
		return err
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.Package:
			p.doc = paragraphs(d)
		case *ast.Field:
			p.fields = append(p.fields, d)
		}
	}
	return nil
}

// write writes the definitions of a package. Those that have no comment and
// the same fields as the one before share its section.
func (p *pkg) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n", p.name, p.doc)
	var names []string
	var last string
	for i, f := range p.fields {
		name := label(f.Label)
		if !strings.HasPrefix(name, "#") {
			continue
		}
		body := p.body(f)
		if names == nil || paragraphs(f) != "" || body != last {
			names, last = nil, body
		}
		names = append(names, "`"+p.name+"."+name+"`")
		if next := i + 1; next < len(p.fields) && paragraphs(p.fields[next]) == "" && p.body(p.fields[next]) == body {
			continue
		}
		fmt.Fprintf(b, "\n### %s\n\n", strings.Join(names, ", "))
		if doc := paragraphs(f); doc != "" {
			b.WriteString(doc + "\n\n")
		}
		b.WriteString(strings.TrimPrefix(body, "\n"))
		names = nil
	}
}

// body is the section of a definition without its heading and comment.
func (p *pkg) body(f *ast.Field) string {
	s, ok := f.Value.(*ast.StructLit)
	if !ok {
		return "It is " + p.words(f.Value) + ".\n"
	}
	var b strings.Builder
	rows, more := p.rows(s, "")
	if len(rows) > 0 {
		b.WriteString("| field | type | needed | |\n|---|---|---|---|\n")
	}
	for _, r := range merge(rows) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.names, cell(r.typ), cell(r.need), cell(r.doc))
	}
	for _, m := range more {
		b.WriteString("\n" + m + "\n")
	}
	return b.String()
}

// rows are the fields of a struct, those of hidden structs that it embeds
// included, and what else there is to say of it.
func (p *pkg) rows(s *ast.StructLit, prefix string) (rows []row, more []string) {
	for _, e := range s.Elts {
		switch e := e.(type) {
		case *ast.EmbedDecl:
			if local, ok := e.Expr.(*ast.Ident); ok {
				r, m := p.rows(p.find(local.Name), prefix)
				rows, more = append(rows, r...), append(more, m...)
			} else {
				more = append(more, "And the fields of "+p.words(e.Expr)+".")
			}
		case *ast.Field:
			name := label(e.Label)
			switch {
			case name == "name" && prefix == "" && p.name != "tenon" || name == "component":
			case name == "out" && prefix == "":
				more = append(more, gives(e.Value))
			case strings.HasPrefix(name, "_"):
			case isFixed(e):
			default:
				rows = append(rows, p.row(e, prefix+name)...)
			}
		}
	}
	return rows, more
}

// row is a field, followed by the fields of the struct that it is.
func (p *pkg) row(f *ast.Field, name string) []row {
	own := row{"`" + name + "`", "", need(f), paragraphs(f)}
	value := f.Value
	if hidden, ok := value.(*ast.Ident); ok && strings.HasPrefix(hidden.Name, "_") {
		value = p.find(hidden.Name)
	}
	s, ok := value.(*ast.StructLit)
	if by := pattern(s); by != nil {
		inner, isStruct := by.Value.(*ast.StructLit)
		own.typ = p.words(by.Value) + ", by name"
		if !isStruct {
			return []row{own}
		}
		s, name = inner, name+".NAME"
	} else if own.typ = p.words(value); !ok {
		return []row{own}
	}
	inner, _ := p.rows(s, name+".")
	if len(inner) > 0 && own.doc == "" && pattern(value) == nil {
		return inner
	}
	return append([]row{own}, inner...)
}

// merge puts neighbours that differ in their names only into one row.
func merge(rows []row) []row {
	var out []row
	for _, r := range rows {
		if n := len(out) - 1; n >= 0 && r.doc == "" && out[n].doc == "" && out[n].typ == r.typ && out[n].need == r.need {
			out[n].names += ", " + r.names
			continue
		}
		out = append(out, r)
	}
	return out
}

// find returns the struct of a hidden field of the package.
func (p *pkg) find(name string) *ast.StructLit {
	i := slices.IndexFunc(p.fields, func(f *ast.Field) bool { return label(f.Label) == name })
	if i < 0 {
		return &ast.StructLit{}
	}
	s, _ := p.fields[i].Value.(*ast.StructLit)
	return s
}

// pattern returns the field of a struct that is nothing but [string]: value.
func pattern(x ast.Expr) *ast.Field {
	s, _ := x.(*ast.StructLit)
	if s == nil || len(s.Elts) != 1 {
		return nil
	}
	f, _ := s.Elts[0].(*ast.Field)
	if f == nil {
		return nil
	}
	if _, ok := f.Label.(*ast.ListLit); !ok {
		return nil
	}
	return f
}

// isFixed reports whether a field is given by the definition: `kind: "random"`.
func isFixed(f *ast.Field) bool {
	_, ok := f.Value.(*ast.BasicLit)
	return ok
}

func gives(x ast.Expr) string {
	s, _ := x.(*ast.StructLit)
	for _, e := range s.Elts {
		if f, ok := e.(*ast.Field); ok && label(f.Label) == "kind" {
			return "`out` is a port of kind " + source(f.Value) + "."
		}
	}
	return "`out` has a port for every entry of `outputs`."
}

// need says whether a field has to be given, or what it is otherwise.
func need(f *ast.Field) string {
	if f.Constraint == token.NOT {
		return "yes"
	}
	if f.Constraint == token.OPTION {
		return "no"
	}
	if d := defaultOf(f.Value); d != nil {
		return "`" + source(d) + "`"
	}
	switch x := f.Value.(type) {
	case *ast.StructLit:
		return "no"
	case *ast.ListLit:
		return map[bool]string{true: "no", false: "yes"}[len(x.Elts) == 1]
	case *ast.BinaryExpr:
		if _, ok := x.Y.(*ast.StructLit); ok {
			return "no"
		}
	case *ast.Ident:
		if strings.HasPrefix(x.Name, "_") {
			return "no"
		}
	}
	return "yes"
}

func defaultOf(x ast.Expr) ast.Expr {
	switch x := x.(type) {
	case *ast.UnaryExpr:
		if x.Op == token.MUL {
			return x.X
		}
	case *ast.BinaryExpr:
		if x.Op == token.OR {
			return defaultOf(x.X)
		}
	}
	return nil
}

var comparison = map[token.Token]string{token.GTR: "more than ", token.GEQ: "at least ", token.LSS: "less than ", token.LEQ: "at most "}

var enumeration = regexp.MustCompile(`^"\^\(([a-z_|]+)\)\$"$`)

// words says what values an expression allows.
func (p *pkg) words(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		if strings.HasPrefix(x.Name, "#") {
			return link(p.name, x.Name)
		}
		return map[string]string{"string": "text", "bool": "true or false", "int": "whole number"}[x.Name] + map[bool]string{true: x.Name}[x.Name == "number"]
	case *ast.SelectorExpr:
		return link(x.X.(*ast.Ident).Name, label(x.Sel))
	case *ast.BasicLit:
		return "`" + source(x) + "`"
	case *ast.UnaryExpr:
		if m := enumeration.FindStringSubmatch(source(x.X)); m != nil {
			return "`\"" + strings.ReplaceAll(m[1], "|", "\"`, `\"") + "\"`"
		}
		if x.Op == token.MAT {
			return "text that matches `" + strings.Trim(source(x.X), `"`) + "`"
		}
		return comparison[x.Op] + source(x.X)
	case *ast.BinaryExpr:
		if x.Op == token.OR && defaultOf(x.X) != nil {
			if lit, ok := x.Y.(*ast.BasicLit); ok {
				return p.words(defaultOf(x.X)) + " or " + p.words(lit)
			}
			return p.words(x.Y)
		}
		if s, ok := x.Y.(*ast.StructLit); ok {
			rows, _ := p.rows(s, "")
			return fmt.Sprintf("%s; %s is by default %s", p.words(x.X), rows[0].names, rows[0].need)
		}
		return p.words(x.X) + ", " + p.words(x.Y)
	case *ast.ListLit:
		if len(x.Elts) > 1 {
			return "list of at least one " + p.words(x.Elts[0])
		}
		return "list of " + p.words(x.Elts[0].(*ast.Ellipsis).Type)
	}
	return "struct"
}

// link is a link to the section of a definition.
func link(pkg, def string) string {
	return fmt.Sprintf("[`%s`](#%s)", pkg+"."+def, strings.ToLower(pkg+strings.TrimPrefix(def, "#")))
}

func label(l ast.Node) string {
	if ident, ok := l.(*ast.Ident); ok {
		return ident.Name
	}
	return ""
}

// source is how an expression is written.
func source(x ast.Expr) string {
	b, err := format.Node(x)
	if err != nil {
		return ""
	}
	return string(b)
}

// paragraphs is the comment of a node, one line per paragraph.
func paragraphs(n ast.Node) string {
	var out []string
	for _, g := range ast.Comments(n) {
		for para := range strings.SplitSeq(g.Text(), "\n\n") {
			out = append(out, strings.Join(strings.Fields(para), " "))
		}
	}
	return strings.Join(out, "\n\n")
}

// cell is text as it can stand in a table.
func cell(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\n", " "), "|", `\|`)
}
