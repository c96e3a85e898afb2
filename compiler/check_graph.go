package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/lang"
)

// checkCycles finds entities that read from one another in a cycle. CUE does not detect
// this: identities are plain strings.
func (c *checker) checkCycles() {
	const (
		unseen = iota
		open
		done
	)
	state := map[string]int{}
	var path []string
	var visit func(id string)
	visit = func(id string) {
		state[id] = open
		path = append(path, id)
		for _, p := range c.entities[id].reads() {
			switch state[p.from] {
			case unseen:
				visit(p.from)
			case open:
				c.reportCycle(path[slices.Index(path, p.from):])
			}
		}
		path = path[:len(path)-1]
		state[id] = done
	}
	for _, id := range c.order {
		if state[id] == unseen {
			visit(id)
		}
	}
}

func (c *checker) reportCycle(cycle []string) {
	// Begin with the entity that is declared first, so that the message does not depend
	// on where the search began.
	first := slices.Index(cycle, slices.MinFunc(cycle, func(a, b string) int {
		return slices.Index(c.order, a) - slices.Index(c.order, b)
	}))
	cycle = slices.Concat(cycle[first:], cycle[:first])
	names := make([]string, 0, len(cycle)+1)
	d := diag.Diagnostic{Hint: "remove one of these references"}
	for i, id := range cycle {
		e, next := c.entities[id], cycle[(i+1)%len(cycle)]
		names = append(names, e.String())
		c.broken[id] = true
		for _, p := range e.reads() {
			if p.from == next {
				sp := c.sys.At(fmt.Sprintf("%s %s %s", e, p.verb, c.entities[next]), p.path...)
				if _, ref := c.sys.Reference(p.path...); ref.File != "" {
					sp.Pos, sp.Len = ref.Pos, ref.Len
				}
				d.Spans = append(d.Spans, sp)
				break
			}
		}
	}
	d.Message = "these entities form a cycle: " + strings.Join(append(names, names[0]), " -> ")
	c.fault(d)
}

// A read is an edge of the graph: an entity needs the output of another one.
type read struct {
	from string   // "sources/flights"
	path []string // of the field
	verb string
}

// inputField returns the path of the field that binds an input.
func (e *entity) inputField(port string) []string {
	if slices.Contains(lang.BarePorts(e.section), port) && !(port == "on" && e.hasOn) {
		return []string{port}
	}
	if path := strings.Split(port, "."); lang.NestedPort(e.section, path) == len(path) {
		return path
	}
	return []string{"in", port}
}

// reads returns what an entity needs to run: its inputs, and the tables that its own
// tables refer to. A table may refer to itself.
func (e *entity) reads() []read {
	var all []read
	for _, p := range e.ports {
		all = append(all, read{p.from, e.path(e.inputField(p.name)...), "reads"})
	}
	for _, r := range e.references {
		if r.out.entity != e {
			all = append(all, read{r.from, e.path(r.field("table")...), "refers to"})
		}
	}
	return all
}
