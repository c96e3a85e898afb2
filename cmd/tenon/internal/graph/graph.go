// Package graph draws a system: its entities or its units as boxes, what flows
// between them as arrows, as SVG or in the DOT language.
//
// The layout is layered: a node is one layer below the last node it reads from,
// and within a layer near what it reads (Sugiyama, Tagawa and Toda, 1981,
// without the crossing of long edges).
package graph

import (
	"cmp"
	"fmt"
	"html"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A Graph is nodes and edges, both in a fixed order.
type Graph struct {
	Name  string
	Nodes []Node
	Edges []Edge
}

// A Node is one box.
type Node struct {
	ID      string
	Section string // "sources", "features", ...
	Text    string // below the name
	Columns []string
}

// An Edge goes from the producer to the reader. If it joins columns, it names both; an
// empty one stands for the whole table.
type Edge struct {
	From, To, Label      string
	FromColumn, ToColumn string
}

// Of makes the graph of a system's entities, or of its units.
func Of(s *ir.System, units bool) *Graph {
	g := &Graph{Name: s.Name}
	name := func(unit string) string {
		if units {
			return unit
		}
		if u := s.Unit(unit); u != nil {
			return u.Entity
		}
		return unit
	}
	seen := map[string]bool{}
	for _, u := range s.Units {
		id := name(u.ID)
		if !seen[id] {
			seen[id] = true
			section, _, _ := strings.Cut(id, "/")
			g.Nodes = append(g.Nodes, Node{ID: id, Section: section, Text: u.Component})
		}
		// A model is known by the component that its user wrote, which trains it.
		if _, stage := ir.SplitID(u.ID); !units && stage == "train" {
			for i := range g.Nodes {
				if g.Nodes[i].ID == id {
					g.Nodes[i].Text = u.Component
				}
			}
		}
		for _, in := range u.Inputs {
			e := Edge{From: name(in.Unit), To: id, Label: string(in.Kind)}
			if e.From != e.To && !in.Incumbent && !slices.ContainsFunc(g.Edges, func(o Edge) bool { return o.From == e.From && o.To == e.To }) {
				g.Edges = append(g.Edges, e)
			}
		}
	}
	slices.SortFunc(g.Nodes, func(a, b Node) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(g.Edges, func(a, b Edge) int {
		return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.To, b.To))
	})
	return g
}

// fills are the colours of boxes, by section.
var fills = map[string]string{
	"sources": "#dbeafe", "features": "#dcfce7", "models": "#fef3c7",
	"deployments": "#fce7f3", "slos": "#ede9fe", "monitors": "#e0f2fe", "loops": "#ffedd5", "steps": "#e5e7eb",
}

// DOT writes the graph for Graphviz.
func (g *Graph) DOT() string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %q {\n\trankdir=LR\n\tnode [shape=box style=\"rounded,filled\" fontname=\"sans-serif\"]\n", g.Name)
	for _, n := range g.Nodes {
		if len(n.Columns) > 0 {
			fmt.Fprintf(&b, "\t%q [shape=plain label=%s]\n", n.ID, n.table())
			continue
		}
		fmt.Fprintf(&b, "\t%q [label=%q fillcolor=%q]\n", n.ID, n.ID+"\n"+n.Text, fills[n.Section])
	}
	for _, e := range g.Edges {
		fmt.Fprintf(&b, "\t%s -> %s [label=%q]\n", g.end(e.From, e.FromColumn), g.end(e.To, e.ToColumn), e.Label)
	}
	b.WriteString("}\n")
	return b.String()
}

// Sizes in pixels.
const (
	boxHeight = 44
	gapX      = 70
	gapY      = 22
	rowHeight = 16
	margin    = 20
	charWidth = 7.4
)

// height is the height of the box of a node.
func (n Node) height() float64 {
	if len(n.Columns) == 0 {
		return boxHeight
	}
	return boxHeight + rowHeight*float64(len(n.Columns)) + 4
}

// at is how far below the top of its box a column is, or the middle of its heading.
func (n Node) at(column string) float64 {
	if i := slices.Index(n.Columns, column); i >= 0 {
		return boxHeight + rowHeight*float64(i) + rowHeight/2
	}
	return boxHeight / 2
}

