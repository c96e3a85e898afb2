package compiler

import (
	"fmt"
	"slices"

	"github.com/tenon-ml/tenon/compiler/facts"
	"github.com/tenon-ml/tenon/compiler/ir"
)

// checkPrivate finds the columns of deployments that no log may show.
func (c *checker) checkPrivate() error {
	p := privacy{c.program, map[*out]map[string]bool{}}
	for _, id := range c.order {
		e := c.entities[id]
		s := e.component.Serves
		if s == nil || c.broken[id] {
			continue
		}
		var tables []*out
		if e.contract != nil {
			tables = append(tables, e.contract.row.out, e.input(s.Table).out)
		} else if in := e.input(s.Model); in != nil && in.out != nil {
			if trained := in.out.entity.input("table"); trained != nil && trained.out != nil {
				tables = append(tables, trained.out)
			}
		}
		for _, t := range tables {
			private, err := p.of(t)
			if err != nil {
				return err
			}
			for name := range private {
				if !slices.Contains(e.private, name) {
					e.private = append(e.private, name)
				}
			}
		}
		slices.Sort(e.private)
	}
	return nil
}

// privacy finds private columns: those that are declared so, and those that are computed from
// private ones, unless they are declared as not private.
type privacy struct {
	*program
	found map[*out]map[string]bool
}

// of returns the private columns of a table.
func (p privacy) of(o *out) (map[string]bool, error) {
	if found, ok := p.found[o]; ok {
		return found, nil
	}
	private := map[string]bool{}
	p.found[o] = private // ends a cycle, which is a fault of its own
	inputs, some := map[string]map[string]bool{}, false
	for _, in := range o.entity.ports {
		if in.out == nil || in.out.kind != ir.Table {
			continue
		}
		of, err := p.of(in.out)
		if err != nil {
			return nil, err
		}
		inputs[in.name], some = of, some || len(of) > 0
	}
	computed := func(string) bool { return false }
	if some {
		var err error
		if computed, err = p.computed(o, inputs); err != nil {
			return nil, err
		}
	}
	for _, c := range o.schema {
		if c.Private || !c.Public && computed(c.Name) {
			private[c.Name] = true
		}
	}
	return private, nil
}

// computed tells which columns of a table are computed from private columns of the inputs. A
// condition on one makes no column private. Where nothing is known, all are.
func (p privacy) computed(o *out, private map[string]map[string]bool) (func(column string) bool, error) {
	unknown := func(string) bool { return true }
	e := o.entity
	if e.rows != nil {
		return e.computedByRow(private[e.rows.in.name]), nil
	}
	if e.typing == nil || e.typing.Tree == nil || e.typing.err != nil {
		return unknown, nil
	}
	f, inputs, roots := newFactory(p.program), map[string]facts.Table{}, map[string]map[string]bool{}
	for _, in := range e.ports {
		if in.out == nil {
			return unknown, nil
		}
		inputs[in.name] = f.root(in.out)
		roots[in.out.entity.id()+"."+in.out.port] = private[in.name]
	}
	var names []string
	for _, c := range e.typing.Columns {
		names = append(names, c.Name)
	}
	t, err := facts.Query(e.typing.Tree, inputs, f.keys, names)
	if err != nil {
		return nil, fmt.Errorf("analyse the SQL of %s: %w", e, err)
	}
	return func(column string) bool {
		col := t.Column(column)
		return col == nil || col.Partial || slices.ContainsFunc(col.Origins, func(from facts.Origin) bool {
			return !from.Decides && !from.Match && roots[from.Table][from.Column]
		})
	}, nil
}
