package rowsql

import (
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A feature in Python is a plan too: its outputs are columns of its input, and columns that the
// function computes from all columns that it takes. So what a request needs of it, and what
// follows from columns that a caller does not have, is found as for a query. This package does
// not call the function: [Load] refuses such a plan, and package features computes it.

// python is the operation of a column that a function in Python computes. Its name is that of
// the column, and its arguments are what the function takes.
const python = "python"

// Python returns the plan of a function that takes some columns of a row of a table. It copies
// those columns of the result that the table has, and the function computes the others.
func Python(in Table, takes []string, result ir.Schema) *Plan {
	p := &Plan{Version: Version, Request: Input{Name: in.Name}, Slots: len(in.Schema)}
	slot := func(name string) *Expr {
		i := slices.IndexFunc(in.Schema, func(c ir.Column) bool { return c.Name == name })
		if i < 0 {
			return nil
		}
		return &Expr{Op: "slot", Type: ir.Types[in.Schema[i].Type], Index: i, At: -1}
	}
	for _, c := range in.Schema {
		p.Request.Columns = append(p.Request.Columns, Column{Name: c.Name, Type: ir.Types[c.Type]})
	}
	for _, c := range result {
		e := slot(c.Name)
		if e == nil {
			e = &Expr{Op: python, Name: c.Name, Type: ir.Types[c.Type], At: -1}
			for _, name := range takes {
				e.Args = append(e.Args, slot(name))
			}
		}
		p.Outputs = append(p.Outputs, Output{Name: c.Name, Type: ir.Types[c.Type], Expr: e})
	}
	return p
}

// NeedsPython reports whether a function in Python computes a column of a plan.
func (p *Plan) NeedsPython() bool {
	return slices.ContainsFunc(p.Outputs, func(o Output) bool { return o.Expr.Op == python })
}

// Takes returns the columns of the request that the function in Python takes.
func (p *Plan) Takes() (names []string) {
	for _, o := range p.Outputs {
		if o.Expr.Op != python {
			continue
		}
		for _, a := range o.Expr.Args {
			names = append(names, p.Request.Columns[a.Index].Name)
		}
		return names
	}
	return nil
}

// Copied returns the column of the request that an output of a plan with a function in Python
// copies, or -1 if the function computes it.
func (p *Plan) Copied(output int) int {
	if e := p.Outputs[output].Expr; e.Op == "slot" {
		return e.Index
	}
	return -1
}
