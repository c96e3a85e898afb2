package lang

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/ast/astutil"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/token"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/protect"
)

// environmentsField is the field of a system with what differs between its environments:
//
//	environments: prod: deployments: api: port: 9090
//
// The value of the chosen one is unified with the system, as if it was written at the top of
// its file. What belongs to the others is parsed, and its names are resolved, but it is not
// evaluated.
const environmentsField = "environments"

// EnvironmentName matches the names of environments.
var EnvironmentName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,19}$`)

// environments are those that the files of a system declare.
type environments struct {
	chosen string

	mu     sync.Mutex // files are parsed in parallel
	names  map[string]token.Pos
	ours   []ast.Node // what the chosen one adds
	decls  map[*ast.File][]ast.Decl
	rules  map[string]*protect.Rules // for those who change them
	faults []environmentFault
}

type environmentFault struct {
	at      token.Pos
	message string
}

// take takes the field out of a file, and adds the declarations of the chosen environment to
// the others of the file. Names then mean what they mean there.
func (e *environments) take(f *ast.File) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	found := false
	var chosen []ast.Decl
	for _, d := range f.Decls {
		field, ok := d.(*ast.Field)
		if !ok || plainName(field) != environmentsField {
			continue
		}
		found = true
		lit, ok := field.Value.(*ast.StructLit)
		if !ok {
			e.fault(field.Value, "environments must be written as a struct: environments: prod: {...}")
			continue
		}
		// The other environments stay, so that what is imported for them is used, as an
		// optional field that nothing refers to.
		kept := lit.Elts[:0:0]
		for _, d := range lit.Elts {
			of, ok := d.(*ast.Field)
			name := plainName(of)
			switch {
			case !ok || name == "":
				e.fault(d, "an environment must be written with its name: environments: prod: {...}")
				continue
			case !EnvironmentName.MatchString(name):
				e.fault(of.Label, fmt.Sprintf("%q cannot be the name of an environment: use up to 20 lower-case letters, digits and -, beginning with a letter", name))
				continue
			}
			if _, ok := e.names[name]; !ok {
				e.names[name] = of.Label.Pos()
			}
			if value, ok := of.Value.(*ast.StructLit); ok {
				value.Elts = e.takeProtection(name, value.Elts)
			}
			if name != e.chosen {
				kept = append(kept, d)
				continue
			}
			if value, ok := of.Value.(*ast.StructLit); ok {
				chosen = append(chosen, value.Elts...)
			} else {
				chosen = append(chosen, &ast.EmbedDecl{Expr: of.Value})
			}
		}
		lit.Elts = kept
		field.Label = &ast.Ident{NamePos: field.Label.Pos(), Name: "_" + environmentsField}
		field.Constraint = token.OPTION
	}
	if !found {
		return nil
	}
	for _, d := range chosen {
		if inner, ok := d.(*ast.Field); ok && plainName(inner) == environmentsField {
			e.fault(inner.Label, "an environment has no environments of its own")
		}
		e.ours = append(e.ours, d)
	}
	e.decls[f] = chosen
	f.Decls = append(f.Decls, chosen...)
	if len(chosen) == 0 {
		return nil
	}
	ast.Walk(f, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok {
			id.Node, id.Scope = nil, nil
		}
		return true
	}, nil)
	var err errors.Error
	astutil.Resolve(f, func(pos token.Pos, msg string, args ...any) { err = errors.Append(err, errors.Newf(pos, msg, args...)) })
	if err == nil {
		return nil
	}
	return err
}

func (e *environments) fault(n ast.Node, message string) {
	e.faults = append(e.faults, environmentFault{n.Pos(), message})
}

// declares reports whether a file belongs to the package of the system in dir, which may
// continue in the folders above.
func declares(dir, file string) bool {
	rel, err := filepath.Rel(filepath.Dir(file), dir)
	return err == nil && filepath.IsLocal(rel)
}

// checkEnvironments reports what is wrong with the declared environments, and a chosen one
// that is none of them.
func (s *System) checkEnvironments() error {
	e := &s.environments
	s.Environments = slices.Sorted(maps.Keys(e.names))
	s.Protect = e.rules[e.chosen]
	var faults diag.List
	for _, f := range e.faults {
		faults = append(faults, diag.Diagnostic{Message: f.message, Spans: []diag.Span{{Pos: s.Pos(f.at)}}})
	}
	if _, declared := e.names[e.chosen]; e.chosen != "" && !declared {
		d := diag.Diagnostic{Message: fmt.Sprintf("the system has no environment %q", e.chosen)}
		if len(e.names) == 0 {
			d.Hint = fmt.Sprintf("declare it: `environments: %s: {}`", e.chosen)
		} else {
			d.Hint = "declared are " + strings.Join(s.Environments, ", ")
			if near := diag.DidYouMean(e.chosen, s.Environments); near != "" {
				d.Hint += "; " + near
			}
			for _, name := range s.Environments {
				d.Spans = append(d.Spans, diag.Span{Pos: s.Pos(e.names[name]), Len: len(name)})
			}
		}
		faults = append(faults, d)
	}
	if len(faults) > 0 {
		return faults.Sort()
	}
	return nil
}

// inEnvironment reports whether a position is in what the chosen environment adds.
func (s *System) inEnvironment(p diag.Pos) bool {
	return slices.ContainsFunc(s.environments.ours, func(n ast.Node) bool {
		from, to := s.Pos(n.Pos()), s.Pos(n.End())
		return from.File == p.File && (p.Line > from.Line || p.Line == from.Line && p.Col >= from.Col) &&
			(p.Line < to.Line || p.Line == to.Line && p.Col <= to.Col)
	})
}

// explainEnvironment adds to a conflict how an environment may change a value.
func (s *System) explainEnvironment(f fault, d *diag.Diagnostic) {
	if s.environments.chosen == "" || f.format != conflict && f.format != mismatch {
		return
	}
	field := strings.Join(f.path, ".")
	within, without := "", ""
	for _, w := range s.decls()[field] {
		at := s.nodeSpan(w.value, "")
		text := s.text(w.value)
		if !slices.ContainsFunc(d.Spans, func(x diag.Span) bool { return x.Pos == at.Pos }) {
			d.Spans = append(d.Spans, at)
		}
		if s.inEnvironment(at.Pos) {
			within = text
		} else {
			without = text
		}
	}
	if within == "" || without == "" {
		return
	}
	for i := range d.Spans {
		d.Spans[i].Label = ""
		if s.inEnvironment(d.Spans[i].Pos) {
			d.Spans[i].Label = "the environment " + s.environments.chosen
		}
	}
	d.Hint = fmt.Sprintf("write the value that the environments share as a default: `*%s | %s`", without, describeType(within))
}

// text returns the source of a node on one line, or "".
func (s *System) text(n ast.Node) string {
	from, to := n.Pos().Offset(), n.End().Offset()
	b := s.Source(s.Pos(n.Pos()).File)
	if from < 0 || to > len(b) || from > to || strings.Contains(string(b[from:to]), "\n") {
		return ""
	}
	return string(b[from:to])
}

// describeType returns the type of a literal as one writes it.
func describeType(text string) string {
	switch {
	case strings.HasPrefix(text, `"`):
		return "string"
	case text == "true" || text == "false":
		return "bool"
	case regexp.MustCompile(`^-?[0-9_]+$`).MatchString(text):
		return "int"
	case regexp.MustCompile(`^-?[0-9_.]`).MatchString(text):
		return "number"
	}
	return "_"
}
