package graph

import (
	"cmp"
	"fmt"
	"html"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/lineage"
)

// OfColumns makes the graph of a system's columns. An edge to the heading of a table means
// that its rows, or all of its columns, depend on the other end.
func OfColumns(name string, l *lineage.Lineage) *Graph {
	g := &Graph{Name: name}
	join := func(e Edge) {
		if !slices.Contains(g.Edges, e) {
			g.Edges = append(g.Edges, e)
		}
	}
	for _, t := range l.Tables {
		section, _, _ := strings.Cut(t.Entity, "/")
		n := Node{ID: t.Name, Section: section, Text: t.Component}
		opaque := len(t.Columns) == 0 || t.RowsPartial
		for _, c := range t.Columns {
			n.Columns = append(n.Columns, c.Name)
			opaque = opaque || c.Unknown
			for _, o := range c.From {
				join(Edge{From: o.Table, To: t.Name, Label: o.Use, FromColumn: o.Column, ToColumn: c.Name})
			}
		}
		for _, o := range t.Rows {
			join(Edge{From: o.Table, To: t.Name, Label: lineage.Selects, FromColumn: o.Column})
		}
		if opaque {
			for _, from := range t.Reads {
				join(Edge{From: from, To: t.Name, Label: lineage.Perhaps})
			}
		}
		g.Nodes = append(g.Nodes, n)
	}
	slices.SortFunc(g.Edges, func(a, b Edge) int {
		return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.To, b.To), strings.Compare(a.FromColumn, b.FromColumn), strings.Compare(a.ToColumn, b.ToColumn))
	})
	return g
}

// table writes a node as a table in DOT: a heading, and a row for each column.
func (n Node) table() string {
	var b strings.Builder
	fill := cmp.Or(fills[n.Section], "#f8fafc")
	fmt.Fprintf(&b, `<<table border="0" cellborder="1" cellspacing="0" cellpadding="4"><tr><td port="." bgcolor=%q>%s<br/>%s</td></tr>`, fill, html.EscapeString(n.ID), html.EscapeString(n.Text))
	for i, c := range n.Columns {
		fmt.Fprintf(&b, `<tr><td align="left" port="c%d">%s</td></tr>`, i, html.EscapeString(c))
	}
	b.WriteString("</table>>")
	return b.String()
}

// end writes an end of an edge in DOT.
func (g *Graph) end(id, column string) string {
	i := slices.IndexFunc(g.Nodes, func(n Node) bool { return n.ID == id })
	if i < 0 || len(g.Nodes[i].Columns) == 0 {
		return fmt.Sprintf("%q", id)
	}
	if at := slices.Index(g.Nodes[i].Columns, column); at >= 0 {
		return fmt.Sprintf(`%q:"c%d"`, id, at)
	}
	return fmt.Sprintf(`%q:"."`, id)
}
