package compiler

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// cannot reports a query that rowsql refuses.
func (r *request) cannot(l link, refusal *rowsql.Refusal) bool {
	cause := l.e.id() + " " + refusal.Reason
	if r.reported[cause] {
		r.broken[r.e.id()] = true
		return false
	}
	r.reported[cause] = true
	place := r.sqlSpan(l.e, l.query(), offsetOf(refusal, l.query()))
	if in := l.e.input(refusal.Lookup); in != nil {
		keys := r.sys.Label("it declares no keys", in.out.entity.path()...)
		hint := fmt.Sprintf("declare the keys of %s, and join on all of them", in.out.entity)
		if len(in.out.keys) > 0 {
			keys = r.sys.At("its keys", in.out.entity.path("keys")...)
			hint = fmt.Sprintf("join on all keys of %s: %s; or join a feature of it that has the columns of the join as its keys", in.out.entity, strings.Join(in.out.keys, ", "))
		}
		return r.refuse(fmt.Sprintf("%s cannot be computed for one request: several rows of %q may match, because the join compares no key of it", l.e, refusal.Lookup), hint, place, keys, r.at())
	}
	return r.refuse(fmt.Sprintf("%s cannot be computed for one request: %s", l.e, refusal.Reason), refusalHint(refusal.Reason), place, r.at())
}

// cannotCompute reports what is needed of a query and cannot be computed, once for each reason.
func (r *request) cannotCompute(l link, refusals []*rowsql.Refusal, missing, needed []string) {
	done := map[string]bool{}
	left := refusals // of those that DuckDB cannot compute either
	if plan, err := l.withDuckDB(); err == nil && r.serves.Engine != "" {
		left = plan.Refusals(missing, needed)
	}
	for _, first := range refusals {
		reason := first.Reason
		if done[reason] {
			continue
		}
		done[reason] = true
		if first.Lookup != "" {
			r.cannot(l, first)
			continue
		}
		var spans []diag.Span
		var read []string
		hint := refusalHint(reason)
		if !slices.ContainsFunc(left, func(x *rowsql.Refusal) bool { return x.Reason == reason }) {
			hint = fmt.Sprintf("set %s: \"duckdb\" in %s, which takes part of a millisecond for such an expression; docs/serving.md lists what is computed without it", r.serves.Engine, r.e)
		}
		for _, refusal := range refusals {
			if refusal.Reason != reason {
				continue
			}
			spans = append(spans, r.needed(l, refusal))
			for _, name := range refusal.Outputs {
				if r.features.out.entity == l.e && r.model.out.signature.Input.Column(name) != nil {
					read = append(read, name)
				}
			}
			if refusal.Condition {
				hint += "; only training applies a condition that needs columns in exclude"
			}
		}
		if len(read) > 0 {
			spans = append(spans, r.sys.At("the model reads "+listed(read), r.e.path("in", r.serves.Model)...))
			hint += fmt.Sprintf("; or set exclude: [\"%s\"] in %s", strings.Join(read, `", "`), r.model.out.entity)
		}
		r.refuse(fmt.Sprintf("%s cannot be computed for one request: %s", l.e, reason), hint, append(spans, r.at())...)
	}
}

// needed returns the part of a query that is needed and cannot be computed.
func (r *request) needed(l link, refusal *rowsql.Refusal) diag.Span {
	text, verb := "a condition that is left", " needs "
	if len(refusal.Outputs) > 0 {
		text = listed(refusal.Outputs)
	}
	if len(refusal.Outputs) > 1 {
		verb = " need "
	}
	at := offsetOf(refusal, l.query())
	if at < 0 && len(refusal.Outputs) > 0 {
		what, _, _ := strings.Cut(refusal.Reason, " is not ")
		return r.facts.defined(r.checker, l.e.outs["out"], refusal.Outputs[0], text+verb+what)
	}
	span := r.sqlSpan(l.e, l.query(), at)
	span.Label = text + verb + "this"
	return span
}

// offsetOf returns the byte of a query that a refusal is about. DuckDB does not say it of all
// clauses; then it is where a word of the clause is, if there is only one such place.
func offsetOf(refusal *rowsql.Refusal, query string) int {
	if at := only(`\bOVER\b`, query); at >= 0 && strings.Contains(refusal.Reason, "window") {
		return at
	}
	if refusal.Offset >= 0 {
		return refusal.Offset
	}
	words := []string{`\bOVER\b`, `\bGROUP\s+BY\b`, `\bORDER\s+BY\b`, `\bLIMIT\b`, `\bDISTINCT\b`, `\bUNION\b`}
	named := []string{"window", "GROUP BY", "ORDER BY", "LIMIT", "DISTINCT", "UNION"}
	pattern := ""
	if refusal.Lookup != "" {
		return joinOf(refusal.Lookup, query)
	} else if i := slices.IndexFunc(named, func(name string) bool { return strings.Contains(refusal.Reason, name) }); i >= 0 {
		pattern = words[i]
	}
	if pattern == "" {
		return -1
	}
	return only(pattern, query)
}

// joinOf returns the byte of a query where a table is joined, or -1.
func joinOf(table, query string) int { return only(`\bJOIN\s+"?`+regexp.QuoteMeta(table)+`\b`, query) }

// only returns where a pattern matches, if it is only one place.
func only(pattern, query string) int {
	if all := regexp.MustCompile("(?i)"+pattern).FindAllStringIndex(query, 2); len(all) == 1 {
		return all[0][0]
	}
	return -1
}

// refusalHint says how to do without what a request cannot have computed.
func refusalHint(reason string) string {
	for part, hint := range map[string]string{
		"adds floats":            "cast what is added to DECIMAL(18, n), with n digits after the point: its sum does not depend on the order",
		"total may be too large": "cast what is added to BIGINT, or to at most DECIMAL(18, n)",
		"looks ahead":            "end the frame with CURRENT ROW or before it, or exclude the column from the model",
		"ordered by a time":      "order the window by the time of the rows",
		"without ORDER BY":       "order the window by the time of the rows",
		"what another window":    "write all windows in one query over the rows",
	} {
		if strings.Contains(reason, part) {
			return hint
		}
	}
	for _, part := range []string{"aggregate", "window", "subquery", "DISTINCT", "UNION", "several rows"} {
		if strings.Contains(reason, part) {
			return "compute what needs several rows in a feature of its own, join that by its keys, and list it in lookup"
		}
	}
	for _, part := range []string{"ORDER BY", "LIMIT"} {
		if strings.Contains(reason, part) {
			return "leave it out: the rows of a feature are sorted by its keys"
		}
	}
	return "docs/serving.md lists what is computed"
}
