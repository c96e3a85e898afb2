package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// returned returns the columns that an answer repeats. A column of the request that the
// features do not have is added to what the query gives.
func (r *request) returned() (columns []string, ok bool) {
	ok = true
	first, last := &r.links[0], &r.links[len(r.links)-1]
	for _, name := range stringsOf(r.e.fields.at(r.serves.Returns)) {
		columns = append(columns, name)
		if r.features.out.schema.Column(name) != nil {
			continue
		}
		i := slices.IndexFunc(first.plan.Request.Columns, func(c rowsql.Column) bool { return c.Name == name })
		if i >= 0 && first == last {
			typ := first.plan.Request.Columns[i].Type
			first.plan.Outputs = append(first.plan.Outputs, rowsql.Output{Name: name, Type: typ, Expr: &rowsql.Expr{Op: "slot", Type: typ, Index: i, At: -1}})
			continue
		}
		ok = false
		names := columnNames(r.features.out.schema)
		if first == last {
			names = append(names, columnNames(first.in.out.schema)...)
		}
		d := diag.Diagnostic{
			Message: fmt.Sprintf("%s of %s names %q, which is no column of %s or of a request", r.serves.Returns, r.e, name, r.features.out.entity),
			Spans:   []diag.Span{r.sys.At("", r.e.path(strings.Split(r.serves.Returns, ".")...)...), r.sys.Label("the columns of the features", r.features.out.entity.path("schema")...), r.at()},
			Hint:    nearest(name, names),
		}
		r.fail(r.e, d)
	}
	return columns, ok
}

// available refuses inputs of the model, and columns of the answer, that are computed from
// columns that a caller does not have.
func (r *request) available(returns, excluded []string) (bool, error) {
	ok := true
	last := r.links[len(r.links)-1]
	needs := map[string][]string{} // inputs of the model by the column that they need
	paths := map[string][]string{}
	for _, u := range last.uses {
		if !u.Training {
			continue
		}
		path := r.path(u)
		cause, _ := strings.CutPrefix(path[0], r.links[0].in.out.entity.String()+".")
		if r.model.out.signature.Input.Column(u.Name) != nil {
			needs[cause] = append(needs[cause], u.Name)
			if paths[cause] == nil {
				paths[cause] = path
			}
		} else if slices.Contains(returns, u.Name) {
			why := "which a request does not have"
			if u.Name != cause {
				why = fmt.Sprintf("which needs %s, and a request does not have that", cause)
			}
			r.fail(r.e, diag.Diagnostic{
				Message: fmt.Sprintf("%s of %s names %s, %s", r.serves.Returns, r.e, u.Name, why),
				Path:    strings.Join(append(path, r.e.String()), " -> "),
				Spans:   []diag.Span{r.sys.At("", r.e.path(strings.Split(r.serves.Returns, ".")...)...), r.exclusion(cause)},
				Hint:    fmt.Sprintf("remove %q from %s, or %q from exclude, if a caller knows it", u.Name, r.serves.Returns, cause),
			})
			ok = false
		}
	}
	for _, cause := range excluded {
		blamed := needs[cause]
		if len(blamed) == 0 {
			continue
		}
		delete(needs, cause)
		ok = false
		model := r.model.out.entity
		var spans []diag.Span
		for _, name := range blamed {
			text := fmt.Sprintf("%s is computed from %s", name, cause)
			if i := slices.IndexFunc(paths[cause], func(p string) bool { return strings.HasPrefix(p, "the row of ") }); i >= 0 && name == blamed[0] {
				text = fmt.Sprintf("%s is in %s, which is looked up by %s", name, paths[cause][i], cause)
			}
			if name == cause {
				text = name + " is an input of the model"
			}
			spans = append(spans, r.facts.defined(r.checker, r.features.out, name, text))
		}
		hint := fmt.Sprintf("set exclude: [\"%s\"] in %s, or remove %q from exclude in %s, if a caller knows it", strings.Join(blamed, `", "`), model, cause, r.e)
		if slices.Contains(paths[cause], rowsql.WindowRows) {
			hint = fmt.Sprintf("write the condition on %s outside of the query with the windows, so that they go over all rows: SELECT * FROM (SELECT ...) WHERE ...", cause)
		}
		spans = append(spans, r.exclusion(cause), r.sys.At("the model", r.e.path("in", r.serves.Model)...))
		r.fail(r.e, diag.Diagnostic{
			Message: fmt.Sprintf("%s needs %s, which a request of %s does not have", model, cause, r.e),
			Path:    strings.Join(append(paths[cause], model.String(), r.e.String()), " -> "),
			Spans:   spans,
			Hint:    hint,
		})
	}
	if !ok {
		return false, nil
	}
	return r.besides(excluded)
}

