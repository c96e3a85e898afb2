package lang

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/token"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/protect"
)

// protectField is the field of an environment with the rules for those who change it:
//
//	environments: prod: protect: {who: ["ann"], approvals: 1}
//
// The rules are no part of the system. They are written as plain values, and are read from the
// text without evaluating anything.
const protectField = "protect"

// takeProtection takes the rules out of what an environment declares.
func (e *environments) takeProtection(env string, decls []ast.Decl) []ast.Decl {
	kept := decls[:0:0]
	for _, d := range decls {
		field, ok := d.(*ast.Field)
		if !ok || !namesProtection(field) {
			kept = append(kept, d)
			continue
		}
		if plainName(field) == "" {
			e.fault(field.Label, "protect must be written as a plain field: protect: {...}")
			continue
		}
		if e.rules[env] == nil {
			e.rules[env] = &protect.Rules{}
		}
		e.readProtection(e.rules[env], field.Value)
	}
	return kept
}

// namesProtection reports whether a field is protect, also one that is written in a way that
// is refused, such as protect?.
func namesProtection(f *ast.Field) bool {
	name, _, err := ast.LabelName(f.Label)
	return err == nil && name == protectField
}

func (e *environments) readProtection(r *protect.Rules, value ast.Expr) {
	for name, field := range e.literalFields(value, "protect", "who", "approvals", "freeze") {
		switch name {
		case "who":
			if r.Who != nil {
				e.fault(field.Label, "who is written twice")
				continue
			}
			r.Who = e.readWho(field.Value)
		case "approvals":
			if r.Approvals != 0 {
				e.fault(field.Label, "approvals is written twice")
				continue
			}
			n, ok := literalNumber(field.Value)
			if !ok || n < 0 || n > mostApprovals {
				e.fault(field.Value, fmt.Sprintf("approvals must be written as a number from 0 to %d", mostApprovals))
			}
			r.Approvals = n
		case "freeze":
			if r.Freeze != nil {
				e.fault(field.Label, "freeze is written twice")
				continue
			}
			list, ok := field.Value.(*ast.ListLit)
			if !ok {
				e.fault(field.Value, `freeze must be written as a list: [{from: "2026-12-24T00:00:00Z", to: "2027-01-02T00:00:00Z", reason: "holidays"}]`)
				continue
			}
			for _, x := range list.Elts {
				r.Freeze = append(r.Freeze, e.readWindow(x))
			}
		}
	}
}

// mostApprovals bounds approvals, so that a slip of the finger is found.
const mostApprovals = 20

func (e *environments) readWho(value ast.Expr) (who []string) {
	list, ok := value.(*ast.ListLit)
	if !ok || len(list.Elts) == 0 {
		e.fault(value, `who must be written as a list: ["ann", "ci:acme/deploy@main"]; leave it out to let everybody change the environment`)
		return nil
	}
	for _, x := range list.Elts {
		text, ok := literalString(x)
		project, ci := strings.CutPrefix(text, "ci:")
		switch name, ref, at := strings.Cut(project, "@"); {
		case !ok || strings.TrimSpace(text) != text || text == "":
			e.fault(x, `who lists names of users and of CI jobs, such as "ann" or "ci:acme/deploy@main"`)
		case ci && (!at || name == "" || ref == ""):
			e.fault(x, fmt.Sprintf("%q names no branch: write ci:PROJECT@BRANCH, such as ci:acme/deploy@main", text))
		}
		who = append(who, text)
	}
	return who
}

func (e *environments) readWindow(value ast.Expr) (w protect.Window) {
	var sound = true
	for name, field := range e.literalFields(value, "a freeze", "days", "from", "to", "zone", "reason") {
		if name == "days" {
			w.Days = e.readDays(field.Value)
			sound = sound && w.Days != nil
			continue
		}
		text, ok := literalString(field.Value)
		if !ok {
			e.fault(field.Value, name+" must be written as a string")
			sound = false
		}
		switch name {
		case "from":
			w.From = text
		case "to":
			w.To = text
		case "zone":
			w.Zone = text
		case "reason":
			w.Reason = text
		}
	}
	if _, ok := value.(*ast.StructLit); !ok || !sound {
		return w
	}
	if err := w.Check(); err != nil {
		e.fault(value, err.Error())
	}
	return w
}

// readDays returns the days of a weekly freeze, or nil after a fault.
func (e *environments) readDays(value ast.Expr) (days []string) {
	list, ok := value.(*ast.ListLit)
	if !ok || len(list.Elts) == 0 {
		e.fault(value, `days must be written as a list: ["fri"]`)
		return nil
	}
	for _, x := range list.Elts {
		day, ok := literalString(x)
		if !ok {
			e.fault(x, `days must be written as strings, such as "fri"`)
			return nil
		}
		days = append(days, day)
	}
	return days
}

// literalFields returns the fields of a struct by name, and reports all that is none of them.
func (e *environments) literalFields(value ast.Expr, what string, known ...string) map[string]*ast.Field {
	lit, ok := value.(*ast.StructLit)
	if !ok {
		e.fault(value, fmt.Sprintf("%s must be written as a struct with %s", what, strings.Join(known, ", ")))
		return nil
	}
	found := map[string]*ast.Field{}
	for _, d := range lit.Elts {
		field, ok := d.(*ast.Field)
		name := plainName(field)
		switch {
		case !ok || name == "":
			e.fault(d, fmt.Sprintf("%s has only plain fields: %s", what, strings.Join(known, ", ")))
		case found[name] != nil:
			e.fault(field.Label, name+" is written twice")
		case !slices.Contains(known, name):
			message := fmt.Sprintf("%s has no field %q, only %s", what, name, strings.Join(known, ", "))
			if near := diag.DidYouMean(name, known); near != "" {
				message += "; " + near
			}
			e.fault(field.Label, message)
		default:
			found[name] = field
		}
	}
	return found
}

func literalString(x ast.Expr) (string, bool) {
	lit, ok := x.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	text, err := literal.Unquote(lit.Value)
	return text, err == nil
}

func literalNumber(x ast.Expr) (int, bool) {
	lit, ok := x.(*ast.BasicLit)
	if !ok || lit.Kind != token.INT {
		return 0, false
	}
	n, err := strconv.Atoi(lit.Value)
	return n, err == nil
}
