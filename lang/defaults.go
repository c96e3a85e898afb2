package lang

import (
	"fmt"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/token"

	"github.com/tenon-ml/tenon/internal/diag"
)

// A written default is the `x` of `*x | y` where the user's files give a field a value.
type written struct {
	expr ast.Expr
	text string
	at   diag.Span // with the mark
}

// defaults returns the defaults that the user's files give a field.
func (s *System) defaults(path []string) []written {
	var all []written
	for _, d := range s.decls()[strings.Join(path, ".")] {
		for _, u := range marked(d.value) {
			text, err := format.Node(u.X)
			if err == nil {
				all = append(all, written{u.X, string(text), s.nodeSpan(u, "")})
			}
		}
	}
	return all
}

// marked returns the alternatives with a star.
func marked(e ast.Expr) []*ast.UnaryExpr {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		return append(marked(e.X), marked(e.Y)...)
	case *ast.ParenExpr:
		return marked(e.X)
	case *ast.UnaryExpr:
		if e.Op == token.MUL {
			return []*ast.UnaryExpr{e}
		}
	}
	return nil
}

// explainIncomplete describes a field without a value: it has none, or its defaults leave it
// without one.
func (s *System) explainIncomplete(f fault) diag.Diagnostic {
	field := strings.Join(f.path, ".")
	d := diag.Diagnostic{Message: field + " has no value yet", Wanted: describe(f.arg(0)), Spans: s.spans(f, "")}
	for _, p := range f.lib {
		d.Spans = append(d.Spans, diag.Span{Pos: p})
	}
	if !s.Written(f.path...) {
		return d
	}
	d.Spans = []diag.Span{s.At("", f.path...)}
	all := s.defaults(f.path)
	if len(all) == 0 {
		ref, at := s.Reference(f.path...)
		if v, ok := s.Lookup(ref...).Default(); len(ref) > 1 && ok && v.IsConcrete() {
			at.Label = "this passes on a default, which conflicts with that of the field"
			d.Spans, d.Wanted = []diag.Span{at}, ""
			d.Hint = fmt.Sprintf("make it the default of the field: `*%s | _`", strings.Join(ref, "."))
		}
		return d
	}
	for _, w := range all {
		if faults := s.notAllowed(f.path, w.expr); len(faults) > 0 {
			w.at.Label = "this default is not allowed"
			return diag.Diagnostic{
				Message: fmt.Sprintf("%s cannot be %s", field, w.text),
				Wanted:  describe(faults[len(faults)-1].arg(1)), Found: w.text, Spans: []diag.Span{w.at},
			}
		}
	}
	d.Wanted, d.Spans = "", nil
	if all[0].text != all[len(all)-1].text {
		d.Message = field + " has two defaults"
		d.Hint = "keep one of them, or write a value without `*`"
		for _, w := range all {
			d.Spans = append(d.Spans, w.at)
		}
		return d
	}
	all[0].at.Label = "this default conflicts with that of a definition"
	d.Spans = []diag.Span{all[0].at}
	d.Hint = "a definition lets others change its default if it is written as `*(*x | y) | x`; or write a value without `*`"
	return d
}

// notAllowed returns why a field cannot have a literal.
func (s *System) notAllowed(path []string, e ast.Expr) []fault {
	if _, ok := e.(*ast.BasicLit); !ok {
		if u, ok := e.(*ast.UnaryExpr); !ok || u.Op != token.SUB {
			return nil
		}
	}
	v := s.Lookup(path...)
	return causes(s.takeApart(v.Unify(s.cue.BuildExpr(e)).Err()), "")
}
