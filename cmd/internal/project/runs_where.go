package project

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/parser"
)

// predeclared are the names that a condition has from CUE.
var predeclared = []string{"len", "and", "or", "div", "mod", "quo", "rem", "bool", "bytes", "float", "int", "null", "number", "string", "true", "false", "_"}

// selectRuns returns the runs for which a condition is true. It is an expression in CUE, such as
// "roc_auc > 0.7 && params.alpha < 1": metrics have their own names, or metrics["any name"], parameters are in params, and
// the other fields are run, unit, entity, env, revision, outcome, attempt, version, seconds and started, a time as text. A run
// that lacks a name which others have does not match; a name that none has is an error.
func selectRuns(all []TrackedRun, condition string) ([]TrackedRun, error) {
	expr, err := parser.ParseExpr("--where", condition)
	if err != nil {
		return nil, &RequestError{fmt.Errorf("--where: %w; it is an expression in CUE, such as 'roc_auc > 0.7 && params.alpha < 1'", err)}
	}
	scopes := make([]map[string]any, len(all))
	names := map[string]bool{}
	for i := range all {
		if scopes[i], err = all[i].scope(); err != nil {
			return nil, err
		}
		for name := range scopes[i] {
			names[name] = true
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	if err := checkNames(expr, names, all); err != nil {
		return nil, &RequestError{fmt.Errorf("--where: %w", err)}
	}
	ctx := cuecontext.New()
	var out []TrackedRun
	var first error
	failed := 0
	for i := range all {
		v := ctx.BuildExpr(expr, cue.Scope(ctx.Encode(scopes[i])))
		matches, err := v.Bool()
		switch {
		case err != nil && v.Err() == nil:
			return nil, &RequestError{fmt.Errorf("--where: %s is of type %s, not true or false", condition, v.IncompleteKind())}
		case err != nil: // mostly a metric or a parameter that this run lacks
			failed++
			if first == nil {
				first = err
			}
		case matches:
			out = append(out, all[i])
		}
	}
	if failed == len(all) {
		if _, err := ctx.BuildExpr(expr, cue.Scope(ctx.Encode(merged(scopes)))).Bool(); err == nil {
			return nil, nil // no run has all that it names
		}
		return nil, &RequestError{fmt.Errorf("--where: %w", first)}
	}
	return out, nil
}

// merged returns a scope with all names of some scopes.
func merged(scopes []map[string]any) map[string]any {
	out := map[string]any{}
	params, metrics := map[string]any{}, map[string]float64{}
	for _, s := range scopes {
		maps.Copy(out, s)
		maps.Copy(params, s["params"].(map[string]any))
		maps.Copy(metrics, s["metrics"].(map[string]float64))
	}
	out["params"], out["metrics"] = params, metrics
	return out
}

// scope returns the names that a condition may use about a run. Its own fields go before metrics of the same name.
func (r TrackedRun) scope() (map[string]any, error) {
	out := map[string]any{}
	for name, x := range r.Metrics {
		out[name] = x
	}
	params := map[string]any{}
	if len(r.nested) > 0 {
		if err := json.Unmarshal(r.nested, &params); err != nil {
			return nil, fmt.Errorf("parameters of %s in revision @%d: %w", r.Unit, r.Revision, err)
		}
	}
	if passed, ok := params["params"].(map[string]any); ok {
		for name, v := range passed {
			if params[name] == nil {
				params[name] = v
			}
		}
	}
	maps.Copy(out, map[string]any{
		"run": r.ID, "unit": r.Unit, "entity": r.Entity, "env": r.Env, "revision": r.Revision, "outcome": string(r.Outcome), "attempt": r.Attempt,
		"version": r.Version, "seconds": r.Took.Seconds(), "started": r.Started.UTC().Format(time.RFC3339), "metrics": r.Metrics, "params": params,
	})
	return out, nil
}

// checkNames refuses names that no run has.
func checkNames(expr ast.Expr, names map[string]bool, all []TrackedRun) (err error) {
	params := slices.DeleteFunc(fieldsOf(all), func(n string) bool { return !strings.HasPrefix(n, "params.") })
	refuse := func(name string, among []string) {
		if err == nil {
			err = fmt.Errorf("no run has %s%s", name, hinted(name, among))
		}
	}
	named := slices.Sorted(maps.Keys(names))
	ast.Walk(expr, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			path := selected(n)
			if base, rest, _ := strings.Cut(path, "."); base == "params" && rest != "" && !slices.ContainsFunc(params, func(k string) bool { return k == path || strings.HasPrefix(k, path+".") }) {
				refuse(path, params)
				return false
			}
			base := n.X
			for {
				s, ok := base.(*ast.SelectorExpr)
				if !ok {
					break
				}
				base = s.X
			}
			if id, ok := base.(*ast.Ident); ok && !names[id.Name] && !slices.Contains(predeclared, id.Name) {
				refuse(id.Name, named)
			}
			return false
		case *ast.Ident:
			if !names[n.Name] && !slices.Contains(predeclared, n.Name) {
				refuse(n.Name, named)
			}
		}
		return true
	}, nil)
	return err
}

// selected returns a chain of selectors with dots, or "" if it has anything else.
func selected(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		label, _, err := ast.LabelName(e.Sel)
		if base := selected(e.X); base != "" && err == nil {
			return base + "." + label
		}
	}
	return ""
}
