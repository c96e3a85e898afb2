package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

func releaseCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "release", Short: "Follow and decide how a new version of a service is released", Args: cobra.NoArgs,
		Long: `A deployment with release does not replace its version at once: the new one, the
challenger, answers a growing share of the requests, until it becomes the champion or is
rejected. tenon apply takes the steps. These commands do so from any terminal, or decide
by hand. The name of the deployment may be left out if one release is in progress.`,
		Example: `  tenon release status
  tenon release run
  tenon release next deployments/api --to 50
  tenon release abort deployments/api`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(releaseStatusCommand(a), releaseRunCommand(a), releaseNextCommand(a),
		decideCommand(a, "pause", "Keep a release as it is", `Keeps the weights as they are: there is no next step, and no version is rejected, until
tenon release resume.`, always(func(ctx context.Context, s *project.Session, name string, o project.ApplyOptions) (*project.ReleaseChange, error) {
			return s.Pause(ctx, name, true, o)
		})),
		decideCommand(a, "resume", "Continue a release that was paused", "Begins the present step again. tenon release run, or tenon apply, takes the next ones.",
			always(func(ctx context.Context, s *project.Session, name string, o project.ApplyOptions) (*project.ReleaseChange, error) {
				return s.Pause(ctx, name, false, o)
			})),
		decideCommand(a, "abort", "Reject the new version of a service", `Gives all requests to the champion at once. Then the champion runs alone again. Nothing is
trained. The next tenon apply releases this version only if something has changed, or
after tenon release retry.`, always(func(ctx context.Context, s *project.Session, name string, o project.ApplyOptions) (*project.ReleaseChange, error) {
			return s.Abort(ctx, name, o)
		})),
		releaseRetryCommand(a))
	return c
}

func oneDeployment() cobra.PositionalArgs { return atMost(1, "one deployment") }

func releaseStatusCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir string
	c := &cobra.Command{
		Use: "status [DEPLOYMENT]", Short: "Show which version answers how many requests", Args: oneDeployment(), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Shows the champion and the challenger of each release: their shares, what each did since it
has this share, what happens next, and where the challenger predicts something else, by
segment and with examples. Private columns are masked.`,
		Example: "  tenon release status\n  tenon release status deployments/api --json",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, dir, func(w *project.Workspace) error {
				all, err := w.Releases(ctx, first(args))
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(all)
				}
				return a.printReleases(w.Env(), all)
			})
		},
	}
	a.releaseFlags(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) releaseFlags(c *cobra.Command, dir *string) {
	c.Flags().StringVarP(dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
}

func releaseRunCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir string
	c := &cobra.Command{
		Use: "run [DEPLOYMENT]", Short: "Take the steps of releases until they are over", Args: oneDeployment(), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Does what tenon apply does after a deployment: it takes each step when it is due, and rejects
a version that breaks a limit of its judge. It locks the state only while it does so. It
may be stopped, and run again. It fails if a version is rejected.`,
		Example: "  tenon release run\n  tenon release run deployments/api --json",
		RunE: func(c *cobra.Command, args []string) error {
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				all, err := w.Releases(c.Context(), first(args))
				if err != nil {
					return err
				}
				if !inProgress(all) {
					return errors.New("no release is in progress")
				}
				return a.follow(c.Context(), w, first(args), asJSON)
			})
		},
	}
	a.releaseFlags(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print changes as JSON, one per line")
	return c
}

func inProgress(all []project.Release) bool {
	for i := range all {
		if len(all[i].Versions) > 0 {
			return true
		}
	}
	return false
}

func releaseNextCommand(a *app) *cobra.Command {
	var from, to int
	var c *cobra.Command
	c = decideCommand(a, "next", "Take the next step of a release now", `Gives the new version the share of the next step, whatever its judge says, or another one
with --to. After a step of 100, the next one makes it the champion.

If the release takes a step while the command waits for the lock, the command refuses, so
that two of them take one step. A script names the share that it has seen with --from.`,
		func(ctx context.Context, w *project.Workspace, name string) (decision, error) {
			step, err := w.Step(ctx, name)
			if err != nil {
				return nil, err
			}
			if c.Flags().Changed("from") {
				step = step.At(from)
			}
			return func(ctx context.Context, s *project.Session, name string, o project.ApplyOptions) (*project.ReleaseChange, error) {
				return s.NextStep(ctx, name, *step, to, o)
			}, nil
		})
	c.Example = "  tenon release next\n  tenon release next deployments/api --to 100\n  tenon release next --from 10"
	c.Flags().IntVar(&from, "from", 0, "refuse unless it answers this `PERCENT` of the requests now; 0 is a shadow")
	c.Flags().IntVar(&to, "to", 0, "the `PERCENT` of the requests that it answers, instead of that of the next step")
	before := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case c.Flags().Changed("to") && (to < 1 || to > 100):
			return &usageError{fmt.Errorf("--to takes a percentage from 1 to 100, not %d", to)}
		case from < 0 || from > 100:
			return &usageError{fmt.Errorf("--from takes a percentage from 0 to 100, not %d", from)}
		}
		return before(c, args)
	}
	return c
}

