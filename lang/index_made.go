package lang

import (
	"strconv"
	"strings"

	"cuelang.org/go/cue/ast"
)

// A made is a place where the user's files give a value to fields whose names or existence
// are computed: in a comprehension, or with a label such as "late_\(airport)".
type made struct {
	decl
	names []name
}

// A name is that of a field. If it is computed, only its beginning and its end are known.
type name struct {
	start, end string
	computed   bool
}

func (n name) matches(s string) bool {
	if !n.computed {
		return s == n.start
	}
	return len(s) >= len(n.start)+len(n.end) && strings.HasPrefix(s, n.start) && strings.HasSuffix(s, n.end)
}

// A madeIndex has these places by the number of names in their paths.
type madeIndex map[int][]made

func indexMade(files []*ast.File) madeIndex {
	ix := madeIndex{}
	for _, f := range files {
		ix.addDecls(f.Decls, nil, false)
	}
	return ix
}

func (ix madeIndex) addDecls(decls []ast.Decl, path []name, computed bool) {
	for _, d := range decls {
		switch d := d.(type) {
		case *ast.Field:
			n, ok := nameOf(d.Label)
			if !ok {
				continue
			}
			p, c := append(path[:len(path):len(path)], n), computed || n.computed
			if c {
				ix[len(p)] = append(ix[len(p)], made{decl{label: d.Label, value: d.Value}, p})
			}
			ix.addExpr(d.Value, p, c)
		case *ast.EmbedDecl:
			ix.addExpr(d.Expr, path, computed)
		case *ast.Comprehension:
			ix.addExpr(d.Value, path, true)
		}
	}
}

func (ix madeIndex) addExpr(e ast.Node, path []name, computed bool) {
	expr, ok := e.(ast.Expr)
	if !ok {
		return
	}
	var sels []*ast.SelectorExpr
	var structs []*ast.StructLit
	parts(expr, &sels, &structs)
	for _, s := range structs {
		ix.addDecls(s.Elts, path, computed)
	}
	if l, ok := expr.(*ast.ListLit); ok && computed {
		for i, x := range l.Elts {
			p := append(path[:len(path):len(path)], name{start: strconv.Itoa(i)})
			ix[len(p)] = append(ix[len(p)], made{decl{value: x}, p})
			ix.addExpr(x, p, computed)
		}
	}
}

// nameOf returns the name that a label gives. It returns false for a pattern such as [string].
func nameOf(l ast.Label) (name, bool) {
	if s, _, err := ast.LabelName(l); err == nil {
		return name{start: s}, true
	}
	n := name{computed: true}
	switch l := l.(type) {
	case *ast.ParenExpr:
		return n, true
	case *ast.Interpolation:
		if first, ok := l.Elts[0].(*ast.BasicLit); ok {
			n.start = strings.TrimSuffix(strings.TrimPrefix(first.Value, `"`), `\(`)
		}
		if last, ok := l.Elts[len(l.Elts)-1].(*ast.BasicLit); ok {
			n.end = strings.TrimSuffix(strings.TrimPrefix(last.Value, `)`), `"`)
		}
		return n, true
	}
	return n, false
}

// made returns where a field is written whose name or existence is computed. It is nil if
// there is no such place, or several that may be meant.
func (s *System) made(path []string) *decl {
	s.madeOnce.Do(func() { s.madeIndex = indexMade(s.syntax) })
	var best *made
	var known int
	var several bool
	for i := range s.madeIndex[len(path)] {
		m := &s.madeIndex[len(path)][i]
		n := 0
		for j, name := range m.names {
			if !name.matches(path[j]) {
				n = -1
				break
			}
			if n += len(name.start) + len(name.end); !name.computed {
				n += 1000 // a name that is written says more than any part of one
			}
		}
		switch {
		case n < 0 || best != nil && n < known:
		case best != nil && n == known:
			several = true
		default:
			best, known, several = m, n, false
		}
	}
	if best == nil || several {
		return nil
	}
	return &best.decl
}
