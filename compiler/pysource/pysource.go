// Package pysource reads Python source files without running them: their syntax errors,
// what they define, and what they import.
package pysource

import (
	"fmt"
	"strings"

	sitter "github.com/tree-sitter/go-tree-sitter"
	python "github.com/tree-sitter/tree-sitter-python/bindings/go"
)

// A Pos is a place in a file. Line and column count from 1, the column in bytes.
type Pos struct{ Line, Col int }

// A Module is what a file says about itself.
type Module struct {
	// Invalid is where the file is not Python 3, or nil.
	Invalid *Pos
	// Why says what is wrong there, if that is known.
	Why string
	// Names are bound at the top level, by whatever statement.
	Names map[string]Pos
	// Functions are those that the top level defines once, without decorators.
	Functions map[string]Function
	// Open means that it may have further names: it imports "*", or changes its own names.
	Open bool
	// Imports are the modules that it imports at its top level, not below if or try.
	Imports []Import
}

// An Import is a module that is imported, without what follows a dot in its name.
type Import struct {
	Module string
	Pos    Pos
}

// A Function is the signature of a function.
type Function struct {
	Pos    Pos
	Params []Param
}

// A Param is a parameter of a function.
type Param struct {
	Name     string
	Kind     Kind
	Optional bool
}

// A Kind says how a parameter gets its value.
type Kind int

// The kinds of parameters.
const (
	Normal     Kind = iota // by position or by name
	Positional             // by position only
	Keyword                // by name only
	Rest                   // *args
	RestByName             // **kwargs
)

// Parse reads a file.
func Parse(source []byte) (Module, error) {
	p := sitter.NewParser()
	defer p.Close()
	if err := p.SetLanguage(sitter.NewLanguage(python.Language())); err != nil {
		return Module{}, fmt.Errorf("parse Python: %w", err)
	}
	tree := p.Parse(source, nil)
	if tree == nil {
		return Module{}, fmt.Errorf("parse Python: the parser gave up")
	}
	defer tree.Close()
	r := reader{source: source, module: Module{Names: map[string]Pos{}, Functions: map[string]Function{}}, bound: map[string]int{}}
	root := tree.RootNode()
	if n := invalid(root); n != nil {
		if b, why := r.brackets(root); b != nil {
			n, r.module.Why = b, why
		}
		at := r.pos(n)
		r.module.Invalid = &at
		return r.module, nil
	}
	r.block(root, true)
	r.changes(root)
	for name, n := range r.bound {
		if n > 1 {
			delete(r.module.Functions, name)
		}
	}
	return r.module, nil
}

// invalid returns the first node that is not valid, or is only valid in Python 2.
func invalid(n *sitter.Node) *sitter.Node {
	switch {
	case n.IsError() || n.IsMissing():
		return n
	case n.Kind() == "print_statement" || n.Kind() == "exec_statement":
		return n
	}
	for i := range n.ChildCount() {
		if bad := invalid(n.Child(i)); bad != nil {
			return bad
		}
	}
	return nil
}

type reader struct {
	source []byte
	module Module
	bound  map[string]int // how often each name is bound
}

func (r *reader) text(n *sitter.Node) string { return n.Utf8Text(r.source) }

func (r *reader) pos(n *sitter.Node) Pos {
	at := n.StartPosition()
	return Pos{Line: int(at.Row) + 1, Col: int(at.Column) + 1}
}

func (r *reader) bind(n *sitter.Node) {
	if n == nil {
		return
	}
	if n.Kind() == "identifier" {
		name := r.text(n)
		if r.bound[name]++; r.bound[name] == 1 {
			r.module.Names[name] = r.pos(n)
		}
		return
	}
	switch n.Kind() {
	case "attribute", "subscript", "call":
		return
	}
	for i := range n.NamedChildCount() {
		r.bind(n.NamedChild(i))
	}
}

// block reads statements of the top level. always means that they are executed whatever
// happens.
func (r *reader) block(n *sitter.Node, always bool) {
	for i := range n.NamedChildCount() {
		r.statement(n.NamedChild(i), always)
	}
}

