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

// EdgeShifts describes how the edge of a service changed for its callers, from its fields as JSON.
func EdgeShifts(before, after string) []string {
	x := &edgePair{EdgeFields: ir.EdgeFields{TLS: "tls", Auth: "auth", Limits: "limits", CORS: "cors", Management: "management"}, old: fieldsIn([]byte(before)), now: fieldsIn([]byte(after))}
	x.compare()
	var out []string
	for _, s := range x.out {
		line := s.path + " " + string(s.shift)
		if breaks[s.shift].givers {
			line += ", breaks callers"
		}
		out = append(out, line)
	}
	return out
}
