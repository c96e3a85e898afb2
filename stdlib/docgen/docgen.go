// Package docgen writes the reference of the standard library, docs/library.md,
// from the CUE itself: the comments of its definitions and their fields.
//
// The input is the file tree of the module, the result Markdown. It reads the syntax
// only and evaluates nothing, and it only knows the CUE that the library uses.
// The test beside it keeps the page up to date.
package docgen

import (
	"cmp"
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

Generated from the comments in the definitions below ` + "`stdlib`" + `: change them there, and rewrite this page with
` + "`TENON_UPDATE=1 go test ./stdlib/docgen`" + `. How the pieces fit together is said in [language.md](language.md).

A package is imported as ` + "`tenon.dev/NAME`" + `. In the column *needed*, **yes** is a field that has to be given, *no* one that
may be left out, and anything else is the default. An entity takes its name from its place, ` + "`sources: NAME: ...`" + `, so
` + "`name`" + ` is not listed; neither is what a definition fixes by itself.
`

var (
	portKind    = regexp.MustCompile(`\bkind: +"([a-z])([a-z]+)"`)
	byDefault   = regexp.MustCompile(`^\*\(\*(".*?"|\[.*?\]|\S+) \|`) // the x of *(*x | y) | x
	enumeration = regexp.MustCompile(`^"\^\(([a-z_|]+)\)\$"$`)
	basic       = map[string]string{"string": "text", "bool": "true or false", "int": "whole number", "number": "number"}
	comparison  = map[token.Token]string{token.GTR: "more than ", token.GEQ: "at least ", token.LSS: "less than ", token.LEQ: "at most "}
)

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
	key := func(file string) string { // what a package shares comes first
		return strings.Replace(file, "/"+path.Dir(file)+".cue", "/", 1)
	}
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(key(a), key(b)) })
	var pkgs []*pkg
	for _, file := range files {
		if n := len(pkgs); n == 0 || pkgs[n-1].name != path.Dir(file) {
			pkgs = append(pkgs, &pkg{name: path.Dir(file)})
		}
		src, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, err
		}
		f, err := parser.ParseFile(file, src, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		p := pkgs[len(pkgs)-1]
		for _, d := range f.Decls {
			if clause, ok := d.(*ast.Package); ok {
				p.doc = cmp.Or(p.doc, comment(clause))
			} else if field, ok := d.(*ast.Field); ok {
				p.fields = append(p.fields, field)
			}
		}
	}
	pkgs = slices.DeleteFunc(pkgs, func(p *pkg) bool { return p.doc == "" }) // cue.mod
	var b, sections strings.Builder
	b.WriteString(intro + "\n| package | it |\n|---|---|\n")
	for _, p := range pkgs {
		first, _, _ := strings.Cut(strings.TrimPrefix(p.doc, "Package "+p.name+" "), ". ")
		fmt.Fprintf(&b, "| [`%s`](#%[1]s) | %s |\n", p.name, cell(strings.TrimSuffix(first, ".")))
		p.write(&sections)
	}
	return []byte(b.String() + sections.String()), nil
}

// write writes the definitions of a package. One without a comment and with the
// same fields as the one before shares its section.
func (p *pkg) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n", p.name, p.doc)
	for i := 0; i < len(p.fields); i++ {
		f := p.fields[i]
		if !strings.HasPrefix(name(f.Label), "#") {
			continue
		}
		doc, body, names := comment(f), p.body(f), "`"+p.name+"."+name(f.Label)+"`"
		for i+1 < len(p.fields) && comment(p.fields[i+1]) == "" && p.body(p.fields[i+1]) == body {
			i++
			names += ", `" + p.name + "." + name(p.fields[i].Label) + "`"
		}
		fmt.Fprintf(b, "\n### %s\n\n%s\n\n%s\n", names, doc, strings.TrimSpace(body))
	}
}

// body is the section of a definition without its heading and comment.
func (p *pkg) body(f *ast.Field) string {
	s, ok := f.Value.(*ast.StructLit)
	if !ok {
		return "It is a " + p.words(f.Value) + "." // a duration, a size
	}
	rows, more := p.rows(s, "")
	if len(rows) == 0 {
		return strings.Join(more, " ")
	}
	var b strings.Builder
	b.WriteString("| field | type | needed | |\n|---|---|---|---|\n")
	for i := 0; i < len(rows); i++ {
		r := rows[i]
		// Neighbours that differ in nothing but their names share a row.
		for i+1 < len(rows) && (row{rows[i+1].names, r.typ, r.need, r.doc}) == rows[i+1] {
			i++
			r.names += ", " + rows[i].names
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.names, cell(r.typ), cell(r.need), cell(r.doc))
	}
	return b.String() + "\n" + strings.Join(more, " ")
}

// rows are the fields of a struct, with those of the definitions of its package
// that it embeds, and sentences on what else there is.
func (p *pkg) rows(s *ast.StructLit, prefix string) (rows []row, more []string) {
	for _, e := range s.Elts {
		switch e := e.(type) {
		case *ast.EmbedDecl:
			if _, literal := e.Expr.(*ast.StructLit); literal {
				continue // see [follows]
			}
			if own := p.own(e.Expr); own != nil {
				r, m := p.rows(own, prefix)
				rows, more = append(rows, r...), append(more, m...)
			} else {
				more = append(more, "It has the fields of "+p.words(e.Expr)+" too.")
			}
		case *ast.Field:
			_, fixed := e.Value.(*ast.BasicLit)
			_, plain := e.Value.(*ast.Ident)
			if n := prefix + name(e.Label); n == "out" {
				more = append(more, gives(source(e.Value)))
			} else if !fixed && !(plain && n == "name") {
				own := p.row(e, n)
				if follows(s, name(e.Label)) {
					own[0].need = "no"
				}
				rows = append(rows, own...)
			}
		}
	}
	return rows, more
}

// follows reports whether a struct gives a field its value under conditions, or in a struct that it embeds.
func follows(s *ast.StructLit, field string) bool {
	return slices.ContainsFunc(s.Elts, func(d ast.Decl) bool {
		var given *ast.StructLit
		switch d := d.(type) {
		case *ast.Comprehension:
			given, _ = d.Value.(*ast.StructLit)
		case *ast.EmbedDecl:
			given, _ = d.Expr.(*ast.StructLit)
		}
		return given != nil && slices.ContainsFunc(given.Elts, func(d ast.Decl) bool {
			f, _ := d.(*ast.Field)
			return f != nil && name(f.Label) == field
		})
	})
}

// row is a field, followed by the fields of the struct that it is.
func (p *pkg) row(f *ast.Field, path string) []row {
	own := row{"`" + path + "`", p.words(f.Value), need(f), comment(f)}
	value := f.Value
	if by := pattern(value); by != nil {
		value, path = by.Value, path+".NAME"
	}
	s, ok := value.(*ast.StructLit)
	if !ok || slices.ContainsFunc(s.Elts, func(d ast.Decl) bool { _, open := d.(*ast.Ellipsis); return open }) {
		return []row{own}
	}
	inner, _ := p.rows(s, path+".")
	if len(inner) == 1 && inner[0].doc == "" {
		inner[0].doc, own.doc = own.doc, "" // written as in: table: ...
	}
	if own.doc == "" {
		return inner
	}
	return append([]row{own}, inner...)
}

// own returns the struct behind a definition of the package, or nil.
func (p *pkg) own(x ast.Expr) *ast.StructLit {
	ident, _ := x.(*ast.Ident)
	for _, f := range p.fields {
		if ident != nil && name(f.Label) == ident.Name {
			s, _ := f.Value.(*ast.StructLit)
			return s
		}
	}
	return nil
}

// pattern returns the field of a struct that is nothing but [string]: value.
func pattern(x ast.Expr) *ast.Field {
	if s, ok := x.(*ast.StructLit); ok && len(s.Elts) == 1 {
		if f, ok := s.Elts[0].(*ast.Field); ok && name(f.Label) == "" {
			return f
		}
	}
	return nil
}

// gives says what others can refer to.
func gives(out string) string {
	if m := portKind.FindStringSubmatch(out); m != nil {
		return "Its `out` is a " + link("tenon", "#"+strings.ToUpper(m[1])+m[2]) + "."
	}
	return "Its `out` has a port for every entry of `outputs`."
}

// need says whether a field has to be given, or what it is otherwise.
func need(f *ast.Field) string {
	text := source(f.Value)
	m := byDefault.FindStringSubmatch(text)
	switch {
	case m != nil:
		return "`" + m[1] + "`"
	case f.Constraint != token.NOT && (f.Constraint == token.OPTION || strings.ContainsAny(text, "{[_")):
		return "no"
	}
	return "**yes**"
}

// words says what values an expression allows.
func (p *pkg) words(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		if strings.HasPrefix(x.Name, "#") {
			return link(p.name, x.Name)
		}
		return cmp.Or(basic[x.Name], "struct")
	case *ast.SelectorExpr:
		return link(source(x.X), name(x.Sel))
	case *ast.BasicLit:
		return "`" + source(x) + "`"
	case *ast.UnaryExpr:
		text := source(x.X)
		if m := enumeration.FindStringSubmatch(text); m != nil {
			return "`\"" + strings.ReplaceAll(m[1], "|", "\"` or `\"") + "\"`"
		} else if x.Op == token.MAT {
			return "text that matches `" + strings.ReplaceAll(strings.Trim(text, `"`), `\\`, `\`) + "`"
		}
		if x.Op == token.NEQ && text == `""` {
			return "not empty"
		}
		return comparison[x.Op] + text
	case *ast.BinaryExpr:
		if inner := withDefault(x); inner != nil {
			return p.words(inner)
		}
		if _, choice := x.Y.(*ast.BasicLit); x.Op == token.OR && choice {
			return strings.ReplaceAll("`"+strings.TrimPrefix(strings.Join(strings.Fields(source(x)), " "), "*")+"`", " | ", "` or `")
		} else if x.Op == token.OR {
			if or, more := x.X.(*ast.BinaryExpr); more && or.Op == token.OR {
				return p.words(or) + ", or " + p.words(x.Y)
			} else if kind, ok := x.X.(*ast.Ident); ok && (basic[kind.Name] != "" || kind.Name[0] == '#') {
				return p.words(kind) + " or " + p.words(x.Y)
			}
			if u, ok := x.X.(*ast.UnaryExpr); ok && u.Op == token.MAT {
				return p.words(u) + " or " + p.words(x.Y)
			}
			return p.words(x.Y) // the rest is the default
		} else if _, more := x.Y.(*ast.StructLit); more {
			return p.words(x.X)
		}
		return p.words(x.X) + ", " + p.words(x.Y)
	case *ast.ListLit:
		of := x.Elts[len(x.Elts)-1].(*ast.Ellipsis).Type
		if of == nil {
			return "list"
		}
		return "list of " + p.words(of)
	case *ast.StructLit:
		if by := pattern(x); by != nil {
			return p.words(by.Value) + " by name"
		}
	}
	return "struct"
}

