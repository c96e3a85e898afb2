package facts

import "strings"

// letters returns "upper" or "lower" if a text has no letters of the other case.
func (a *analysis) letters(e *expr, s *scope) string {
	args := e.args[:min(e.nargs, len(e.args))]
	switch {
	case e.kind == column && !s.binds(e.names):
		if c, ok := a.resolve(e.names, s); ok {
			return c.letters
		}
	case e.kind != call || len(args) == 0:
	case e.name == "upper" || e.name == "ucase":
		return "upper"
	case e.name == "lower" || e.name == "lcase":
		return "lower"
	case strings.HasSuffix(e.name, "trim") && len(args) == 1, e.name == "left", e.name == "right", e.name == "substring", e.name == "substr":
		return a.letters(args[0], s)
	}
	return ""
}

// compareLetters looks for comparisons of upper(x) with a text that has a lower case
// letter, and the reverse. Only letters of ASCII count.
func (a *analysis) compareLetters(e *expr, s *scope) {
	args := e.args
	if args[0].kind == constant {
		args = []*expr{args[len(args)-1], args[0]}
	}
	other := map[string]string{"upper": "abcdefghijklmnopqrstuvwxyz", "lower": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}[a.letters(args[0], s)]
	if other == "" || e.op != "=" && e.op != "<>" && e.op != "in" {
		return
	}
	for _, x := range args[1:] {
		if v := x.value; v != nil && !v.Number && strings.ContainsAny(v.Text, other) {
			a.find(Finding{Kind: OtherLetters, Column: a.letters(args[0], s), Constant: *v})
		}
	}
}
