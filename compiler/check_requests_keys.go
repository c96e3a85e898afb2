package compiler

import (
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// missing returns the columns that the query of a link lacks when it is computed for a request.
func (r *request) missing(link int, excluded []string) (missing []string) {
	if link == 0 {
		return excluded
	}
	for _, u := range r.links[link-1].uses {
		if u.Training {
			missing = append(missing, u.Name)
		}
	}
	return missing
}

// set sets the plan of a link, and returns the columns that it reads.
func (k *contract) set(i int, l link, plan *rowsql.Plan) []string {
	k.plans[i] = plan
	schema := l.e.outs["out"].schema
	for _, o := range plan.Outputs {
		col := schema.Column(o.Name)
		if col == nil {
			col = k.row.out.schema.Column(o.Name)
		}
		k.results[i] = append(k.results[i], *col)
	}
	reads := []string{}
	for _, col := range plan.Request.Columns {
		reads = append(reads, col.Name)
	}
	return reads
}

// takes sets the columns that a caller sends.
func (k *contract) takes(names []string) {
	for _, name := range names {
		col := *k.row.out.schema.Column(name)
		col.Unique = false // callers may ask about a row again
		k.columns = append(k.columns, col)
	}
}

// keys returns plans that compute the keys of the features from the row of a request, if the
// service does not compute all of them. Only the comparison with training needs them, to find
// the row that a difference is in.
func (r *request) keys(k *contract, excluded []string) *contract {
	names, results := r.features.out.keys, k.results[len(k.results)-1]
	if len(names) == 0 || !slices.ContainsFunc(names, func(name string) bool { return results.Column(name) == nil }) {
		return nil
	}
	if keys := r.keysWithout(k, names, func(link int) []string { return r.missing(link, excluded) }); keys != nil {
		return keys
	}
	// The comparison has columns that a caller lacks.
	return r.keysWithout(k, names, func(int) []string { return nil })
}

func (r *request) keysWithout(k *contract, names []string, missing func(link int) []string) *contract {
	keys := &contract{row: k.row, plans: make([]*rowsql.Plan, len(r.links)), results: make([]ir.Schema, len(r.links))}
	for i, l := range slices.Backward(r.links) {
		plan, err := l.plan.Needed(missing(i), names)
		if err != nil || len(plan.Lookups) > 0 || plan.NeedsDuckDB() || plan.NeedsPython() {
			return nil
		}
		names = keys.set(i, l, plan)
	}
	keys.takes(names)
	return keys
}
