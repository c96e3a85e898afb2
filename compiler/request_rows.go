package compiler

import (
	"path"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A rowCall is a function in Python that a deployment asks to compute a row.
type rowCall struct {
	plan    int // of the contract
	e       *entity
	columns ir.Schema // that it gets
}

// called returns the functions that the plans of a contract need.
func (r *request) called(k *contract) (all []rowCall) {
	for i, p := range k.plans {
		if !p.NeedsPython() {
			continue
		}
		c := rowCall{plan: i, e: r.links[i].e}
		for _, name := range p.Takes() {
			c.columns = append(c.columns, *c.e.rows.in.out.schema.Column(name))
		}
		all = append(all, c)
	}
	return all
}

// callDoc is a call as a parameter, see features.Call.
type callDoc struct {
	Plan        int       `json:"plan"`
	Feature     string    `json:"feature"`
	Script      string    `json:"script"`
	Function    string    `json:"function"`
	Args        any       `json:"args,omitempty"`
	Columns     ir.Schema `json:"columns"`
	Makes       ir.Schema `json:"makes"`
	Environment string    `json:"environment,omitempty"`
	Private     bool      `json:"private,omitempty"`
}

// callDocs returns the parameters of the calls of a contract. The digest of an environment is
// known once the units of features can be made; that of the unit, lock, is left out.
func (c *lowerer) callDocs(k *contract, lock string) (all []callDoc) {
	for _, call := range k.calls {
		how := call.e.calls()
		doc := callDoc{
			Plan: call.plan, Feature: call.e.String(), Script: path.Clean(stringOf(call.e.fields.at(how.Script))), Function: stringOf(call.e.fields.at(how.Function)),
			Columns: call.columns.Bare(), Makes: call.e.rows.makes.Bare(),
		}
		if environment := c.rowEnvironment(call.e); environment != lock {
			doc.Environment = environment
		}
		private, err := privacy{c.program, map[*out]map[string]bool{}}.of(call.e.rows.in.out)
		if err != nil {
			c.internal(err)
		}
		doc.Private = slices.ContainsFunc(call.columns, func(col ir.Column) bool { return private[col.Name] })
		if args, _ := call.e.fields.at("args").(object); len(args) > 0 {
			doc.Args = plain(args)
		}
		all = append(all, doc)
	}
	return all
}

// rowEnvironment returns the digest of the lock in which a function runs.
func (c *lowerer) rowEnvironment(e *entity) string {
	s := &e.component.stages[0]
	w, err := c.work(e, s)
	if err != nil {
		c.componentFault(e, err)
		return ""
	}
	return c.lock(e, s, w)
}

// addCalled adds the files of functions that a unit asks, and their environments.
func (c *lowerer) addCalled(k *contract, code *ir.Code) {
	for _, call := range k.calls {
		for _, field := range call.e.component.stages[0].Code {
			c.userFiles(call.e, code, field)
		}
		if lock := c.rowEnvironment(call.e); lock != code.Lock && !slices.Contains(code.Environments, lock) {
			code.Environments = append(code.Environments, lock)
		}
	}
	slices.Sort(code.Environments)
}