type decision func(ctx context.Context, s *project.Session, name string, o project.ApplyOptions) (*project.ReleaseChange, error)

// always decides the same, whatever is seen before the lock is there.
func always(d decision) func(context.Context, *project.Workspace, string) (decision, error) {
	return func(context.Context, *project.Workspace, string) (decision, error) { return d, nil }
}

// decideCommand is a command that changes a release. look is called before the command waits for
// the lock, and returns what it does then.
func decideCommand(a *app, name, short, long string, look func(ctx context.Context, w *project.Workspace, name string) (decision, error)) *cobra.Command {
	var asJSON bool
	var dir string
	var wait time.Duration
	c := &cobra.Command{
		Use: name + " [DEPLOYMENT]", Short: short, Long: long, Args: oneDeployment(), ValidArgsFunction: a.completeUnits(&dir),
		Example: fmt.Sprintf("  tenon release %s\n  tenon release %[1]s deployments/api", name),
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, dir, func(w *project.Workspace) (err error) {
				decide, err := look(ctx, w, first(args))
				if err != nil {
					return err
				}
				s, err := w.Lock(ctx, "tenon release", wait)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, s.Release(ctx)) }()
				change, err := decide(ctx, s, first(args), project.ApplyOptions{})
				if err != nil {
					return err
				}
				return a.printReleaseChange(*change, asJSON)
			})
		},
	}
	a.releaseFlags(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().DurationVar(&wait, "lock-timeout", 10*time.Second, "wait up to `DURATION`, such as 10m, for an apply to end")
	return c
}

func releaseRetryCommand(a *app) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "retry [DEPLOYMENT]", Short: "Let the next apply release a rejected version again", Args: oneDeployment(), ValidArgsFunction: a.completeUnits(&dir),
		Long:    `Forgets that the last new version of a service was rejected.`,
		Example: "  tenon release retry && tenon apply",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, dir, func(w *project.Workspace) (err error) {
				s, err := w.Lock(ctx, "tenon release", 10*time.Second)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, s.Release(ctx)) }()
				r, err := s.Retry(ctx, first(args))
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.stdout, "%s is no longer rejected: tenon apply releases it again.\n", r.Name)
				return err
			})
		},
	}
	a.releaseFlags(c, &dir)
	return c
}

// follow takes the steps of releases, and prints them.
func (a *app) follow(ctx context.Context, w *project.Workspace, name string, asJSON bool) error {
	var failed error
	print := func(err error) { failed = errors.Join(failed, err) }
	leave := func() bool { return true }
	a.leave.Store(&leave)
	defer a.leave.Store(nil)
	err := w.FollowReleases(ctx, name, project.FollowOptions{
		Command: "tenon release",
		Changed: func(c project.ReleaseChange) { print(a.printReleaseChange(c, asJSON)) },
		Waits: func(r project.Release) {
			if !asJSON {
				print(a.printReleaseWaits(r))
			}
		},
	})
	switch {
	case errors.Is(err, errStopped):
		fmt.Fprintln(a.stderr, "tenon: the release stays as it is; tenon release run continues it")
	case errors.Is(err, project.ErrRejected):
		err = errReported
	}
	return errors.Join(failed, err)
}

func (a *app) printReleaseWaits(r project.Release) error {
	text := r.Next.Reason
	switch {
	case r.Next.Act == planner.ReleaseWait && !r.Next.Until.IsZero():
		text = fmt.Sprintf("until %s at least", r.Next.Until.Local().Format(time.TimeOnly))
	case r.Next.Act != planner.ReleaseWait && r.Next.Act != planner.ReleaseHold:
		return nil
	}
	_, err := fmt.Fprintf(a.stdout, "  %s %s  %s\n", a.paint(faint, "·"), r.Unit, fmt.Sprintf("%s %d %%: %s", r.Challenger().Name, r.Challenger().Weight, text))
	return err
}

