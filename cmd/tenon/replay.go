package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

func replayCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir, since string
	var o project.ReplayOptions
	c := &cobra.Command{
		Use: "replay [DEPLOYMENT]", Short: "Compute logged requests again as in training, and compare", Args: atMost(1, "one deployment"), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Takes the requests that a serve.#HTTP with log has answered, and computes them as
training does: the features with their queries in DuckDB, over the tables that the
service looks up in, and the predictions with the model in Python. It prints every
value and every prediction that differs, bit by bit, and then exits with status 1.

Only requests that what is deployed has answered are replayed, or, with --revision,
what was deployed after that revision: with the same model, tables and queries. Others
are counted, and so are those that cannot be replayed because their private columns are
not logged. A deployment without request only has its predictions compared.`,
		Example: `  tenon replay deployments/api
  tenon replay deployments/api --since 1d --limit 1000
  tenon replay deployments/api --revision 3 --json`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if err := checkRevision(c, o.Revision); err != nil {
				return err
			}
			if o.Limit < 0 {
				return &usageError{fmt.Errorf("--limit takes a number of rows, or 0 for all, not %d", o.Limit)}
			}
			var err error
			if o.Since, err = sinceTime(since); err != nil {
				return err
			}
			var found *requests.Replayed
			err = a.withApplied(ctx, dir, func(w *project.Workspace) error {
				unit, err := w.Replay(ctx, first(args), o, func(e requests.Event) error {
					if e.Replayed != nil {
						found = e.Replayed
					}
					if asJSON {
						return a.printJSONLine(e)
					}
					return a.printReplaying(e)
				})
				if err != nil || found == nil || asJSON {
					return err
				}
				return a.printReplayed(unit, found)
			})
			if err == nil && found != nil && found.Differing > 0 {
				return errReported
			}
			return err
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	sinceFlag(c, &since)
	c.Flags().IntVar(&o.Limit, "limit", 0, "at most the newest `N` rows (default: all)")
	revisionFlag(c, &o.Revision)
	c.Flags().BoolVar(&asJSON, "json", false, "print events as JSON, one per line")
	return c
}

// printReplaying prints a difference, or on a terminal how far a replay is.
func (a *app) printReplaying(e requests.Event) error {
	const clear = "\r\x1b[K"
	if e.Difference == nil {
		if a.terminal && e.Done > 0 {
			fmt.Fprintf(a.stdout, clear+"%s computed", plural(e.Done, "row"))
		}
		return nil
	}
	if a.terminal {
		fmt.Fprint(a.stdout, clear)
	}
	d := e.Difference
	what := map[string]string{"cells": d.Column, "predictions": "prediction", "extra": "rows", "refused": "fails in training"}[d.Kind]
	line := fmt.Sprintf("%s  %s row %d  %s", d.Time.Format("2006-01-02 15:04:05.000"), d.RequestID, d.Row, a.paint(bold, printable(what)))
	if d.Kind == "refused" {
		line += ": " + printable(d.Wanted)
	} else {
		line += fmt.Sprintf(": %s in training, %s from the service", printable(d.Wanted), printable(d.Got))
	}
	_, err := fmt.Fprintln(a.stdout, line)
	return err
}

func (a *app) printReplayed(unit string, r *requests.Replayed) error {
	if a.terminal {
		fmt.Fprint(a.stdout, "\r\x1b[K")
	}
	for _, n := range []struct {
		rows int64
		says string
	}{
		{r.Redacted, "cannot be replayed: private columns are not logged"},
		{r.Unplaced, "not replayed: the log does not say which events their history had"},
		{r.Gone, "not replayed: events that their history had are not kept any more"},
		{r.Other, "not replayed: another model, other tables or another query answered"},
		{r.LeftOut, "not compared: training leaves out such rows, by conditions on columns that a caller does not have"},
	} {
		if n.rows > 0 {
			fmt.Fprintf(a.stdout, "note: %s %s\n", plural(n.rows, "row"), n.says)
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintln(a.stdout, "note: "+printable(note))
	}
	summary := fmt.Sprintf("%s: replayed %s, %s and %s", unit, plural(r.Rows, "row"), plural(r.Cells, "cell"), plural(r.Predictions, "prediction"))
	if r.Differing == 0 {
		_, err := fmt.Fprintln(a.stdout, summary+", without a difference")
		return err
	}
	var parts []string
	for _, name := range r.Worst() {
		parts = append(parts, fmt.Sprintf("%s in %s", printable(name), plural(r.Columns[name], "row")))
	}
	if n := r.Kinds["predictions"]; n > 0 {
		parts = append(parts, fmt.Sprintf("the prediction in %s", plural(n, "row")))
	}
	if n := r.Kinds["extra"]; n > 0 {
		parts = append(parts, fmt.Sprintf("the number of rows in %s", plural(n, "row")))
	}
	if n := r.Kinds["refused"]; n > 0 {
		parts = append(parts, fmt.Sprintf("%s fail in training", plural(n, "row")))
	}
	verb := "differ"
	if r.Differing == 1 {
		verb = "differs"
	}
	_, err := fmt.Fprintf(a.stdout, "%s: %s %s: %s\n", summary, plural(r.Differing, "row"), verb, strings.Join(parts, ", "))
	return err
}