// besides refuses inputs of the model that come from an excluded column of the predicted row on
// another way than through the row that a caller sends: from a table that is looked up.
func (r *request) besides(excluded []string) (bool, error) {
	row := r.links[0].in.out
	reported := map[string]bool{}
	for _, name := range excluded {
		column := unknownColumn{row, name, append(strings.Split(r.serves.Request, "."), r.name, "exclude")}
		d, blamed, err := r.dependent(r.facts, r.e, r.model.out.entity, r.features.out, r.model.out.signature, r.serves.Model, column)
		if err != nil {
			return false, err
		}
		if d != nil && !reported[fmt.Sprint(blamed)] {
			reported[fmt.Sprint(blamed)] = true
			r.fail(r.e, *d)
		}
	}
	return len(reported) == 0, nil
}

func (r *request) exclusion(column string) diag.Span {
	return r.sys.At("a request does not have "+column, r.e.path(append(strings.Split(r.serves.Request, "."), r.name, "exclude")...)...)
}

// path returns the names from an excluded column to an output of the last query.
func (r *request) path(u rowsql.Use) []string {
	var all []string
	for i, l := range slices.Backward(r.links) {
		names := slices.Clone(u.Path)
		slices.Reverse(names)
		// The first one is a column of the table that the query goes through, the last one the
		// output.
		column := strings.TrimPrefix(names[0], l.plan.Request.Name+".")
		part := append([]string{l.in.out.entity.String() + "." + column}, names[1:]...)
		if len(part) == 1 || part[len(part)-1] != u.Name {
			part = append(part, u.Name)
		}
		part[len(part)-1] = l.e.String() + "." + u.Name
		if len(all) > 0 {
			part = part[:len(part)-1] // the next query begins there
		}
		all = append(part, all...)
		if i > 0 {
			before := r.links[i-1].uses
			u = before[slices.IndexFunc(before, func(x rowsql.Use) bool { return x.Name == column })]
		}
	}
	return all
}

// answers sets what the endpoint takes and gives.
func (r *request) answers(k *contract) bool {
	for _, port := range r.e.outNames {
		o := r.e.outs[port]
		if o.kind != ir.EndpointOf {
			continue
		}
		response := slices.Clone(o.response)
		result := k.results[len(k.results)-1]
		for i, name := range k.returns {
			if slices.Contains(k.returns[:i], name) {
				return r.refuse(fmt.Sprintf("%s of %s names %s twice", r.serves.Returns, r.e, name), "remove one of them",
					r.sys.At("", r.e.path(strings.Split(r.serves.Returns, ".")...)...))
			}
			if response.Column(name) != nil {
				return r.refuse(fmt.Sprintf("%s of %s names %s, which the answer has already", r.serves.Returns, r.e, name), "remove it",
					r.sys.At("", r.e.path(strings.Split(r.serves.Returns, ".")...)...))
			}
			col := *result.Column(name)
			col.Unique = false
			response = append(response, col)
		}
		o.request, o.response = k.columns, response
	}
	return true
}
