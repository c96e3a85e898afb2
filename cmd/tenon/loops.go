package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

func loopsCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir string
	c := &cobra.Command{
		Use: "loops", Short: "Show what trains models again, and what it does next", Args: cobra.NoArgs,
		Long: `Lists the deployed loops: whether each is paused, what it did last, and what it does next and
why. tenon run carries that out. The commands below pause a loop, let it go on, call for a
training, explain its decision, or draw what it did.`,
		Example: `  tenon loops
  tenon loops explain late
  tenon loops report late
  tenon loops pause late --reason "labels are being corrected"
  tenon loops trigger late`,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				all, err := w.Loops(c.Context(), time.Now())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(all)
				}
				return a.printLoops(w.Env(), all)
			})
		},
	}
	a.releaseFlags(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(
		tellLoopCommand(a, "pause", state.LoopPause, "Keep a loop from acting", `Keeps a loop from training and from rolling back, until tenon loops resume. What runs goes on. What
calls for a training meanwhile is not forgotten, except for a schedule with catch_up: "none".`),
		tellLoopCommand(a, "resume", state.LoopResume, "Let a loop act again", `Ends a pause. It also ends the wait after trainings that failed, and lets the loop train again
after a person has rolled back.`),
		tellLoopCommand(a, "trigger", state.LoopTrigger, "Call for a training", `Calls for a training by hand. It does not wait for cool_down or for the back-off after failures.
It is still limited by at_most, and by pins.`),
		explainLoopCommand(a), reportLoopCommand(a))
	return c
}

func oneLoop() cobra.PositionalArgs { return atMost(1, "one loop") }

// tellLoopCommand is a command by which a person tells a loop something.
func tellLoopCommand(a *app, name string, act state.LoopActKind, short, long string) *cobra.Command {
	var asJSON bool
	var dir, reason string
	c := &cobra.Command{
		Use: name + " [LOOP]", Short: short, Long: long + "\n\nThe name may be left out if there is one loop.", Args: oneLoop(), ValidArgsFunction: a.completeUnits(&dir),
		Example: fmt.Sprintf("  tenon loops %s late\n  tenon loops %[1]s loops/late --reason \"as agreed with ops\"", name),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				done, err := w.TellLoop(c.Context(), first(args), act, reason)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(done)
				}
				says := map[state.LoopActKind]string{
					state.LoopPause: "is paused: it does nothing until tenon loops resume", state.LoopResume: "acts again", state.LoopTrigger: "is to train: tenon loops explain says when",
				}[act]
				_, err = fmt.Fprintf(a.stdout, "%s %s.\n", done.Loop, says)
				return err
			})
		},
	}
	a.releaseFlags(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&reason, "reason", "", "the `TEXT` that the record shows")
	return c
}

func explainLoopCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir string
	limit := 10
	c := &cobra.Command{
		Use: "explain [LOOP]", Short: "Explain what a loop does next", Args: oneLoop(), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Shows what a loop does now, what that follows from, and what it did before, with figures. The
name may be left out if there is one loop.`,
		Example: "  tenon loops explain late\n  tenon loops explain late --limit 0 --json",
		RunE: func(c *cobra.Command, args []string) error {
			if limit < 0 {
				return &usageError{fmt.Errorf("--limit takes a number from 0 on, not %d", limit)}
			}
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				l, err := w.ExplainLoop(c.Context(), first(args), time.Now(), limit)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(l)
				}
				a.printExplained(*l)
				return nil
			})
		},
	}
	a.releaseFlags(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().IntVar(&limit, "limit", limit, "show at most `N` acts; 0 shows all")
	return c
}

// does says what a loop does now, for people.
func does(d planner.LoopDecision) string {
	if d.Act == "" {
		return "waits"
	}
	return string(d.Act)
}

func (a *app) printLoops(env string, all []project.Loop) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No loop is deployed.")
		return err
	}
	if env != "" {
		fmt.Fprintf(a.stdout, "In %s:\n", state.EnvironmentNamed(env))
	}
	t := table(a.stdout)
	fmt.Fprintln(t, "LOOP\tMODEL\tLAST\tNOW\tWHY")
	for _, l := range all {
		last := "-"
		if l.Last != nil {
			last = fmt.Sprintf("%s %s", l.Last.Act, l.Last.At.Local().Format(time.DateTime))
		}
		now := does(l.Next)
		if l.Paused != nil {
			now = "paused"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", l.Unit, l.Loop.Model, last, now, printable(l.Next.Reason))
	}
	return t.Flush()
}

func (a *app) printExplained(l project.ExplainedLoop) {
	out := a.stdout
	fmt.Fprintf(out, "%s  %s: %s\n", a.paint(bold, l.Unit), does(l.Next), printable(l.Next.Reason))
	t := table(out)
	for _, f := range l.Facts {
		fmt.Fprintf(t, "  %s\t%s\n", f.Of, printable(f.Text))
	}
	_ = t.Flush()
	if len(l.Acts) == 0 {
		return
	}
	fmt.Fprintln(out)
	t = table(out)
	for _, act := range l.Acts {
		text := act.Reason
		if act.By != "" {
			text = strings.TrimSuffix("by "+act.By+": "+text, ": ")
		}
		if act.Revision > 0 {
			text += fmt.Sprintf(" (revision %d)", act.Revision)
		}
		fmt.Fprintf(t, "  %d\t%s\t%s\t%s\n", act.Number, act.At.Local().Format(time.DateTime), act.Act, printable(text))
	}
	_ = t.Flush()
}
