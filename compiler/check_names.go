package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// checkNames refuses names that SQL cannot tell apart or does not have. It runs before
// any query is typed.
func (c *checker) checkNames() {
	for _, id := range c.order {
		e := c.entities[id]
		if c.broken[id] {
			continue
		}
		for _, o := range e.outs {
			if o.kind == ir.Table && e.section != "deployments" {
				at := []string{"schema"}
				if e.section == "steps" {
					at = []string{"outputs", o.port, "schema"}
				}
				c.checkNamesOf(e, "column", columnNames(o.schema), at)
			}
		}
		if e.component.SQL != "" {
			names := make([]string, len(e.ports))
			for i, p := range e.ports {
				names[i] = p.name
			}
			c.checkNamesOf(e, "input", names, []string{"in"})
		}
	}
}

// checkNamesOf checks the names of columns or inputs, which are fields at a path.
func (c *checker) checkNamesOf(e *entity, what string, names, at []string) {
	span := func(label, name string) diag.Span {
		return c.sys.Label(label, e.path(append(slices.Clone(at), name)...)...)
	}
	first := map[string]string{}
	for _, name := range names {
		if name == "" {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("a %s of %s has an empty name", what, e),
				Wanted:  "a name of at least one character",
				Spans:   []diag.Span{span("", name)},
			})
			continue
		}
		other, taken := first[folded(name)]
		if !taken {
			first[folded(name)] = name
			continue
		}
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the %ss %q and %q of %s are one name in SQL, which ignores case", what, other, name, e),
			Spans:   []diag.Span{span("", other), span("", name)},
			Hint:    "give one of them another name",
		})
	}
}

// folded is a name as SQL compares it: DuckDB ignores the case of ASCII.
func folded(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}
