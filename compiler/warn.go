package compiler

import (
	"fmt"

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
