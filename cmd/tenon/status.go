package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/control"
	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

func statusCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "status [DIR]", Short: "Show what is deployed and its health", Args: atMost(1, "one folder"),
		Long: `Shows every deployed unit. It checks the services: a service that died is reported,
and a service whose executor does not answer is unknown. A unit that failed in the
last revision is shown as failed, even if its earlier result is still in use. During
an apply, here, on another machine or in the cluster, it also shows the units that
are running, and with tenon run, what that does next.`,
		Example: "  tenon status\n  tenon status --json",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, folder(args), func(w *project.Workspace) error {
				status, err := w.Status(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(status)
				}
				return a.printStatus(status)
			})
		},
	}
	a.stateFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printStatus(s *project.Status) error {
	units, failed, now := s.Units, s.Failed, s.UnderWay
	if len(units) == 0 && len(failed) == 0 && now == nil {
		_, err := fmt.Fprintln(a.stdout, nothingDeployed(a.env))
		return err
	}
	if r := s.Revision; r != nil {
		fmt.Fprintf(a.stdout, "%s on %s, revision %d, %s, %s\n", a.named(r.System, r.Env), r.Target, r.Number, r.Outcome, r.Started.Local().Format(time.DateTime))
		if now != nil {
			fmt.Fprintln(a.stdout, strings.ReplaceAll(underWay(now), "run tenon apply", "run "+a.again("tenon apply")))
		}
		if c := s.Controller; c != nil {
			fmt.Fprintln(a.stdout, watchedBy(c))
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
	by := "tenon apply replaces it"
	if c := s.Controller; c != nil && !c.Gone && time.Since(c.At) <= control.BeatsLast {
		by = "tenon run starts it again"
	}
	fails := map[string]string{}
	for _, f := range failed {
		fails[f.Unit] = clipTo(f.Error, lineLimit)
	}
	for _, u := range units {
		mark, color := "✓", green
		text := took(u.Took) + metricsLine(u.Metrics)
		switch {
		case u.Kind == ir.Service && u.Phase == state.Ready:
			text = "ready since " + u.Since.Local().Format(time.DateTime)
			if u.Release != "" {
				text += "; " + u.Release
			}
			if u.Message != "" {
				text += "; " + u.Message
			}
		case u.Kind == ir.Service && u.Phase == project.Unknown:
			mark, color = "?", yellow
			text = "unknown: " + u.Message
		case u.Kind == ir.Service:
			mark, color = "✗", red
			text = fmt.Sprintf("%s: %s; %s", u.Phase, cmp.Or(u.Message, "it was stopped outside tenon"), by)
		case u.Kind == ir.Record:
			text = "written"
		}
		if u.Endpoint != "" {
			text = u.Endpoint + " " + text
		}
		if fault, ok := fails[u.Unit]; ok { // what is deployed is older
			delete(fails, u.Unit)
			mark, color = "✗", red
			if u.Kind == ir.Service {
				text += "; its new version failed: " + fault
			} else {
				text = "failed: " + fault + "; its result before that stays in use"
			}
		}
		fmt.Fprintf(a.stdout, "  %s %s  %s\n", a.paint(color, mark), pad(u.Unit, width), text)
	}
	if now != nil {
		for _, r := range now.Units {
			text := "running for " + took(time.Since(r.Started).Round(time.Second))
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
		if fault, ok := fails[f.Unit]; ok {
			fmt.Fprintf(a.stdout, "  %s %s  failed: %s\n", a.paint(red, "✗"), pad(f.Unit, width), fault)
		}
	}
	return nil
}

// watchedBy describes the controller of a system.
func watchedBy(c *state.Controller) string {
	who := fmt.Sprintf("%s, process %d on %s", cmp.Or(c.Holder.Command, project.RunCommand), c.Holder.PID, c.Holder.Host)
	switch {
	case c.Gone:
		return who + ", has died; nothing watches until it is started again"
	case time.Since(c.At) > control.BeatsLast:
		return fmt.Sprintf("%s, has not reported since %s", who, c.At.Local().Format(time.DateTime))
	}
	text := fmt.Sprintf("watched by %s since %s", who, c.Since.Local().Format(time.DateTime))
	if c.Next != "" {
		text += "; next: " + printable(c.Next)
		if !c.NextAt.IsZero() {
			text += ", at " + c.NextAt.Local().Format(time.DateTime)
		}
	}
	return text
}

// underWay describes which process continues an apply, if any.
func underWay(u *project.UnderWay) string {
	switch {
	case u.Phase == state.Failed:
		return fmt.Sprintf("Job %s has ended: %s; see tenon logs, and run tenon apply to continue", u.Job, cmp.Or(u.Message, "unknown reason"))
	case u.Phase == project.Unknown && u.Holder == nil:
		return "may still run in the cluster, which cannot be reached: " + u.Message
	case u.Phase == project.Unknown:
		return fmt.Sprintf("runs in process %d on %s or in the cluster, which cannot be reached: %s", u.Holder.PID, u.Holder.Host, u.Message)
	case u.Job != "" && u.Message != "":
		return fmt.Sprintf("runs in the cluster as Job %s: %s", u.Job, u.Message)
	case u.Job != "":
		return fmt.Sprintf("runs in the cluster as Job %s; follow it with tenon logs -f", u.Job)
	case u.Holder != nil:
		return fmt.Sprintf("runs in process %d on %s", u.Holder.PID, u.Holder.Host)
	}
	return "was killed; run tenon apply to continue"
}
