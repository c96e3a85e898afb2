package systemtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
)

// A head is what the first lines of a test ask for.
type head struct {
	about   string
	tags    []string
	edits   []directive // edit and file, in order
	ir      []directive
	plan    *directive
	errors  *directive
	feature *directive
}

// A directive is one line.
type directive struct {
	line int
	name string
	args []string
}

func (h *head) edited() bool { return len(h.edits) > 0 }

// usage says how each directive is written.
var usage = map[string]string{
	"tag":     "tag NAME=VALUE",
	"edit":    `edit FILE "old" "new"`,
	"file":    "file FILE",
	"ir":      "ir [UNIT]",
	"plan":    "plan from nothing, plan from . or plan from @REVISION",
	"errors":  "errors",
	"feature": "feature NAME",
}

var directives = []string{"edit", "errors", "feature", "file", "ir", "plan", "tag"}

func parseHead(comment string) (head, []Failure) {
	var h head
	var faults []Failure
	for i, line := range lines(comment) {
		line = strings.TrimSpace(line)
		if about, ok := strings.CutPrefix(line, "#"); ok && h.about == "" {
			h.about = strings.TrimSpace(about)
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if err := h.directive(i+1, line); err != nil {
			faults = append(faults, Failure{Line: i + 1, Message: err.Error()})
		}
	}
	switch {
	case len(faults) > 0:
	case len(h.ir) == 0 && h.plan == nil && h.errors == nil && h.feature == nil:
		faults = append(faults, Failure{Line: 1, Message: "the test expects nothing: add ir, plan, errors or feature"})
	case h.errors != nil && h.feature == nil && (h.plan != nil || len(h.ir) > 0):
		faults = append(faults, Failure{Line: h.errors.line, Message: "a system with errors has no plan and no ir: write separate tests"})
	}
	return h, faults
}

func (h *head) directive(n int, line string) error {
	w, err := words(line)
	if err != nil {
		return err
	}
	d := directive{line: n, name: w[0], args: w[1:]}
	wrong := fmt.Errorf("usage: %s", usage[d.name])
	once := func(to **directive) error {
		if *to != nil {
			return fmt.Errorf("%s is already on line %d", d.name, (*to).line)
		}
		*to = &d
		return nil
	}
	switch d.name {
	case "tag":
		if len(d.args) != 1 {
			return wrong
		}
		h.tags = append(h.tags, d.args[0])
	case "edit":
		if len(d.args) != 3 || d.args[1] == "" {
			return wrong
		}
		h.edits = append(h.edits, d)
	case "file":
		if len(d.args) != 1 {
			return wrong
		}
		h.edits = append(h.edits, d)
	case "ir":
		if len(d.args) > 1 {
			return wrong
		}
		if slices.ContainsFunc(h.ir, func(o directive) bool { return slices.Equal(o.args, d.args) }) {
			return fmt.Errorf("duplicate %s", line)
		}
		h.ir = append(h.ir, d)
	case "plan":
		if len(d.args) != 2 || d.args[0] != "from" {
			return wrong
		}
		return once(&h.plan)
	case "errors":
		if len(d.args) != 0 {
			return wrong
		}
		return once(&h.errors)
	case "feature":
		if len(d.args) != 1 {
			return wrong
		}
		d.args[0] = strings.Replace(d.args[0], ".", "/", 1)
		return once(&h.feature)
	default:
		return fmt.Errorf("unknown directive %q: %s", d.name, diag.DidYouMean(d.name, directives))
	}
	return nil
}

// words splits a line at spaces. A word may be quoted as in Go.
func words(line string) ([]string, error) {
	var out []string
	for rest := line; rest != ""; rest = strings.TrimLeft(rest, " \t") {
		if rest[0] != '"' && rest[0] != '`' {
			n := strings.IndexAny(rest, " \t")
			if n < 0 {
				n = len(rest)
			}
			out, rest = append(out, rest[:n]), rest[n:]
			continue
		}
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return nil, fmt.Errorf("unclosed quote or unknown escape: %s", rest)
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", quoted, err)
		}
		out, rest = append(out, word), rest[len(quoted):]
	}
	return out, nil
}

// uses says which directive would use a section.
func (h *head) uses(section string) string {
	name, unit, _ := strings.Cut(section, " ")
	switch {
	case section == "ir", section == "errors":
		return fmt.Sprintf("it needs the directive `%s`", section)
	case name == "ir":
		return fmt.Sprintf("it needs the directive `ir %s`", unit)
	case section == "plan":
		return "it needs the directive `plan from ...`"
	case section == "want.csv" && h.feature != nil:
		return "a feature gives want.csv or errors, not both"
	case section == "want.csv":
		return "it needs the directive `feature NAME`"
	}
	return fmt.Sprintf("to put a file in the system, write `file %s`", section)
}
