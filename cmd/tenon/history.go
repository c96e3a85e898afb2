package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner/state"
)

func historyCommand(a *app) *cobra.Command {
	var asJSON bool
	var limit int
	c := &cobra.Command{
		Use: "history [DIR]", Short: "List revisions: every apply and its result", Args: atMost(1, "one folder"),
		Long: `Lists every apply, newest first: time, result, duration, git commit, tags, and what
it did. "*" marks the revisions that are deployed now. "+dirty" marks a commit that
lacks changes or new files which the system's folder had. In a protected environment,
it also says who did it, and who approved that. tenon show @N shows the details of one.`,
		Example: "  tenon history\n  tenon history -n 0\n  tenon show @3\n  tenon rollback @3",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, folder(args), func(w *project.Workspace) error {
				revisions, err := w.History(ctx, limit)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(revisions)
				}
				return a.printHistory(w.Env(), revisions)
			})
		},
	}
	a.stateFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().IntVarP(&limit, "limit", "n", 20, "list the newest `N` (0: all)")
	return c
}

func (a *app) printHistory(env string, revisions []project.Revision) error {
	if len(revisions) == 0 {
		in := ""
		if env != "" {
			in = " in " + state.EnvironmentNamed(env)
		}
		_, err := fmt.Fprintf(a.stdout, "Nothing has been applied yet%s.\n", in)
		return err
	}
	t := table(a.stdout)
	fmt.Fprintln(t, "REVISION\tWHEN\tTOOK\tCOMMIT\tTAGS\tWHAT")
	for _, r := range revisions {
		mark := ""
		if r.Current {
			mark = " *"
		}
		duration := "-"
		if !r.Finished.IsZero() {
			duration = took(r.Finished.Sub(r.Started))
		}
		fmt.Fprintf(t, "@%d%s\t%s\t%s\t%s\t%s\t%s\n", r.Number, mark, r.Started.Local().Format(time.DateTime), duration,
			orDash(shortCommit(r.Commit)), orDash(strings.Join(r.Tags, " ")), whatDid(r))
	}
	return t.Flush()
}

// shortCommit returns the beginning of a commit, with its mark if its tree was changed.
func shortCommit(commit string) string {
	hash, dirty := strings.CutSuffix(commit, project.Dirty)
	hash = hash[:min(len(hash), 8)]
	if dirty {
		hash += project.Dirty
	}
	return hash
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// releasedIn says which weights a revision of a release changed.
func releasedIn(r project.Revision) string {
	var parts []string
	for _, d := range r.Units {
		for _, why := range d.Reasons {
			if isDiff(why) {
				parts = append(parts, why.What+" "+why.After)
			} else {
				parts = append(parts, clipTo(why.What, lineLimit))
			}
		}
	}
	return "release: " + strings.Join(parts, ", ")
}

// whatDid describes in a few words what a revision did.
func whatDid(r project.Revision) string {
	var parts []string
	switch r.Act {
	case state.Rollback:
		parts = append(parts, fmt.Sprintf("rollback to @%d", r.BackTo))
	case state.Destroy:
		parts = append(parts, "destroy")
	case state.Release:
		if text := releasedIn(r); text != "" && r.Outcome == state.Done {
			return text
		}
		parts = append(parts, "release")
	}
	if r.Cause != nil {
		parts = append(parts, clipTo(printable(r.Cause.String()), lineLimit))
	}
	if r.From != nil {
		parts = append(parts, "promoted from "+originText(r.From))
	}
	if r.Outcome != state.Done {
		parts = append(parts, string(r.Outcome))
	}
	counts := map[string]int{}
	for _, d := range r.Units {
		counts[d.Did]++
	}
	for _, did := range []string{"failed", "killed", "stopped", "not finished", project.NotRun, "not known", "ran", "audited", "reused", "created", "updated", "replaced", "released", "deleted", "unchanged"} {
		if n := counts[did]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, did))
		}
	}
	if n := len(r.Moves); n > 0 {
		parts = append(parts, fmt.Sprintf("%d moved", n))
	}
	if by := r.By(); by != "" {
		parts = append(parts, by)
	}
	return strings.Join(parts, ", ")
}
