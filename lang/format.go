package lang

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"
	"github.com/cockroachdb/apd/v3"
)

// errFormat is the error for a file that CUE's formatter would damage.
var errFormat = errors.New("CUE's formatter would change what it means, so it stays unchanged; " +
	"move comments out of expressions and parentheses, each to a line of its own before the field")

// Format returns the source of a file in the standard layout. The result parses, formats
// to itself, and has the same syntax and comments as the source; a file for which CUE's
// formatter does not achieve this is an error. Syntax errors are a [diag.List].
func Format(file string, src []byte) ([]byte, error) {
	tree, err := parser.ParseFile(file, src, parser.ParseComments)
	if err != nil {
		return nil, syntaxFaults(file, err)
	}
	want := meaning(tree)
	const passes = 5 // a comment may need a second one
	for range passes {
		separateImports(tree)
		out, err := formatted(tree)
		if err != nil {
			return nil, fmt.Errorf("format %s: %w", file, err)
		}
		if tree, err = parser.ParseFile(file, out, parser.ParseComments); err != nil || meaning(tree) != want {
			return nil, fmt.Errorf("format %s: %w", file, errFormat)
		}
		if bytes.Equal(src, out) {
			return out, nil
		}
		src = out
	}
	return nil, fmt.Errorf("format %s: %w", file, errFormat)
}

// formatted turns a panic of CUE's formatter, such as that of cue v0.17.1 for
// "A.\nA()&{}", into an error.
func formatted(f *ast.File) (out []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("CUE's formatter fails, so it stays unchanged: %v; format the file by parts to find the expression", r)
		}
	}()
	return format.Node(f)
}

// separateImports puts each of several imports on a line of its own: CUE's formatter omits
// the comma between two on one line.
func separateImports(f *ast.File) {
	for _, d := range f.Decls {
		d, ok := d.(*ast.ImportDecl)
		if !ok || len(d.Specs) < 2 {
			continue
		}
		for _, s := range d.Specs {
			switch pos := s.Pos(); {
			case pos.RelPos() >= token.Newline:
			case s.Name != nil:
				s.Name.NamePos = pos.WithRel(token.Newline)
			default:
				s.Path.ValuePos = pos.WithRel(token.Newline)
			}
		}
		d.Rparen = d.Rparen.WithRel(token.Newline)
	}
}

// meaning returns a text that is equal for two files only if they differ at most in their
// layout.
func meaning(f *ast.File) string {
	m := &meaningOf{}
	m.write(reflect.ValueOf(f.Decls))
	ast.Walk(f, func(n ast.Node) bool {
		for _, g := range ast.Comments(n) {
			m.comment(g)
		}
		if g, ok := n.(*ast.CommentGroup); ok { // one on its own
			m.comment(g)
		}
		return true
	}, nil)
	slices.Sort(m.comments) // a comment may move to the line above
	return m.text.String() + strings.Join(m.comments, "\n")
}

type meaningOf struct {
	text     strings.Builder
	comments []string
}

func (m *meaningOf) comment(g *ast.CommentGroup) {
	for _, c := range g.List {
		m.comments = append(m.comments, strings.TrimSpace(c.Text))
	}
}

// write writes a node and what is below it. Reflection misses no field of a later version
// of CUE.
func (m *meaningOf) write(v reflect.Value) {
	switch x := v.Interface().(type) {
	case token.Pos, *ast.CommentGroup:
		return
	case *ast.BasicLit:
		if x != nil {
			m.literal(x.Kind, x.Value, x.Value, x.Value)
		}
		return
	case *ast.Interpolation:
		m.interpolation(x)
		return
	case *ast.Ident:
		if x != nil {
			fmt.Fprintf(&m.text, "%q ", x.Name)
		}
		return
	}
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			m.text.WriteString("- ")
			return
		}
		m.write(v.Elem())
	case reflect.Slice:
		m.text.WriteString("[")
		for i := range v.Len() {
			m.write(v.Index(i))
		}
		m.text.WriteString("] ")
	case reflect.Struct:
		fmt.Fprintf(&m.text, "%s{", v.Type().Name())
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				m.write(v.Field(i))
			}
		}
		m.text.WriteString("}\n")
	default:
		fmt.Fprintf(&m.text, "%v ", v.Interface())
	}
}

// literal writes the value of a literal, or of a part of an interpolation, with the
// quotes of first and last.
func (m *meaningOf) literal(kind token.Token, text, first, last string) {
	if kind == token.STRING {
		info, n, _, err := literal.ParseQuotes(first, last)
		if err == nil && text == first {
			text, err = info.Unquote(text[n:])
		} else if err == nil {
			text, err = info.Unquote(text[1:]) // after the parenthesis
		}
		if err == nil {
			fmt.Fprintf(&m.text, "%t%q ", info.IsDouble(), text)
			return
		}
	}
	var number literal.NumInfo
	var value apd.Decimal
	if (kind == token.INT || kind == token.FLOAT) && literal.ParseNum(text, &number) == nil && number.Decimal(&value) == nil {
		value.Reduce(&value)
		text = value.String() // .5 becomes 0.5
	}
	fmt.Fprintf(&m.text, "%s%q ", kind, text)
}

func (m *meaningOf) interpolation(x *ast.Interpolation) {
	if x == nil {
		return
	}
	m.text.WriteString("interpolation{")
	first, last := x.Quotes()
	for i, e := range x.Elts {
		if lit, ok := e.(*ast.BasicLit); ok && i%2 == 0 {
			m.literal(token.STRING, lit.Value, first.Value, last.Value)
			continue
		}
		m.write(reflect.ValueOf(&x.Elts[i]).Elem())
	}
	m.text.WriteString("}\n")
}
