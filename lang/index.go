package lang

import (
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"

	"github.com/tenon-ml/tenon/internal/diag"
)

// A decl is one place where the user's files give a field a value.
type decl struct {
	label ast.Label // nil for an item of a list
	value ast.Expr
	// def is the innermost library definition written around the field, such as
	// `train.#SKLearn & {`, and rel the field's path below it.
	def *ast.SelectorExpr
	rel []string
}

// place returns the label, or the item of a list.
func (d decl) place() ast.Node {
	if d.label == nil {
		return d.value
	}
	return d.label
}

// index maps the path of a field from the root, such as "models.late.params.max_iter", to
// the places where it is written. An item of a list has its number as a name. Fields that
// come from the user's own definitions are left out, and those of comprehensions, see [made].
type index map[string][]decl

func indexFiles(files []*ast.File) index {
	ix := index{}
	for _, f := range files {
		ix.addDecls(f.Decls, "", nil, nil)
	}
	return ix
}

func (ix index) addDecls(decls []ast.Decl, path string, def *ast.SelectorExpr, rel []string) {
	for _, d := range decls {
		switch d := d.(type) {
		case *ast.Field:
			name, _, err := ast.LabelName(d.Label)
			if err != nil {
				continue
			}
			p := name
			if path != "" {
				p = path + "." + name
			}
			r := append(rel[:len(rel):len(rel)], name)
			ix[p] = append(ix[p], decl{d.Label, d.Value, def, r})
			ix.addExpr(d.Value, p, def, r)
		case *ast.EmbedDecl:
			ix.addExpr(d.Expr, path, def, rel)
		}
	}
}

func (ix index) addExpr(e ast.Expr, path string, def *ast.SelectorExpr, rel []string) {
	var sels []*ast.SelectorExpr
	var structs []*ast.StructLit
	parts(e, &sels, &structs)
	for _, sel := range sels {
		if _, ok := sel.X.(*ast.Ident); ok && strings.HasPrefix(selName(sel), "#") {
			def, rel = sel, nil
		}
	}
	for _, s := range structs {
		ix.addDecls(s.Elts, path, def, rel)
	}
	if l, ok := e.(*ast.ListLit); ok {
		for i, x := range l.Elts {
			ix.addExpr(x, path, def, rel)
			if item := path + "." + strconv.Itoa(i); path != "" {
				ix[item] = append(ix[item], decl{nil, x, def, rel})
				ix.addExpr(x, item, def, rel)
			}
		}
	}
}

// parts splits the operands of `&`.
func parts(e ast.Expr, sels *[]*ast.SelectorExpr, structs *[]*ast.StructLit) {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		if e.Op == token.AND {
			parts(e.X, sels, structs)
			parts(e.Y, sels, structs)
		}
	case *ast.ParenExpr:
		parts(e.X, sels, structs)
	case *ast.SelectorExpr:
		*sels = append(*sels, e)
	case *ast.StructLit:
		*structs = append(*structs, e)
	}
}

func selName(e *ast.SelectorExpr) string {
	name, _, err := ast.LabelName(e.Sel)
	if err != nil {
		return ""
	}
	return name
}

// selectorPath returns the names in `a.b.c`, or nil for anything else.
func selectorPath(e ast.Expr) []string {
	switch e := e.(type) {
	case *ast.Ident:
		return []string{e.Name}
	case *ast.SelectorExpr:
		if base := selectorPath(e.X); base != nil {
			return append(base, selName(e))
		}
	case *ast.IndexExpr:
		if base := selectorPath(e.X); base != nil {
			if lit, ok := e.Index.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				return append(base, strings.Trim(lit.Value, `"`))
			}
		}
	}
	return nil
}

func (s *System) decls() index {
	s.indexOnce.Do(func() { s.index = indexFiles(s.syntax) })
	return s.index
}

// Label returns the place of a field's name, by the field's path from the root. If the
// field is not written, it returns the place of the nearest parent that is.
func (s *System) Label(label string, path ...string) diag.Span {
	return s.span(label, path, decl.place)
}

// At returns the place of a field's value, like [System.Label].
func (s *System) At(label string, path ...string) diag.Span {
	return s.span(label, path, func(d decl) ast.Node { return d.value })
}

