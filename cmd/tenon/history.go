package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

func historyCommand(a *app) *cobra.Command {
	var asJSON bool
	var limit int
	c := &cobra.Command{
		Use: "history [DIR]", Short: "List the revisions: every apply, what it did", Args: atMost(1, "one folder"),
		Long: `Lists every apply, newest first: when, how it ended, how long it took, at which
git commit and with which tags, and what it did. "*" marks the revisions that are
what stands now. tenon show @N tells all of one.`,
		Example: "  tenon history\n  tenon history -n 0\n  tenon show @3\n  tenon rollback @3",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, folder(args), func(w *workspace) error {
				all, err := w.store.Revisions(ctx, 0)
				if err != nil {
					return err
				}
				revisions := all
				if limit > 0 {
					revisions = all[:min(limit, len(all))]
				}
				recaps := make([]recap, len(revisions))
				for i, r := range revisions {
					if recaps[i], err = w.recap(ctx, r, all); err != nil {
						return err
					}
				}
				if asJSON {
					return a.printJSON(recaps)
				}
				return a.printHistory(ctx, w, recaps)
			})
		},
	}
	a.stateFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().IntVarP(&limit, "limit", "n", 20, "list the newest `N` (0: all)")
	return c
}

// A recap is a revision with what became of each unit.
type recap struct {
	state.Revision
	Units []deed `json:"units"`
}

// A deed is what a revision did with one unit.
type deed struct {
	Unit     string             `json:"unit"`
	Kind     ir.Kind            `json:"kind,omitempty"`
	Action   planner.Action     `json:"action"` // that was planned
	Did      string             `json:"did"`    // "ran", "reused", "failed", ...
	Attempts int                `json:"attempts,omitempty"`
	Took     time.Duration      `json:"took_ns,omitempty"`
	Usage    state.Usage        `json:"usage,omitzero"` // of the last attempt
	Metrics  map[string]float64 `json:"metrics,omitempty"`
	Reasons  []planner.Reason   `json:"reasons,omitempty"`
	Error    string             `json:"error,omitempty"`
}

// recap tells a revision from its plan and its runs, given all revisions.
func (w *workspace) recap(ctx context.Context, r state.Revision, all []state.Revision) (recap, error) {
	out := recap{Revision: r, Units: []deed{}}
	p, err := w.recordedPlan(ctx, &r)
	if errors.Is(err, artifact.ErrMissing) {
		return out, nil // what was removed by hand is not told
	}
	if err != nil {
		return out, err
	}
	runs, err := w.store.RunsOf(ctx, r.Number)
	if err != nil {
		return out, err
	}
	now := namesSince(r, all)
	byUnit := map[string][]state.Run{}
	for _, run := range runs {
		if run.Attempt > 0 { // else the end of a service that was replaced
			byUnit[run.Unit] = append(byUnit[run.Unit], run)
		}
	}
	held := map[string]bool{} // by a unit that did not come out
	for _, i := range p.Items {
		name := i.Unit
		if renamed, ok := now[name]; ok {
			name = renamed
		}
		d := deedOf(r, i, byUnit[name])
		if u := p.System.Unit(i.Unit); u != nil && slices.ContainsFunc(u.Inputs, func(in ir.Input) bool { return held[in.Unit] && !in.Incumbent }) && len(byUnit[name]) == 0 {
			d.Did = notRun
		}
		held[i.Unit] = slices.Contains(unfinished, d.Did)
		out.Units = append(out.Units, d)
	}
	return out, nil
}

const notRun = "not run"

// unfinished are the deeds after which what reads from a unit did not run.
var unfinished = []string{"failed", "killed", "stopped", notRun}

func deedOf(r state.Revision, i planner.Item, runs []state.Run) deed {
	d := deed{Unit: i.Unit, Kind: i.Kind, Action: i.Action, Reasons: i.Reasons, Attempts: len(runs)}
	if len(runs) == 0 {
		d.Did = withoutRun(r, i)
		return d
	}
	last := runs[len(runs)-1]
	d.Usage, d.Metrics, d.Error = last.Usage, last.Metrics, last.Error
	if !last.Finished.IsZero() {
		d.Took = last.Took()
	}
	switch last.Outcome {
	case state.Done:
		d.Did = past[i.Action]
	case state.Failure:
		d.Did = "failed"
	case state.Audited:
		d.Did = "audited"
	case state.Canceled:
		d.Did = "stopped"
	default:
		d.Did = "killed"
	}
	return d
}

// past is what an action is called once it is done.
var past = map[planner.Action]string{
	planner.Run: "ran", planner.Reuse: "reused", planner.Create: "created", planner.Update: "updated",
	planner.Replace: "replaced", planner.Delete: "deleted", planner.None: "unchanged",
}

// withoutRun tells what became of a unit that has no run in the revision.
func withoutRun(r state.Revision, i planner.Item) string {
	switch {
	case !i.Action.Changes(), r.Outcome == state.Done && i.Action == planner.Delete:
		return past[i.Action]
	case r.Outcome == state.Killed || r.Outcome == state.Started:
		return "not finished"
	case r.Outcome == state.Failure && i.Unless && i.Kind == ir.Job:
		return past[planner.Reuse] // what it reads came out, or it would be held
	case r.Outcome != state.Done && (i.Unless || i.Action == planner.Delete):
		return "not known" // it leaves no run, whether it was done or not
	case r.Outcome != state.Done:
		return notRun
	case i.Kind == ir.Job:
		return past[planner.Reuse]
	}
	return past[planner.None]
}

func (a *app) printHistory(ctx context.Context, w *workspace, recaps []recap) error {
	if len(recaps) == 0 {
		_, err := fmt.Fprintln(a.stdout, "Nothing was applied yet.")
		return err
	}
	now, err := w.standsNow(ctx)
	if err != nil {
		return err
	}
	t := table(a.stdout)
	fmt.Fprintln(t, "REVISION\tWHEN\tTOOK\tCOMMIT\tTAGS\tWHAT")
	for _, r := range recaps {
		mark := ""
		if r.Standing == now && r.Standing != "" {
			mark = " *"
		}
		duration := "-"
		if !r.Finished.IsZero() {
			duration = took(r.Finished.Sub(r.Started))
		}
		fmt.Fprintf(t, "@%d%s\t%s\t%s\t%s\t%s\t%s\n", r.Number, mark, r.Started.Local().Format(time.DateTime), duration,
			orDash(r.Commit[:min(len(r.Commit), 8)]), orDash(strings.Join(r.Tags, " ")), r.what())
	}
	return t.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// what tells a revision in a few words.
func (r recap) what() string {
	var parts []string
	switch r.Act {
	case state.Rollback:
		parts = append(parts, fmt.Sprintf("rollback to @%d", r.BackTo))
	case state.Destroy:
		parts = append(parts, "destroy")
	}
	if r.Outcome != state.Done {
		parts = append(parts, string(r.Outcome))
	}
	counts := map[string]int{}
	for _, d := range r.Units {
		counts[d.Did]++
	}
	for _, did := range []string{"failed", "killed", "stopped", "not finished", notRun, "not known", "ran", "audited", "reused", "created", "updated", "replaced", "deleted", "unchanged"} {
		if n := counts[did]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, did))
		}
	}
	if n := len(r.Moves); n > 0 {
		parts = append(parts, fmt.Sprintf("%d moved", n))
	}
	return strings.Join(parts, ", ")
}