func (a *app) printReleaseChange(c project.ReleaseChange, asJSON bool) error {
	if asJSON {
		return a.printJSONLine(struct {
			Type string `json:"type"`
			project.ReleaseChange
		}{"release", c})
	}
	mark, color, text := "→", cyan, fmt.Sprintf("%s %d %%", c.Name, c.Weight)
	switch c.Act {
	case planner.ReleaseFinish:
		mark, color, text = "✓", green, c.Name+" is the champion"
	case planner.ReleaseAbort:
		mark, color, text = "✗", red, c.Name+" was rejected"
	}
	revision := ""
	if c.Revision > 0 {
		revision = fmt.Sprintf("  %s", a.paint(faint, fmt.Sprintf("revision %d", c.Revision)))
	}
	_, err := fmt.Fprintf(a.stdout, "  %s %s  %s: %s%s\n", a.paint(color, mark), c.Unit, text, c.Reason, revision)
	return err
}

func (a *app) printReleases(env string, all []project.Release) error {
	out := a.stdout
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "No release is in progress.")
		return err
	}
	if env != "" {
		fmt.Fprintf(out, "In %s:\n", state.EnvironmentNamed(env))
	}
	for i, r := range all {
		if i > 0 {
			fmt.Fprintln(out)
		}
		a.printRelease(r)
	}
	return nil
}

// shownExamples and shownSegments limit what a status shows of differences.
const (
	shownSegments = 5
	shownExamples = 3
)

func (a *app) printRelease(r project.Release) {
	out := a.stdout
	fmt.Fprint(out, a.paint(bold, r.Unit))
	if len(r.Versions) == 0 {
		fmt.Fprintln(out, "  no release is in progress")
		a.printRejected(r.Rejected)
		return
	}
	fmt.Fprintf(out, "  for %s: %s\n", took(time.Since(r.Since).Round(time.Second)), r.Reason)
	t := table(out)
	for _, v := range r.Versions {
		text := fmt.Sprintf("answered %s", plural(v.Requests-v.Shadows, "request"))
		if v.Shadows > 0 {
			text += fmt.Sprintf(", computed %d as a shadow", v.Shadows)
		}
		if v.Requests > 0 {
			text += fmt.Sprintf("; %s failed, p99 %s", share(v.Failed, v.Requests), took(v.P99))
		}
		if v.Refused > 0 {
			text += fmt.Sprintf(", %d refused", v.Refused)
		}
		if v.Compared > 0 {
			text += fmt.Sprintf("; %s of %d compared rows differ", share(v.Different, v.Compared), v.Compared)
		}
		if v.Fault != "" {
			text += "; cannot answer: " + printable(v.Fault)
		}
		weight := fmt.Sprintf("%d %%", v.Weight)
		if v.Shadow > 0 {
			weight += fmt.Sprintf(", shadow %g %%", 100*v.Shadow)
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", v.Role, v.Name, weight, text)
	}
	_ = t.Flush()
	if d := r.Next; d != nil {
		text := d.Reason
		if !d.Until.IsZero() {
			text += ", until " + d.Until.Local().Format(time.TimeOnly) + " at least"
		}
		fmt.Fprintf(out, "  next: %s: %s\n", d.Act, text)
	}
	for _, s := range r.Segments[:min(len(r.Segments), shownSegments)] {
		fmt.Fprintf(out, "  %s = %s: %d of %d rows differ\n", printable(s.Column), printable(s.Value), s.Different, s.Compared)
	}
	for _, e := range r.Examples[max(0, len(r.Examples)-shownExamples):] {
		fmt.Fprintf(out, "  %s said %s, %s %s, for %s\n", e.Answered, compactJSON(e.Gave), e.Other, compactJSON(e.Instead), compactJSON(e.Row))
	}
	a.printRejected(r.Rejected)
}

func (a *app) printRejected(r *state.Rejected) {
	if r != nil {
		fmt.Fprintf(a.stdout, "  %s was rejected in revision %d: %s\n", r.Name, r.Revision, r.Reason)
	}
}

// share formats a fraction as a percentage.
func share(part, all int64) string {
	return number(math.Round(1000*float64(part)/float64(all))/10) + " %"
}

// compactJSON formats a value for a line of text.
func compactJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return printable(clipTo(string(b), 2*lineLimit))
}