func (r *reader) statement(n *sitter.Node, always bool) {
	switch n.Kind() {
	case "function_definition":
		r.function(n)
	case "class_definition":
		r.bind(n.ChildByFieldName("name"))
	case "decorated_definition":
		if d := n.ChildByFieldName("definition"); d != nil {
			r.bind(d.ChildByFieldName("name"))
		}
	case "import_statement", "import_from_statement", "future_import_statement":
		r.imports(n, always)
	case "assignment", "augmented_assignment", "named_expression", "for_in_clause":
		r.bind(n.ChildByFieldName("left"))
		r.bind(n.ChildByFieldName("name"))
		r.nested(n)
	case "for_statement":
		r.bind(n.ChildByFieldName("left"))
		r.nested(n)
	case "as_pattern_target":
		r.bind(n)
	case "type_alias_statement":
		r.bind(n.ChildByFieldName("left"))
	case "case_pattern", "lambda", "list_comprehension", "set_comprehension", "dictionary_comprehension", "generator_expression":
		if n.Kind() == "case_pattern" {
			r.bind(n)
		}
	case "expression_statement":
		r.block(n, always)
	default:
		r.nested(n)
	}
}

func (r *reader) nested(n *sitter.Node) { r.block(n, false) }

func (r *reader) imports(n *sitter.Node, always bool) {
	if from := n.ChildByFieldName("module_name"); from != nil {
		if from.Kind() == "dotted_name" {
			r.imported(from, always)
		}
	}
	for i := range n.NamedChildCount() {
		c := n.NamedChild(i)
		switch c.Kind() {
		case "wildcard_import":
			r.module.Open = true
		case "aliased_import":
			if n.Kind() == "import_statement" {
				r.imported(c.ChildByFieldName("name"), always)
			}
			r.bind(c.ChildByFieldName("alias"))
		case "dotted_name":
			if from := n.ChildByFieldName("module_name"); from != nil && from.StartByte() == c.StartByte() {
				continue
			}
			if n.Kind() == "import_statement" {
				r.imported(c, always)
			}
			r.bind(c.NamedChild(0))
		}
	}
}

func (r *reader) imported(name *sitter.Node, always bool) {
	if name != nil && always {
		first, _, _ := strings.Cut(r.text(name), ".")
		r.module.Imports = append(r.module.Imports, Import{first, r.pos(name)})
	}
}

func (r *reader) function(n *sitter.Node) {
	name := n.ChildByFieldName("name")
	r.bind(name)
	f := Function{Pos: r.pos(name)}
	params := n.ChildByFieldName("parameters")
	keyword := false
	for i := range params.NamedChildCount() {
		p := params.NamedChild(i)
		if p.Kind() == "comment" {
			continue
		}
		if p.Kind() == "keyword_separator" {
			keyword = true
			continue
		}
		if p.Kind() == "positional_separator" {
			for j := range f.Params {
				f.Params[j].Kind = Positional
			}
			continue
		}
		param, ok := r.param(p)
		if !ok {
			return // not understood: nothing is said of its parameters
		}
		if param.Kind == Normal && keyword {
			param.Kind = Keyword
		}
		keyword = keyword || param.Kind == Rest
		f.Params = append(f.Params, param)
	}
	if r.text(name) == "__getattr__" {
		r.module.Open = true
	}
	r.module.Functions[r.text(name)] = f
}

func (r *reader) param(n *sitter.Node) (Param, bool) {
	switch n.Kind() {
	case "identifier":
		return Param{Name: r.text(n)}, true
	case "typed_parameter":
		return r.param(n.NamedChild(0))
	case "default_parameter", "typed_default_parameter":
		return Param{Name: r.text(n.ChildByFieldName("name")), Optional: true}, true
	case "list_splat_pattern":
		return Param{Name: r.text(n.NamedChild(0)), Kind: Rest, Optional: true}, true
	case "dictionary_splat_pattern":
		return Param{Name: r.text(n.NamedChild(0)), Kind: RestByName, Optional: true}, true
	}
	return Param{}, false
}

// changes finds what may bind names of the module out of sight.
func (r *reader) changes(n *sitter.Node) {
	switch n.Kind() {
	case "global_statement":
		r.module.Open = true
	case "call":
		switch f := n.ChildByFieldName("function"); r.text(f) {
		case "globals", "exec", "setattr", "vars", "locals":
			r.module.Open = true
		}
	}
	for i := range n.NamedChildCount() {
		r.changes(n.NamedChild(i))
	}
}
