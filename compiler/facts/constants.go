package facts

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// day is how a text begins that is meant to be a date.
var day = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}($|[ T])`)

// compareTimes looks, among values that are compared or take the place of one another, for
// texts that are no dates where the other values are, and for times with and without a zone,
// of which DuckDB would convert one by the zone of the session.
func (a *analysis) compareTimes(alike []*expr, s *scope) {
	var columns []Column
	var texts []*expr
	for _, x := range alike {
		if of, by, ok := shifted(x); ok && by != 0 {
			x = of // a time to which a length of time is added
		}
		switch {
		case x.kind == constant && x.value != nil && !x.value.Number:
			texts = append(texts, x)
		case x.kind == constant && x.null:
		case x.kind == column && !s.binds(x.names):
			c, ok := a.resolve(x.names, s)
			if !ok || c.Type != "date" && !strings.HasPrefix(c.Type, "timestamp") {
				return
			}
			if len(columns) > 0 && c.Type != columns[0].Type && c.Type != "date" && columns[0].Type != "date" {
				a.find(Finding{Kind: OtherZone, Constant: Constant{Offset: x.at}, Columns: [2]Column{columns[0], c}})
				return
			}
			columns = append(columns, c)
		default:
			return
		}
	}
	if len(columns) == 0 {
		return
	}
	for _, x := range texts {
		if text := x.value.Text; day.MatchString(text) {
			if _, err := time.Parse(time.DateOnly, text[:10]); err != nil {
				a.find(Finding{Kind: NoDate, Constant: *x.value, Columns: [2]Column{columns[0]}})
			}
		}
	}
}

// alike returns those of the parts of an expression that have to be values of one kind.
func (e *expr) alike() []*expr {
	switch {
	case e.kind == equal, e.kind == compares, e.typ == "OPERATOR_COALESCE", e.typ == "COMPARE_DISTINCT_FROM", e.typ == "COMPARE_NOT_DISTINCT_FROM":
		return e.args
	case e.kind == cases:
		return e.arms
	case e.kind == call && slices.Contains([]string{"+", "-"}, e.name) && len(e.args) == 2, e.kind == call && (e.name == "greatest" || e.name == "least"):
		return e.args
	}
	return nil
}
