package compiler

import (
	"fmt"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/compiler/ir"
)

// warn notes something about a field of an entity that works, but is probably not what the
// user wants.
func (c *program) warn(e *entity, message, hint string, path ...string) {
	at := c.posOf(e.path(path...)...)
	c.warnings[e.id()] = append(c.warnings[e.id()], ir.Warning{Message: message, At: at.String(), Hint: hint})
}

// warnRandom warns of a model that is tested on rows between those that it learns from in
// time: it will have to predict for later ones.
func (c *checker) warnRandom(e *entity, table *out) {
	split, _ := e.fields.get("test").(object)
	component, err := c.component(stringOf(split.get("component")))
	if err != nil || component.Divides == nil || component.Divides.By != "rows" || table.timestamp == "" {
		return
	}
	c.warn(e, fmt.Sprintf("%s is tested on random rows, although its table has a time, %q", e, table.timestamp),
		fmt.Sprintf("split.#ByTime & {column: %q, after: ...} tests on later rows, as in service", table.timestamp), "test")
}

// warnIdle warns of a condition in a CASE or a list of alternatives that the bounds of a
// column exclude.
func (c *checker) warnIdle(e *entity, f facts.Finding) {
	in := e.input(f.Of.Input)
	if in == nil || in.out == nil {
		return
	}
	col := in.out.schema.Column(f.Of.Column)
	if col == nil {
		return
	}
	at := c.sqlSpan(e, e.string(e.component.SQL), f.Offset)
	c.warnings[e.id()] = append(c.warnings[e.id()], ir.Warning{
		Message: fmt.Sprintf("a condition of %s is never true: it compares %s with %s, and %s is declared %s", e, f.Column, written(f.Constant), f.Column, allowed(*col)),
		At:      ir.Pos{File: at.File, Line: at.Line, Col: at.Col}.String(),
		Hint:    fmt.Sprintf("leave it out, or declare wider bounds of %s in %s", col.Name, in.out.entity),
	})
}
