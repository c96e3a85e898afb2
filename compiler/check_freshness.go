package compiler

import (
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
)

// freshness resolves by what the age of a table is known.
func (m *monitoring) freshness() {
	of := m.on.entity
	out := &ir.Freshness{Table: of.component.unit(of.id(), m.on.port), Max: duration.Parse(m.e.string("max"))}
	name, field := m.e.string("column"), "column"
	if name == "" {
		name, field = m.on.timestamp, "on"
	}
	files := slices.ContainsFunc(of.component.stages, func(s stage) bool { return len(s.Files) > 0 })
	col := m.on.schema.Column(name)
	switch {
	case !m.checkEvery():
	case out.Max <= 0:
		m.refuse(fmt.Sprintf("max of %s is %s, and no data is that new", m.e, m.e.string("max")), "write a length of time, such as 6h", m.at("", "max"))
	case name == "" && !files:
		m.refuse(fmt.Sprintf("%s measures the age of %s, which neither a column nor a file shows", m.e, of), `name the column with the time of each row: column: "at"`,
			m.at("", "on"), m.sys.Label("has no timestamp", of.path()...))
	case name != "" && col == nil:
		m.noColumn(m.e, field, name, m.on, m.on.schema, field)
	case name != "" && col.Type != "timestamp" && col.Type != "timestamptz":
		m.refuse(fmt.Sprintf("%s measures the age of %s by %q of type %s, which is not a point in time", m.e, of, name, col.Type), "name a column of type timestamp or timestamptz",
			m.at("", field), m.columnSpan(of, name))
	default:
		if col != nil {
			bare := bareColumn(col)
			out.Column = &bare
		}
		m.e.monitor = &ir.Monitor{Every: duration.Parse(m.e.string("every")), Severity: m.e.string("severity"), Freshness: out}
	}
}
