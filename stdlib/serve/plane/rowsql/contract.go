package rowsql

import (
	"slices"
	"strings"
)

// Leftmost returns the name of the table whose rows a query goes through: the leftmost one
// of its outer SELECT. bound is what engine.Checker.Bind returns. The name is "" if the
// query begins with something else.
func Leftmost(bound []byte) (string, error) {
	n, err := decodeBound(bound)
	if err != nil {
		return "", err
	}
	ctes := map[int]*boundPlan{}
	for n != nil {
		switch n.Type {
		case "LOGICAL_GET":
			return n.Function.Table, nil
		case "LOGICAL_MATERIALIZED_CTE":
			if len(n.Children) < 2 {
				return "", nil
			}
			ctes[n.TableIndex] = n.Children[0]
			n = n.Children[1]
		case "LOGICAL_CTE_REF":
			next := ctes[n.CTE]
			delete(ctes, n.CTE) // ends a cycle
			n = next
		default:
			if len(n.Children) == 0 {
				return "", nil
			}
			n = n.Children[0]
		}
	}
	return "", nil
}

// Needed is [Plan.Serve] for a caller who sends only the columns that the outputs, and the
// filters that are left, need.
func (p *Plan) Needed(excluded, outputs []string) (*Plan, error) {
	live, err := p.Serve(excluded, outputs)
	if err != nil {
		return nil, err
	}
	read := map[int]bool{}
	live.exprs(func(e *Expr) {
		if e.Op == "slot" {
			read[e.Index] = true
		}
	})
	excluded = slices.Clone(excluded)
	for i, c := range live.Request.Columns {
		if !read[i] {
			excluded = append(excluded, c.Name)
		}
	}
	return p.Serve(excluded, outputs)
}

// Latest reports whether a lookup takes the latest row before a time.
func (p *Plan) Latest(lookup int) bool {
	after := p.Lookups[lookup].After
	if after == nil || !slices.Contains([]string{"TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "DATE"}, after.Type) {
		return false
	}
	return slices.ContainsFunc(p.Steps, func(s Step) bool {
		return s.Join != nil && s.Join.Lookup == lookup && strings.HasPrefix(s.Join.Asof, ">")
	})
}

// Unplaced removes the places in the query from a plan, so that it stays the same if only
// the layout of the query changes.
func (p *Plan) Unplaced() {
	unplace := func(e *Expr) { e.At = -1 }
	p.exprs(unplace)
	for _, s := range p.Steps {
		if s.Window != nil {
			for i := range s.Window.Values {
				s.Window.Values[i].At = -1
			}
		}
	}
	for _, l := range p.Lookups {
		eachOf(l.Steps, l.Outputs, append(slices.Clone(l.Keys), l.After), unplace)
	}
}

// exprs calls f for all expressions over the row of the request.
func (p *Plan) exprs(f func(*Expr)) { eachOf(p.Steps, p.Outputs, nil, f) }

func eachOf(steps []Step, outputs []Output, more []*Expr, f func(*Expr)) {
	for _, s := range steps {
		s.Filter.each(f)
		if s.Compute != nil {
			s.Compute.Expr.each(f)
		}
		if j := s.Join; j != nil {
			for _, e := range slices.Concat(j.Keys, j.Where, []*Expr{j.At}) {
				e.each(f)
			}
		}
		for _, e := range s.Window.exprs() {
			e.each(f)
		}
	}
	for _, o := range outputs {
		o.Expr.each(f)
	}
	for _, e := range more {
		e.each(f)
	}
}
