package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// showRevision shows a revision and the outcome of each unit.
func (a *app) showRevision(ctx context.Context, w *project.Workspace, name string, asJSON bool) error {
	r, err := w.RevisionDetail(ctx, name, asJSON)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(r)
	}
	a.printRevision(r.Revision)
	return nil
}

func (a *app) printRevision(r project.Revision) {
	out := a.stdout
	fmt.Fprintf(out, "%s  %s on %s: %s\n", a.paint(bold, fmt.Sprintf("@%d", r.Number)), a.named(r.System, r.Env), r.Target, r.Outcome)
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(out, "  %-9s %s\n", name, text)
		}
	}
	if r.Act == state.Rollback {
		row("rollback", fmt.Sprintf("to @%d", r.BackTo))
	}
	if r.Act == state.Release {
		row("release", "of a version of a service")
		if r.BackTo > 0 {
			row("back to", fmt.Sprintf("the champion of @%d", r.BackTo))
		}
	}
	if r.Cause != nil {
		row("cause", printable(r.Cause.String()))
		row("loop", r.Cause.Loop)
	}
	row("started", r.Started.Local().Format(time.DateTime))
	if !r.Finished.IsZero() {
		row("took", took(r.Finished.Sub(r.Started)))
	}
	row("by", strings.TrimPrefix(r.By(), "by "))
	row("commit", r.Commit)
	row("tags", strings.Join(r.Tags, " "))
	row("ir", artifact.Short(r.IR))
	row("plan", artifact.Short(r.Plan))
	for _, m := range r.Moves {
		row("moved", m.From+" -> "+m.To)
	}
	if len(r.Units) == 0 {
		return
	}
	fmt.Fprintln(out)
	width := 0
	for _, d := range r.Units {
		width = max(width, len(d.Unit))
	}
	for _, d := range r.Units {
		a.printOutcome(d, width)
	}
}

var outcomeMarks = map[string]struct{ mark, color string }{
	"ran": {"✓", green}, "created": {"+", green}, "updated": {"~", yellow}, "replaced": {"±", yellow}, "released": {"→", cyan}, "deleted": {"-", red},
	"failed": {"✗", red}, "killed": {"✗", red}, "stopped": {"-", yellow}, "audited": {"?", cyan},
}

func (a *app) printOutcome(d project.Outcome, width int) {
	m, ok := outcomeMarks[d.Did]
	if !ok {
		m.mark, m.color = "=", faint
	}
	text := a.paint(m.color, pad(d.Did, 9))
	if d.Took > 0 {
		text += "  " + took(d.Took)
	}
	if d.Attempts > 1 {
		text += fmt.Sprintf(", %d attempts", d.Attempts)
	}
	if used := usageLine(d.Usage); used != "" {
		text += "  " + a.paint(faint, used)
	}
	text += metricsLine(d.Metrics)
	if d.Error != "" {
		text += "  " + clipTo(d.Error, lineLimit)
	}
	fmt.Fprintf(a.stdout, "  %s %s  %s\n", a.paint(m.color, m.mark), pad(d.Unit, width), strings.TrimRight(text, " "))
	if d.Action.Changes() && !slices.ContainsFunc(d.Reasons, func(r planner.Reason) bool { return r.What == "new" }) {
		for _, r := range d.Reasons {
			fmt.Fprintf(a.stdout, "      %s\n", a.reason(r))
		}
	}
}
