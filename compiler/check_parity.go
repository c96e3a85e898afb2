package compiler

import (
	"fmt"

	"github.com/tenon-ml/tenon/internal/diag"
)

// checkParity refuses an objective for checks that an endpoint does not make: its alert would
// never fire.
func (c *checker) checkParity(e, on *entity) {
	const field = "parity"
	s := on.component.Serves
	if !e.fields.has(field) || s != nil && s.Parity != "" && on.fields.has(s.Parity) {
		return
	}
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s has an objective for the parity of %s, which checks no requests", e, on),
		Spans:   []diag.Span{c.sys.Label("", e.path(field)...), c.sys.Label("checks nothing", on.path()...)},
		Hint:    "remove " + field,
	}
	if s != nil && s.Parity != "" {
		d.Hint += fmt.Sprintf(", or add %s: 0.001 to %s", s.Parity, on)
	}
	c.fail(e, d)
}
