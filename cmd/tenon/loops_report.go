package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/cmd/internal/report"
)

func reportLoopCommand(a *app) *cobra.Command {
	var dir, since string
	var page pageFlags
	c := &cobra.Command{
		Use: "report [LOOP]", Short: "Show what a loop did as a page with plots", Args: oneLoop(), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Writes a page about a loop, and opens it in the browser if there is a terminal. It prints
the path of the page. The name may be left out if there is one loop.

All plots of the page have the same time axis: trainings, steps of releases, rollbacks and
what people did; the verdicts of the monitors that the loop reads; which version answered
which share, and how many requests, from the request log; the figures of the monitors with
their limits; and what trainings cost. Below are the record of the loop and the revisions.

The page is one file that needs no network: it can be mailed or kept. It has no rows.`,
		Example: `  tenon loops report
  tenon loops report late --since 7d --out late.html
  tenon loops report late --json          the data of the page`,
		RunE: func(c *cobra.Command, args []string) error {
			from, err := sinceTime(since)
			if err == nil {
				err = page.check()
			}
			if err != nil {
				return err
			}
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				r, err := w.LoopReport(c.Context(), first(args), from, time.Now())
				if err != nil {
					return err
				}
				if page.asJSON {
					return a.printJSON(r)
				}
				html, err := report.LoopPage(r)
				if err != nil {
					return err
				}
				page.Name = r.Unit
				return a.showPage(w.Project, page, html)
			})
		},
	}
	a.releaseFlags(c, &dir)
	sinceFlag(c, &since)
	c.Flags().Lookup("since").Usage = "only what happened in the last `TIME`, such as 1h or 7d, or after a date"
	page.add(c)
	return c
}
