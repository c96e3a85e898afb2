package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/process"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/planner/state"
)

// A unitStatus is one line of tenon status.
type unitStatus struct {
	Unit     string             `json:"unit"`
	Kind     ir.Kind            `json:"kind"`
	Phase    state.Phase        `json:"phase"`
	Message  string             `json:"message,omitempty"`
	Endpoint string             `json:"endpoint,omitempty"`
	Since    time.Time          `json:"since"`
	Took     time.Duration      `json:"took_ns,omitempty"`
	Metrics  map[string]float64 `json:"metrics,omitempty"`
}

func statusCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "status [DIR]", Short: "Show what stands and how it does", Args: atMost(1, "one folder"),
		Long: `Shows every unit that stands. Services are looked at: one that died is said to have,
and one whose executor cannot be asked is unknown. While an apply is under way, here,
on another machine or in the cluster, the units at work are shown as well.`,
		Example: "  tenon status\n  tenon status --json",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, folder(args), func(w *workspace) error {
				units, err := a.unitStatuses(ctx, w)
				if err != nil {
					return err
				}
				last, err := w.store.Revisions(ctx, 1)
				if err != nil {
					return err
				}
				var failed []state.Run
				var now *underWay
				if len(last) > 0 {
					if failed, err = a.failedIn(ctx, w, last[0]); err != nil {
						return err
					}
				}
				if len(last) > 0 && last[0].Outcome == state.Started {
					if now, err = a.underWayIn(ctx, w, last[0]); err != nil {
						return err
					}
				}
				if asJSON {
					doc := map[string]any{"units": units, "failed": failed}
					if len(last) > 0 {
						doc["revision"] = last[0]
					}
					if now != nil {
						doc["under_way"] = now
					}
					return a.printJSON(doc)
				}
				return a.printStatus(units, last, failed, now)
			})
		},
	}
	a.stateFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// unknown is the phase of a service whose executor cannot be asked.
const unknown state.Phase = "unknown"

func (a *app) unitStatuses(ctx context.Context, w *workspace) ([]unitStatus, error) {
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	standing, err := standingRuns(ctx, w)
	if err != nil {
		return nil, err
	}
	x, err := a.route(ir.Target{Executor: process.Name}, setting{dir: w.dir}, nil)
	if err != nil {
		return nil, err
	}
	out := []unitStatus{}
	for id, c := range current {
		s := unitStatus{Unit: id, Kind: c.Kind, Phase: state.Succeeded, Since: c.Since}
		if run, ok := standing[id]; ok {
			s.Took, s.Metrics = run.Took(), run.Metrics
		}
		if c.Handle != nil {
			st, err := x.Inspect(ctx, *c.Handle)
			switch {
			case ctx.Err() != nil:
				return nil, context.Cause(ctx)
			case err != nil: // the others can be told of all the same
				st = state.Status{Phase: unknown, Message: err.Error()}
			}
			s.Phase, s.Message = st.Phase, st.Message
			if u, err := w.store.Unit(ctx, id); err == nil && u != nil && u.Endpoint != nil {
				s.Endpoint = cmp.Or(c.Handle.Endpoint, endpointURL(u.Endpoint))
			}
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b unitStatus) int { return inOrder(a.Unit, b.Unit) })
	return out, nil
}

// stages of a model, in the order they run.
var stages = []string{"split", "train", "evaluate", "gate", "register"}

// inOrder compares units as people think of them: sources first, services
// last, the stages of a model as they run.
func inOrder(a, b string) int {
	entityA, stageA := ir.SplitID(a)
	entityB, stageB := ir.SplitID(b)
	section := func(entity string) int {
		name, _, _ := strings.Cut(entity, "/")
		return slices.Index(lang.Sections, name)
	}
	return cmp.Or(
		cmp.Compare(section(entityA), section(entityB)),
		cmp.Compare(entityA, entityB),
		cmp.Compare(slices.Index(stages, stageA), slices.Index(stages, stageB)),
		cmp.Compare(a, b),
	)
}

func endpointURL(e *ir.Endpoint) string { return fmt.Sprintf("http://%s:%d", e.Host, e.Port) }

// failedIn are the runs of a revision that failed, the last attempt of each unit.
func (a *app) failedIn(ctx context.Context, w *workspace, r state.Revision) ([]state.Run, error) {
	runs, err := w.store.RunsOf(ctx, r.Number)
	if err != nil {
		return nil, err
	}
	last := map[string]state.Run{}
	for _, run := range runs {
		if prev, ok := last[run.Unit]; !ok || run.ID > prev.ID {
			last[run.Unit] = run
		}
	}
	failed := []state.Run{}
	for _, run := range last {
		if run.Outcome == state.Failure {
			failed = append(failed, run)
		}
	}
	slices.SortFunc(failed, func(a, b state.Run) int { return inOrder(a.Unit, b.Unit) })
	return failed, nil
}

func (a *app) printStatus(units []unitStatus, last []state.Revision, failed []state.Run, now *underWay) error {
	if len(units) == 0 && len(failed) == 0 && now == nil {
		_, err := fmt.Fprintln(a.stdout, "Nothing stands.")
		return err
	}
	if len(last) > 0 {
		r := last[0]
		fmt.Fprintf(a.stdout, "%s on %s, revision %d, %s, %s\n", a.paint(bold, r.System), r.Target, r.Number, r.Outcome, r.Started.Local().Format(time.DateTime))
		if now != nil {
			fmt.Fprintln(a.stdout, now)
		}
		fmt.Fprintln(a.stdout)
	}
	width := 0
	if now != nil {
		for _, r := range now.Units {
			width = max(width, len(r.Unit))
		}
	}
	for _, u := range units {
		width = max(width, len(u.Unit))
	}
	for _, f := range failed {
		width = max(width, len(f.Unit))
	}
	for _, u := range units {
		mark, color := "✓", green
		text := took(u.Took) + metricsLine(u.Metrics)
		switch {
		case u.Kind == ir.Service && u.Phase == state.Ready:
			text = u.Endpoint + " ready since " + u.Since.Local().Format(time.DateTime)
		case u.Kind == ir.Service && u.Phase == unknown:
			mark, color = "?", yellow
			text = fmt.Sprintf("%s unknown: %s", u.Endpoint, u.Message)
		case u.Kind == ir.Service:
			mark, color = "✗", red
			text = fmt.Sprintf("%s %s: %s; tenon apply replaces it", u.Endpoint, u.Phase, cmp.Or(u.Message, "something other than tenon ended it"))
		case u.Kind == ir.Record:
			text = "written"
		}
		fmt.Fprintf(a.stdout, "  %s %s  %s\n", a.paint(color, mark), pad(u.Unit, width), text)
	}
	if now != nil {
		for _, r := range now.Units {
			text := "at work for " + took(time.Since(r.Started).Round(time.Second))
			if r.Attempt > 1 {
				text += fmt.Sprintf(", attempt %d", r.Attempt)
			}
			if r.Waits != "" {
				text += "; waits: " + a.clip(r.Waits)
			}
			fmt.Fprintf(a.stdout, "  %s %s  %s\n", a.paint(blue, "▸"), pad(r.Unit, width), text)
		}
	}
	for _, f := range failed {
		fmt.Fprintf(a.stdout, "  %s %s  failed: %s\n", a.paint(red, "✗"), pad(f.Unit, width), clipTo(f.Error, lineLimit))
	}
	return nil
}
