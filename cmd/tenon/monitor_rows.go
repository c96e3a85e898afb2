package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

func monitorRowsCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir, at string
	var o project.MonitorRowsOptions
	c := &cobra.Command{
		Use: "rows [MONITOR]", Short: "Write the rows that a monitor compares", Args: oneMonitor(), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Writes the requests of a window to a Parquet file, with the columns that a monitor.#Drift
or a monitor.#Predictions compares or divides by, under the names of the reference. --reference writes the rows that
they are compared with, too. A source.#Parquet reads them, for a monitor.#Evidently or a
monitor.#Whylogs.

The window is that of the last measurement, or the one that ends now if there is none.`,
		Example: `  tenon monitor rows inputs --out requests.parquet --reference reference.parquet
  tenon monitor rows inputs --at "2026-01-31 12:00:00" --out requests.parquet --force`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			if o.Out == "" {
				return &usageError{errors.New("name a file for the rows: --out requests.parquet")}
			}
			if at != "" {
				if o.At, err = measuredAt(at); err != nil {
					return err
				}
			}
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				made, err := w.WriteMonitorRows(c.Context(), first(args), o)
				switch {
				case err != nil:
					return err
				case asJSON:
					return a.printJSON(made)
				}
				return a.printMonitorRows(made, o)
			})
		},
	}
	a.monitorFlags(c, &dir)
	c.Flags().StringVar(&o.Out, "out", "", "write the requests to `FILE`, as Parquet")
	c.Flags().StringVar(&o.Reference, "reference", "", "write the rows that they are compared with to `FILE`")
	c.Flags().StringVar(&at, "at", "", "the window that ends at a `TIME`, such as \"2026-01-31 12:00:00\" in UTC")
	c.Flags().BoolVar(&o.Force, "force", false, "replace existing files")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printMonitorRows(made *project.MonitorRows, o project.MonitorRowsOptions) error {
	fmt.Fprintf(a.stdout, "%s: %s of %s from %s to %s\n", o.Out, plural(made.Requests, "row"), made.Unit, made.Begin.Local().Format(time.DateTime), made.End.Local().Format(time.DateTime))
	if o.Reference != "" {
		fmt.Fprintf(a.stdout, "%s: %s to compare with\n", o.Reference, plural(made.Reference, "row"))
	}
	for _, note := range made.Notes {
		fmt.Fprintln(a.stdout, "note: "+printable(note))
	}
	return nil
}
