package lang

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
)

// enums merges the faults of a value that is not one of the strings of a disjunction: CUE
// reports one conflict for each of them. The result has the format [notOneOf] and the
// found value, then the strings, as arguments.
func enums(fs []fault) []fault {
	alternatives := map[string][]fault{}
	disjunction := map[string]bool{}
	for _, f := range fs {
		p := strings.Join(f.path, ".")
		switch f.format {
		case emptyDisj:
			disjunction[p] = true
		case conflict, mismatch, outOfBound:
			alternatives[p] = append(alternatives[p], f)
		}
	}
	var out []fault
	for _, f := range fs {
		p := strings.Join(f.path, ".")
		if merged, ok := mergeEnum(alternatives[p]); ok && disjunction[p] {
			if f.format == emptyDisj {
				out = append(out, merged)
			}
			continue
		}
		out = append(out, f)
	}
	return out
}

func mergeEnum(fs []fault) (fault, bool) {
	if len(fs) < 2 {
		return fault{}, false
	}
	found := ""
	for _, candidate := range []string{fs[0].arg(0), fs[0].arg(1)} {
		if !slices.ContainsFunc(fs, func(f fault) bool { return f.arg(0) != candidate && f.arg(1) != candidate }) {
			found = candidate
		}
	}
	if found == "" {
		return fault{}, false
	}
	type option struct {
		text string
		at   diag.Pos
	}
	var options []option
	shared := func(p diag.Pos) bool {
		return !slices.ContainsFunc(fs, func(f fault) bool { return !slices.Contains(f.user, p) && !slices.Contains(f.lib, p) })
	}
	merged := fs[0]
	merged.user, merged.lib = nil, nil
	for _, f := range fs {
		o := option{text: f.arg(0)}
		if o.text == found {
			o.text = f.arg(1)
		}
		if _, err := strconv.Unquote(o.text); err != nil || f.format == outOfBound {
			return fault{}, false
		}
		for _, p := range slices.Concat(f.user, f.lib) {
			switch {
			case !shared(p):
				o.at = p
			case slices.Contains(f.user, p) && !slices.Contains(merged.user, p):
				merged.user = append(merged.user, p)
			}
		}
		if !slices.ContainsFunc(options, func(x option) bool { return x.text == o.text }) {
			options = append(options, o)
		}
	}
	slices.SortStableFunc(options, func(a, b option) int {
		return cmp.Or(cmp.Compare(a.at.File, b.at.File), cmp.Compare(a.at.Line, b.at.Line), cmp.Compare(a.at.Col, b.at.Col))
	})
	merged.format, merged.args = notOneOf, []any{found}
	for _, o := range options {
		merged.args = append(merged.args, o.text)
	}
	if at := options[0].at; isLibrary(at.File) {
		merged.lib = []diag.Pos{at}
	} else if at.File != "" {
		merged.user = append(merged.user, at)
	}
	return merged, true
}

// explainEnum describes a value that is not one of the strings that its field allows.
func (s *System) explainEnum(f fault) diag.Diagnostic {
	if d, ok := s.explainTag(f); ok {
		return d
	}
	found := f.arg(0)
	var wanted []string
	for i := range f.args[1:] {
		text, _ := strconv.Unquote(f.arg(i + 1))
		wanted = append(wanted, text)
	}
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s cannot be %s", strings.Join(f.path, "."), found),
		Wanted:  "one of " + strings.Join(wanted, ", "),
		Found:   found,
	}
	if text, err := strconv.Unquote(found); err == nil {
		if near := diag.Nearest(text, wanted); near != "" {
			d.Hint = diag.DidYouMean(text, wanted)
		}
	}
	required := slices.Concat(f.lib, f.user[max(0, len(f.user)-1):])[0]
	for _, p := range f.user {
		if strings.HasPrefix(string(s.textAt(diag.Span{Pos: p})), found) && p != required {
			d.Spans = append(d.Spans, diag.Span{Pos: p})
		}
	}
	if len(d.Spans) == 0 {
		d.Spans = s.spans(f, "")
	}
	if len(f.lib) > 0 || len(f.user) > 1 {
		d.Spans = append(d.Spans, diag.Span{Pos: required, Label: "allowed here"})
	}
	return d
}
