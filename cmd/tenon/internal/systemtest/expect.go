package systemtest

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/planner"
)

// A placeless unit is one without its place in the sources, which every line
// written above it would change.
type placeless struct {
	ir.Unit
	Pos *ir.Pos `json:"pos,omitempty"`
}

func (t *test) expectIR(sys *ir.System) {
	for i := range t.head.ir {
		d := &t.head.ir[i]
		if len(d.args) == 0 {
			all := struct {
				ir.System
				Units []placeless `json:"units"`
			}{System: *sys}
			all.Entities = nil // what is written in the sources, and where
			for _, u := range sys.Units {
				all.Units = append(all.Units, placeless{Unit: u})
			}
			t.document(d, "ir", all)
			continue
		}
		name := "ir " + d.args[0]
		if u := sys.Unit(d.args[0]); u != nil {
			t.document(d, name, placeless{Unit: *u})
			continue
		}
		var ids []string
		for _, u := range sys.Units {
			ids = append(ids, u.ID)
		}
		t.fail(d.line, "no unit %s%s", d.args[0], hint(diag.DidYouMean(d.args[0], ids)))
		t.archive.use(name)
	}
}

// document compares JSON with a section.
func (t *test) document(d *directive, name string, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.fail(d.line, "%v", err)
		return
	}
	t.golden(d, name, b.String())
}

func (t *test) expectPlan(ctx context.Context, declared compiled, sys *ir.System) {
	d := t.head.plan
	if d == nil {
		return
	}
	before, ok := t.before(ctx, d, declared)
	if !ok {
		t.archive.use("plan")
		return
	}
	p, err := planner.Simulate(ctx, before, sys, nil)
	if err == nil {
		var text string
		if text, err = t.Plan(p); err == nil {
			t.golden(d, "plan", text)
			return
		}
	}
	t.fail(d.line, "%v", err)
}

// before returns the system that is deployed when the plan is made.
func (t *test) before(ctx context.Context, d *directive, declared compiled) (*ir.System, bool) {
	from := d.args[1]
	number, isRevision := strings.CutPrefix(from, "@")
	n, err := strconv.Atoi(number)
	switch {
	case from == "nothing":
		return nil, true
	case from == ".":
		if declared.sys == nil {
			t.failure(Failure{Line: d.line, Message: "the system does not compile without the edits, so there is nothing to compare with", Detail: declared.faults})
		}
		return declared.sys, declared.sys != nil
	case isRevision && err == nil && n > 0:
		sys, err := t.Revision(ctx, n)
		if err != nil {
			t.fail(d.line, "%v", err)
		}
		return sys, err == nil
	}
	t.fail(d.line, "usage: %s", usage["plan"])
	return nil, false
}

// hint is the second half of a message, if there is one.
func hint(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}