type box struct {
	Node
	x, y, w float64
}

// SVG writes the graph as a picture.
func (g *Graph) SVG() string {
	boxes, width, height := g.layout()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="sans-serif">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(g.Name))
	b.WriteString(`<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="#64748b"/></marker></defs>` + "\n")
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for _, e := range g.Edges {
		from, to := boxes[e.From], boxes[e.To]
		if from == nil || to == nil {
			continue
		}
		x1, y1, x2, y2 := from.x+from.w, from.y+from.at(e.FromColumn), to.x, to.y+to.at(e.ToColumn)
		mid := (x1 + x2) / 2
		fmt.Fprintf(&b, `<path d="M%.0f %.0fC%.0f %.0f %.0f %.0f %.0f %.0f" fill="none" stroke="#64748b" marker-end="url(#a)"/>`+"\n", x1, y1, mid, y1, mid, y2, x2, y2)
	}
	for _, n := range g.Nodes {
		x := boxes[n.ID]
		fmt.Fprintf(&b, `<rect x="%.0f" y="%.0f" width="%.0f" height="%.0f" rx="7" fill="%s" stroke="#64748b"/>`+"\n", x.x, x.y, x.w, x.height(), cmp.Or(fills[n.Section], "#f8fafc"))
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" font-size="13" text-anchor="middle">%s</text>`+"\n", x.x+x.w/2, x.y+19, html.EscapeString(n.ID))
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" font-size="11" fill="#475569" text-anchor="middle">%s</text>`+"\n", x.x+x.w/2, x.y+35, html.EscapeString(n.Text))
		for _, c := range n.Columns {
			fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" font-size="11">%s</text>`+"\n", x.x+12, x.y+n.at(c)+4, html.EscapeString(c))
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (g *Graph) layout() (boxes map[string]*box, width, height float64) {
	layers := g.layers()
	boxes = map[string]*box{}
	place := map[string]float64{} // the middle of a box, to order what reads it
	x := float64(margin)
	for _, layer := range layers {
		slices.SortStableFunc(layer, func(a, b Node) int { return cmp.Compare(g.middle(a.ID, place), g.middle(b.ID, place)) })
		w := 0.0
		for _, n := range layer {
			w = max(w, charWidth*float64(max(len(n.ID), len(n.Text)))+24)
			for _, c := range n.Columns {
				w = max(w, charWidth*float64(len(c))+24)
			}
		}
		y := float64(margin)
		for _, n := range layer {
			boxes[n.ID] = &box{Node: n, x: x, y: y, w: w}
			place[n.ID] = y
			y += n.height() + gapY
		}
		height = max(height, y-gapY+margin)
		x += w + gapX
	}
	width = x - gapX + margin
	for _, layer := range layers { // center every layer
		used := -float64(gapY)
		for _, n := range layer {
			used += n.height() + gapY
		}
		for _, n := range layer {
			boxes[n.ID].y += (height - 2*margin - used) / 2
		}
	}
	return boxes, max(width, 2*margin), max(height, 2*margin)
}

// middle is the mean place of what a node reads.
func (g *Graph) middle(id string, place map[string]float64) float64 {
	sum, n := 0.0, 0.0
	for _, e := range g.Edges {
		if e.To == id {
			sum += place[e.From]
			n++
		}
	}
	return sum / max(1, n)
}

// layers groups nodes by the longest path that leads to them.
func (g *Graph) layers() [][]Node {
	depth := map[string]int{}
	var of func(id string) int
	reads := map[string][]string{}
	for _, e := range g.Edges {
		reads[e.To] = append(reads[e.To], e.From)
	}
	of = func(id string) int {
		if d, ok := depth[id]; ok {
			return d
		}
		d := 0
		for _, from := range reads[id] {
			d = max(d, of(from)+1)
		}
		depth[id] = d
		return d
	}
	var layers [][]Node
	for _, n := range g.Nodes {
		d := of(n.ID)
		for len(layers) <= d {
			layers = append(layers, nil)
		}
		layers[d] = append(layers[d], n)
	}
	return layers
}
