package planner

import "github.com/tenon-ml/tenon/compiler/ir"

// DiffColumns describes how each property of a column changed, and what the change
// breaks.
func DiffColumns(a, b ir.Schema) []string {
	var out []string
	for _, d := range diffSchemas(a, b) {
		line := d.property + " " + string(d.shift)
		if breaks[d.shift].readers {
			line += ", breaks readers"
		}
		if breaks[d.shift].givers {
			line += ", breaks callers"
		}
		out = append(out, line)
	}
	return out
}
