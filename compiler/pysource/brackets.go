package pysource

import sitter "github.com/tree-sitter/go-tree-sitter"

// brackets returns the first bracket that closes none, or the last that is never closed,
// and says so. A parser that misses a bracket gives up far before or behind it.
func (r *reader) brackets(root *sitter.Node) (at *sitter.Node, why string) {
	closing := map[string]string{"(": ")", "[": "]", "{": "}"}
	var open []*sitter.Node
	var visit func(n *sitter.Node) bool
	visit = func(n *sitter.Node) bool {
		if n.IsMissing() || n.Kind() == "string" {
			return true
		}
		switch k := n.Kind(); k {
		case "(", "[", "{":
			open = append(open, n)
		case ")", "]", "}":
			if len(open) == 0 || closing[open[len(open)-1].Kind()] != k {
				at, why = n, "this bracket closes none"
				return false
			}
			open = open[:len(open)-1]
		}
		for i := range n.ChildCount() {
			if !visit(n.Child(i)) {
				return false
			}
		}
		return true
	}
	if visit(root) && len(open) > 0 {
		at, why = open[len(open)-1], "this bracket is never closed"
	}
	return at, why
}
