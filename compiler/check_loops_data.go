package compiler

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/duration"
)

// readAgain is how often a table that a loop waits for is read again, unless it says so itself.
const readAgain = time.Hour

// waitsForRows resolves a table whose new rows call for a training.
func (l *looping) waitsForRows(t object, p port, n string) ir.LoopTrigger {
	out := ir.LoopTrigger{
		Data: p.out.entity.component.unit(p.from, p.port), Port: p.port, Rows: whole(t.get("rows")),
		Every: cmp.Or(duration.Parse(stringOf(t.get("every"))), readAgain),
	}
	switch {
	case !l.upstream(l.model)[p.from]:
		l.refuse(fmt.Sprintf("%s waits for rows of %s, but %s is not made from it", l.e, p.out.entity, l.model),
			"name a table that the model is trained on, or one that its tables are made from", l.reference(p), l.sys.Label("the model", l.model.path()...))
	case t.has("every") && (out.Every < time.Second || duration.Parse(stringOf(t.get("every"))) == 0):
		l.refuse(fmt.Sprintf("%s reads %s again every %s, which is too often", l.e, p.out.entity, stringOf(t.get("every"))), "write a length of time of at least 1s, such as 10m", l.at("", "when", n, "every"))
	default:
		if still := l.unread(p.out.entity); still != nil {
			spans := []diag.Span{l.reference(p)}
			for _, e := range still {
				spans = append(spans, l.sys.Label("is read once", e.path()...))
			}
			l.refuse(fmt.Sprintf("%s waits for rows of %s, which is read only once: its data is elsewhere, and it has no max_age", l.e, p.out.entity),
				fmt.Sprintf(`add max_age to %s, such as max_age: "1h"`, still[0]), spans...)
		}
	}
	return out
}

// unread returns the entities from which a table is made if none of them is ever read again: they have no data
// files, and their data is used at any age.
func (l *looping) unread(table *entity) (all []*entity) {
	above := l.upstream(table)
	for _, id := range l.order {
		e := l.entities[id]
		if !above[id] || len(e.ports) > 0 {
			continue
		}
		files := slices.ContainsFunc(e.component.stages, func(s stage) bool { return len(s.Files) > 0 })
		if files || duration.Parse(e.string("max_age")) > 0 {
			return nil
		}
		all = append(all, e)
	}
	return all
}