func (s *System) span(label string, path []string, node func(decl) ast.Node) diag.Span {
	for n := len(path); n > 0; n-- {
		var d decl
		if ds := s.decls()[strings.Join(path[:n], ".")]; len(ds) > 0 {
			d = ds[len(ds)-1]
		} else if m := s.made(path[:n]); m != nil {
			d = *m
		} else {
			continue
		}
		if n < len(path) {
			return diag.Span{Pos: s.Pos(d.place().Pos()), Label: label}
		}
		return s.nodeSpan(node(d), label)
	}
	v := s.Value
	if len(path) > 0 {
		v = s.Lookup(path...)
	}
	return diag.Span{Pos: s.Pos(v.Pos()), Label: label}
}

// nodeSpan covers a node on a single line, or the first token of a longer one.
func (s *System) nodeSpan(n ast.Node, label string) diag.Span {
	sp := diag.Span{Pos: s.Pos(n.Pos()), Label: label}
	if end := s.Pos(n.End()); end.Line == sp.Line && end.Col > sp.Col {
		sp.Len = end.Col - sp.Col
	}
	return sp
}

// Written reports whether the user's files give the field a value.
func (s *System) Written(path ...string) bool {
	return len(s.decls()[strings.Join(path, ".")]) > 0
}

// Lookup returns the value at a path of plain names.
func (s *System) Lookup(path ...string) cue.Value {
	v := s.Value
	if len(path) >= 2 {
		if e, ok := s.entities[path[0]][path[1]]; ok {
			v, path = e, path[2:]
		}
	}
	sels := make([]cue.Selector, len(path))
	for i, p := range path {
		if strings.HasPrefix(p, "#") {
			sels[i] = cue.Def(p)
		} else {
			sels[i] = cue.Str(p)
		}
	}
	return v.LookupPath(cue.MakePath(sels...))
}

// Reference returns the path to which a field's value refers, as written: "in: c:
// sources.customers.out & {...}" at features.basic.in.c gives sources, customers, out. It
// is nil if the value is not a reference.
func (s *System) Reference(path ...string) ([]string, diag.Span) {
	for _, d := range s.decls()[strings.Join(path, ".")] {
		var sels []*ast.SelectorExpr
		var structs []*ast.StructLit
		parts(d.value, &sels, &structs)
		for _, sel := range sels {
			if p := selectorPath(sel); p != nil && !strings.HasPrefix(p[len(p)-1], "#") {
				return p, s.nodeSpan(sel, "")
			}
		}
	}
	return nil, diag.Span{}
}

// Reads returns the entities that an entity reads according to the source, as
// "section/name".
func (s *System) Reads(section, name string) []string {
	var ids []string
	prefix := section + "." + name + "."
	for key := range s.decls() {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		p := strings.Split(key, ".")
		if n := portIn(p); n == len(p) && p[2] != "on" {
			if ref, _ := s.Reference(p...); len(ref) >= 2 {
				ids = append(ids, ref[0]+"/"+ref[1])
			}
		}
	}
	return ids
}

// Column returns the place where a column of an entity's table is declared, following
// references to columns of other entities.
func (s *System) Column(section, entity, column string) (diag.Span, bool) {
	path := []string{section, entity, "schema", column}
	for range 32 {
		if !s.Written(path...) {
			return diag.Span{}, false
		}
		ref, _ := s.Reference(path...)
		next := s.follow(path, ref)
		if next == nil || !s.Written(next...) {
			return s.At("", path...), true
		}
		path = next
	}
	return diag.Span{}, false
}

// follow resolves the reference of a column, as written inside an entity, to the path of
// the column: `in.c.schema.age` through `in: c: sources.x.out`.
func (s *System) follow(at, ref []string) []string {
	switch {
	case len(ref) == 4 && ref[0] == "in" && ref[2] == "schema":
		port, _ := s.Reference(at[0], at[1], "in", ref[1])
		if len(port) >= 2 {
			return []string{port[0], port[1], "schema", ref[3]}
		}
	case len(ref) == 4 && ref[2] == "schema":
		return ref
	case len(ref) == 5 && ref[2] == "out" && ref[3] == "schema":
		return []string{ref[0], ref[1], "schema", ref[4]}
	case len(ref) == 3 && ref[1] == "schema": // of the same entity: flights.schema.origin
		return []string{at[0], ref[0], "schema", ref[2]}
	}
	return nil
}

// Literal returns the string literal of a field, or nil.
func (s *System) Literal(path ...string) *ast.BasicLit {
	for _, d := range s.decls()[strings.Join(path, ".")] {
		if lit, ok := d.value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			return lit
		}
	}
	if d := s.made(path); d != nil {
		if lit, ok := d.value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			return lit
		}
	}
	return nil
}
