package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
)

// upstream returns the entities that one depends on, with itself.
func (c *program) upstream(e *entity) map[string]bool {
	seen := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if seen[id] || c.entities[id] == nil {
			return
		}
		seen[id] = true
		for _, r := range c.entities[id].reads() {
			visit(r.from)
		}
	}
	visit(e.id())
	return seen
}

// checkSameModel refuses a second loop of a model: neither would know what the other one does.
func (c *checker) checkSameModel(loops []*looping) {
	first := map[*entity]*looping{}
	for _, l := range loops {
		if other := first[l.model]; other != nil {
			l.refuse(fmt.Sprintf("%s and %s both train %s", other.e, l.e, l.model), fmt.Sprintf("write all that calls for a training in %s", other.e),
				c.sys.At("", l.e.path("model")...), c.sys.At("the other loop", other.e.path("model")...))
			continue
		}
		first[l.model] = l
	}
}

// checkLoopCycles refuses loops whose trainings call for one another's: they would never end.
func (c *checker) checkLoopCycles(loops []*looping) {
	type edge struct {
		to *looping
		by port
	}
	calls := map[*looping][]edge{} // a training of the key calls for one of another loop
	for _, l := range loops {
		for _, p := range l.triggers {
			above := c.upstream(p.out.entity)
			for _, other := range loops {
				if other.model != l.model && above[other.model.id()] {
					calls[other] = append(calls[other], edge{l, p})
				}
			}
		}
	}
	done := map[*looping]bool{}
	var path []edge
	var visit func(l *looping)
	visit = func(l *looping) {
		for _, e := range calls[l] {
			if i := slices.IndexFunc(path, func(p edge) bool { return p.to == e.to }); i >= 0 {
				d := diag.Diagnostic{Hint: "let one of them train on a schedule only, or on a monitor of its own model"}
				var names []string
				for _, p := range append(slices.Clone(path[i+1:]), e) {
					names = append(names, p.to.e.String())
					at := p.to.reference(p.by)
					at.Label = fmt.Sprintf("depends on what another of them trains, and calls for %s", p.to.model)
					d.Spans = append(d.Spans, at)
					c.broken[p.to.e.id()] = true
				}
				d.Message = fmt.Sprintf("the trainings of these loops call for one another: %s -> %s", e.to.e, strings.Join(names, " -> "))
				c.fault(d)
				continue
			}
			if !done[e.to] {
				path = append(path, e)
				visit(e.to)
				path = path[:len(path)-1]
			}
		}
		done[l] = true
	}
	for _, l := range loops {
		if !done[l] {
			path = []edge{{to: l}}
			visit(l)
		}
	}
}