// withDefault returns the inner part of a default, `*x | y` of `*(*x | y) | x`, or nil.
func withDefault(x *ast.BinaryExpr) ast.Expr {
	if star, ok := x.X.(*ast.UnaryExpr); ok && star.Op == token.MUL {
		if paren, ok := star.X.(*ast.ParenExpr); ok {
			return paren.X
		}
	}
	return nil
}

// link links to the section of a definition.
func link(pkg, def string) string {
	return fmt.Sprintf("[`%s.%s`](#%s)", pkg, def, strings.ToLower(pkg+def[1:]))
}

// name of a field, "" if it is a pattern.
func name(l ast.Label) string {
	n, _, _ := ast.LabelName(l)
	return n
}

// source is how an expression is written.
func source(x ast.Expr) string {
	b, _ := format.Node(x) // it was parsed
	return string(b)
}

// comment is what is said of a node, a line for each paragraph. What is
// indented is code.
func comment(n ast.Node) string {
	var out []string
	for _, g := range ast.Comments(n) {
		for para := range strings.SplitSeq(g.Text(), "\n\n") {
			if strings.HasPrefix(para, "\t") {
				out = append(out, "```cue\n"+strings.TrimSpace(para)+"\n```")
			} else {
				out = append(out, strings.Join(strings.Fields(para), " "))
			}
		}
	}
	return strings.Join(out, "\n\n")
}

// cell is text as it can appear in a table.
func cell(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\n\n", " "), "|", `\|`)
}
