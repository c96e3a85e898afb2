package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

// A shownItem is an item of a plan with a line that explains it, or "".
type shownItem struct {
	planner.Item
	note string
}

// unfolded shows each item.
func unfolded(items []planner.Item) []shownItem {
	shown := make([]shownItem, len(items))
	for i := range items {
		shown[i].Item = items[i]
	}
	return shown
}

// foldExpansions shows the units of an expansion as one item, in the place of its own.
func foldExpansions(p *planner.Plan, items []planner.Item) []shownItem {
	parents := map[string][]planner.Item{}
	parentOf := func(i planner.Item) string {
		u := p.Unit(&i)
		switch {
		case u == nil || i.Action == planner.Delete:
			return ""
		case u.Expansion != nil:
			return u.ID
		}
		return u.Parent
	}
	for _, i := range items {
		if parent := parentOf(i); parent != "" {
			parents[parent] = append(parents[parent], i)
		}
	}
	var shown []shownItem
	for _, i := range items {
		parent := parentOf(i)
		switch of := parents[parent]; {
		case parent == "":
			shown = append(shown, shownItem{Item: i})
		case i.Unit == of[len(of)-1].Unit: // the expansion itself, unless only a child runs again
			shown = append(shown, foldExpansion(p, p.System.Unit(parent), of))
		}
	}
	return shown
}

// foldExpansion makes one item of those of an expansion, of which the last one is shown. What that
// says about its inputs follows from the children.
func foldExpansion(p *planner.Plan, parent *ir.Unit, items []planner.Item) shownItem {
	trials := slices.DeleteFunc(slices.Clone(items), func(i planner.Item) bool { return p.Unit(&i).Child == 0 })
	shown := shownItem{Item: items[len(items)-1]}
	shown.Unit = parent.ID
	x := parent.Expansion
	together := !slices.ContainsFunc(p.System.Units, func(u ir.Unit) bool { return u.Parent == parent.ID })
	if x == nil || len(trials) == 0 && !together || !shown.Action.Changes() {
		return shown
	}
	shown.note = fmt.Sprintf("up to %s, %d at a time, at most %s each", plural(int64(x.Children), "trial"), min(x.Parallel, x.Children), took(x.Timeout))
	if together {
		return shown
	}
	if len(trials) < x.Children {
		shown.note = fmt.Sprintf("%d of %s", len(trials), shown.note)
	}
	shown.Estimate = planner.Estimate{} // it is that of one unit
	if !isNew(shown.Item) {
		shown.Reasons = slices.DeleteFunc(slices.Clone(trials[0].Reasons), func(r planner.Reason) bool {
			return r.What == "new" || strings.HasPrefix(r.What, "input next ")
		})
	}
	return shown
}
