package compiler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cuelang.org/go/cue"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/lang"
)

// moved reads the renames of entities. The new name must exist, or move on; the old one
// must not exist.
func (c *checker) moved() []ir.Move {
	list, err := c.sys.Lookup("moved").List()
	if err != nil {
		return nil // none, or reported by Faults
	}
	var moves []move
	for list.Next() {
		m := move{value: list.Value()}
		c.checkMoveFields(m)
		if m.From, m.To = m.entity("from"), m.entity("to"); m.From != "" && m.To != "" {
			moves = append(moves, m)
		}
	}
	var out []ir.Move
	for i, m := range moves {
		if other := slices.IndexFunc(moves[:i], func(e move) bool { return e.To == m.To }); other >= 0 {
			c.fault(diag.Diagnostic{
				Message: fmt.Sprintf("two entities move to %s", dotted(m.To)),
				Spans:   []diag.Span{c.moveSpan(m, "to"), c.moveSpan(moves[other], "to")},
				Hint:    "keep one of the moves",
			})
			continue
		}
		if earlier := slices.IndexFunc(moves[:i], func(e move) bool { return e.From == m.From }); earlier >= 0 {
			c.fault(diag.Diagnostic{
				Message: fmt.Sprintf("%s moves twice", dotted(m.From)),
				Spans:   []diag.Span{c.moveSpan(m, "from"), c.moveSpan(moves[earlier], "from")},
				Hint:    "keep one of the moves",
			})
			continue
		}
		c.checkMove(m, moves[:i], moves[i+1:])
		out = append(out, m.Move)
	}
	return out
}

// A move is a move as written.
type move struct {
	ir.Move
	value cue.Value
}

// entity converts "models.late" to the compiler's notation, "models/late".
func (m move) entity(field string) string {
	name, err := m.value.LookupPath(cue.ParsePath(field)).String()
	if err != nil || strings.Contains(name, "/") {
		return name
	}
	return strings.Replace(name, ".", "/", 1)
}

// checkMoveFields refuses unknown fields of a move: CUE accepts them, because a system is
// open.
func (c *checker) checkMoveFields(m move) {
	it, err := m.value.Fields()
	if err != nil {
		return // reported by Faults
	}
	for known := []string{"from", "to"}; it.Next(); {
		if name := it.Selector().Unquoted(); !slices.Contains(known, name) {
			c.fault(diag.Diagnostic{
				Message: fmt.Sprintf("unknown field %q in a move", name), Spans: []diag.Span{{Pos: c.sys.Pos(it.Value().Pos())}},
				Hint: diag.DidYouMean(name, known),
			})
		}
	}
}

func (c *checker) checkMove(m move, earlier, later []move) {
	at := func(field string) []diag.Span { return []diag.Span{c.moveSpan(m, field)} }
	from, _, _ := strings.Cut(m.From, "/")
	to, _, _ := strings.Cut(m.To, "/")
	movesOn := slices.ContainsFunc(later, func(l move) bool { return l.From == m.To })
	switch {
	case m.From == m.To:
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("%s moves to itself", dotted(m.From)), Spans: at("to"),
			Hint: "remove the move, or set from to the former name",
		})
	case from != to:
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("%s moves to %s, which is in another section", dotted(m.From), dotted(m.To)), Spans: at("to"),
			Hint: "an entity cannot change its section; declare a new entity instead",
		})
	case !isEntity(m.From) || !isEntity(m.To):
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("%q moves to %q, but one of them is not the name of an entity", dotted(m.From), dotted(m.To)),
			Spans:   append(at("from"), at("to")...), Hint: `write an entity as "models.late"`,
		})
	case slices.ContainsFunc(earlier, func(e move) bool { return e.From == m.To }):
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("%s moves to %s, which an earlier move has renamed", dotted(m.From), dotted(m.To)), Spans: at("to"),
			Hint: "moves apply in order: put this one before the move of its new name",
		})
	case c.entities[m.To] == nil && !movesOn:
		var names []string
		for _, id := range slices.Sorted(maps.Keys(c.entities)) {
			if strings.HasPrefix(id, to+"/") {
				names = append(names, dotted(id))
			}
		}
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("%s moves to %s, which does not exist", dotted(m.From), dotted(m.To)), Spans: at("to"),
			Hint: diag.DidYouMean(dotted(m.To), names),
		})
	case c.entities[m.From] != nil:
		section, name, _ := strings.Cut(m.From, "/")
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("%s moves to %s but still exists", dotted(m.From), dotted(m.To)),
			Spans:   append(at("from"), c.sys.Label("declared here", section, name)),
			Hint:    "remove the move, or rename one of them",
		})
	}
}

// isEntity reports whether a name has the form of an entity's: a section and a name.
func isEntity(id string) bool {
	section, name, _ := strings.Cut(id, "/")
	return slices.Contains(lang.Sections, section) && name != "" && !strings.ContainsAny(name, "./")
}

func (c *checker) moveSpan(m move, field string) diag.Span {
	return diag.Span{Pos: c.sys.Pos(m.value.LookupPath(cue.ParsePath(field)).Pos())}
}

func dotted(id string) string { return strings.Replace(id, "/", ".", 1) }
