package lang

import (
	"fmt"
	"strings"

	"cuelang.org/go/cue"

	"github.com/tenon-ml/tenon/internal/diag"
)

// explainKind describes a port that is bound to something of another kind.
func (s *System) explainKind(f fault, port []string) diag.Diagnostic {
	ref, at := s.Reference(port...)
	want, got := strings.Trim(f.arg(0), `"`), strings.Trim(f.arg(1), `"`)
	// CUE does not say which kind is whose; the producer shows it.
	if len(ref) >= 2 {
		if k, err := s.Lookup(append(ref[:len(ref):len(ref)], "kind")...).String(); err == nil && k == want {
			want, got = got, want
		}
	}
	kinds := s.kinds(port)
	if len(kinds) == 0 {
		kinds = []string{want}
	}
	var wanted, bindings []string
	for _, kind := range kinds {
		wanted = append(wanted, a(kind))
		section := map[string]string{"model": "models", "table": "features", "endpoint": "deployments", "monitor": "monitors"}[kind]
		if names := s.EntityNames(section); len(names) > 0 {
			bindings = append(bindings, fmt.Sprintf("%s, such as %s.%s.out", a(kind), section, names[0]))
		}
	}
	d := diag.Diagnostic{Wanted: strings.Join(wanted, " or "), Found: a(got), Spans: []diag.Span{at}}
	d.Message = fmt.Sprintf("%s needs %s, but %s is %s", strings.Join(port, "."), d.Wanted, strings.Join(ref, "."), d.Found)
	if at.File == "" {
		d.Spans = []diag.Span{s.At("", port...)}
		d.Message = fmt.Sprintf("%s needs %s but is bound to %s", strings.Join(port, "."), d.Wanted, d.Found)
	}
	if len(bindings) > 0 {
		d.Hint = "bind it to " + strings.Join(bindings, ", or to ")
	}
	return d
}

// kinds are those of which a port may be, or none if its definition does not say so.
func (s *System) kinds(port []string) (all []string) {
	def, rel := s.definition(port)
	if !def.Exists() {
		return nil
	}
	v := def.LookupPath(cue.MakePath(strs(rel)...))
	alternatives := []cue.Value{v}
	if op, args := v.Expr(); op == cue.OrOp {
		alternatives = args
	}
	for _, one := range alternatives {
		kind, err := one.LookupPath(cue.ParsePath("kind")).String()
		if err != nil {
			return nil
		}
		all = append(all, kind)
	}
	return all
}
