package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
)

func monitorCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir string
	c := &cobra.Command{
		Use: "monitor", Short: "Measure what monitors watch, and show what was measured", Args: cobra.NoArgs,
		Long: `Lists the monitors of what is deployed, each with its last verdict: ok, warn, alert, or
unknown if there were too few rows. Its commands measure, show and export.`,
		Example: `  tenon monitor
  tenon monitor run inputs
  tenon monitor show inputs`,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				all, err := w.Monitors(c.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(all)
				}
				return a.printMonitors(all)
			})
		},
	}
	a.monitorFlags(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(monitorRunCommand(a), monitorShowCommand(a), monitorPlanCommand(a), monitorRowsCommand(a), monitorMetricsCommand(a), monitorRulesCommand(a), monitorDashboardsCommand(a))
	return c
}

func (a *app) monitorFlags(c *cobra.Command, dir *string) {
	c.Flags().StringVarP(dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
}

func oneMonitor() cobra.PositionalArgs { return atMost(1, "one monitor") }

func monitorRunCommand(a *app) *cobra.Command {
	var asJSON, detailed bool
	var dir, at string
	c := &cobra.Command{
		Use: "run [MONITOR]", Short: "Measure a monitor now", Args: oneMonitor(), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Measures a monitor over the window that ends now, or at another time, and records the
verdict with its figures. It changes nothing that is deployed, and needs no lock. The name
may be left out if there is one monitor.

A request is in the log once its file is complete, which takes the interval of the log, a
minute by default.`,
		Example: `  tenon monitor run inputs
  tenon monitor run monitors/truth --at "2026-01-31 12:00:00"
  tenon monitor run inputs --detailed-exitcode     0 ok, warn or unknown, 1 error, 2 alert`,
		RunE: func(c *cobra.Command, args []string) error {
			now, err := measuredAt(at)
			if err != nil {
				return err
			}
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				m, err := w.Measure(c.Context(), first(args), now)
				if err != nil {
					return err
				}
				if asJSON {
					err = a.printJSON(m)
				} else {
					err = a.printMeasurement(m, false)
				}
				if err == nil && detailed && m.Verdict == "alert" {
					return errChanges
				}
				return err
			})
		},
	}
	a.monitorFlags(c, &dir)
	c.Flags().StringVar(&at, "at", "", "measure as of a `TIME`, such as \"2026-01-31 12:00:00\" in UTC (default: now)")
	c.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit with 2 if the verdict is alert")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// measuredAt reads the time of a measurement.
func measuredAt(text string) (time.Time, error) {
	now := time.Now()
	if text == "" {
		return now, nil
	}
	t, _, ok := ir.ParseTime(text)
	switch {
	case !ok:
		return t, &usageError{fmt.Errorf("--at takes a date or a time, such as 2026-01-31 or 2026-01-31T12:00:00Z, not %q", text)}
	case t.After(now):
		return t, &usageError{errors.New("--at is in the future: nothing is known about requests then")}
	}
	return t, nil
}

func monitorShowCommand(a *app) *cobra.Command {
	var asJSON, force bool
	var dir, since, out string
	var limit int
	c := &cobra.Command{
		Use: "show [MONITOR]", Short: "Show what was measured, with all figures", Args: oneMonitor(), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Shows the figures of the last measurement of a monitor, and the verdicts before it. --out
writes every figure of all measurements to a Parquet file, one row each. tenon open shows
them as a page with plots. The name may be left out if there is one monitor.`,
		Example: `  tenon monitor show inputs
  tenon monitor show inputs --since 7d --json
  tenon monitor show inputs --out figures.parquet
  tenon open monitors/inputs`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			after, err := sinceTime(since)
			switch {
			case err != nil:
				return err
			case limit < 0:
				return &usageError{fmt.Errorf("--limit takes a number of measurements, or 0 for all, not %d", limit)}
			case out != "" && asJSON:
				return &usageError{errors.New("--out writes a table: leave out --json")}
			case out != "" && !c.Flags().Changed("limit"):
				limit = 0
			}
			return a.withApplied(ctx, dir, func(w *project.Workspace) error {
				h, err := w.MonitorHistory(ctx, first(args), after, limit)
				switch {
				case err != nil:
					return err
				case asJSON:
					return a.printJSON(h)
				case out != "":
					rows, err := w.ExportFigures(ctx, h, out, force)
					if err == nil {
						_, err = fmt.Fprintf(a.stdout, "%s: %s of %s\n", out, plural(rows, "figure"), h.Unit)
					}
					return err
				}
				return a.printMonitorHistory(h)
			})
		},
	}
	a.monitorFlags(c, &dir)
	sinceFlag(c, &since)
	c.Flags().Lookup("since").Usage = "only measurements of the last `TIME`, such as 1h or 7d, or after a date"
	c.Flags().IntVar(&limit, "limit", 20, "at most the newest `N` measurements; 0 is all")
	c.Flags().StringVar(&out, "out", "", "write all figures to `FILE`, as Parquet")
	c.Flags().BoolVar(&force, "force", false, "replace an existing file")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func monitorMetricsCommand(a *app) *cobra.Command {
	return a.monitorTextCommand("metrics", "Print what is known of monitors and loops as Prometheus metrics",
		`Prints the last verdict and the last figures of each monitor, what each loop does, how releases
go, and when a controller showed last that it lives, in the text format of Prometheus. --out
replaces a file at once, for the textfile collector of node_exporter. tenon run --metrics
exposes the same.`,
		`  tenon monitor metrics
  tenon monitor metrics --out /var/lib/prometheus/node-exporter/tenon.prom`,
		func(ctx context.Context, w *project.Workspace) (string, error) { return w.Metrics(ctx, nil) })
}

func monitorRulesCommand(a *app) *cobra.Command {
	return a.monitorTextCommand("rules", "Print alerts on monitors and loops as a Prometheus rule file",
		`Prints a rule file. Each monitor has three alerts: its verdict is alert, it has had too few
rows for a whole window, and it has not been measured for three times the time between two
measurements. A loop has one for a wait after failures and one for a decision of a person that
holds it, and a service with releases has one for a version that was rejected. With loops,
another alert says that no controller runs. Prometheus needs the metrics of tenon run --metrics or of
tenon monitor metrics.`,
		"  tenon monitor rules --out /etc/prometheus/rules/tenon-monitors.yml",
		func(ctx context.Context, w *project.Workspace) (string, error) { return w.Rules(ctx) })
}

// monitorTextCommand is a command that prints a text about all monitors, or writes it to a file.
func (a *app) monitorTextCommand(name, short, long, example string, text func(context.Context, *project.Workspace) (string, error)) *cobra.Command {
	var dir, out string
	c := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs, Long: long, Example: example,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				text, err := text(c.Context(), w)
				if err != nil {
					return err
				}
				return a.writeText(out, text)
			})
		},
	}
	a.monitorFlags(c, &dir)
	c.Flags().StringVar(&out, "out", "", "write to `FILE`, and replace it")
	return c
}

func monitorDashboardsCommand(a *app) *cobra.Command {
	var dir string
	out := "dashboards"
	c := &cobra.Command{
		Use: "dashboards", Short: "Write dashboards for Grafana", Args: cobra.NoArgs,
		Long: `Writes one dashboard for each endpoint, each monitor and each loop of what is deployed, as JSON
for Grafana 10.4 and later, and replaces files of the same names. Grafana shows them
after an import, or from a folder that it is provisioned with. Each has a variable
for the data source, which is a Prometheus.`,
		Example: `  tenon monitor dashboards
  tenon monitor dashboards --out /var/lib/grafana/dashboards/churn`,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				all, err := w.Dashboards(c.Context())
				if err != nil {
					return err
				}
				if err := os.MkdirAll(out, 0o755); err != nil {
					return fmt.Errorf("write dashboards: %w", err)
				}
				for _, name := range slices.Sorted(maps.Keys(all)) {
					path := filepath.Join(out, name)
					if err := a.writeText(path, string(all[name])); err != nil {
						return err
					}
					fmt.Fprintln(a.stdout, path)
				}
				return nil
			})
		},
	}
	a.monitorFlags(c, &dir)
	c.Flags().StringVar(&out, "out", out, "write into `FOLDER`, which is made")
	return c
}

// verdictColors are the colors of verdicts.
var verdictColors = map[string]string{"ok": green, "warn": yellow, "alert": red, "unknown": faint}

func (a *app) printMonitors(all []project.Monitor) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(a.stdout, "There are no monitors.")
		return err
	}
	t := table(a.stdout)
	fmt.Fprintln(t, a.paint(bold, "MONITOR\tVERDICT\tMEASURED\tNEXT\tREASON"))
	for _, m := range all {
		verdict, measured, next, reason := "-", "never", "now", ""
		if l := m.Last; l != nil {
			verdict, measured, reason = l.Verdict, l.At.Local().Format(time.DateTime), l.Reason
			if wait := time.Until(m.Due); wait > 0 {
				next = "in " + took(wait)
			}
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", m.Unit, verdict, measured, next, printable(clip(reason)))
	}
	return t.Flush()
}

// printMeasurement prints a verdict and the figures behind it, or all of them.
func (a *app) printMeasurement(m *state.Measurement, all bool) error {
	r, err := project.ReportOf(m)
	if err != nil {
		return err
	}
	reason := m.Reason
	if reason != "" {
		reason = ": " + reason
	}
	fmt.Fprintf(a.stdout, "%s  %s%s\n", a.paint(bold, m.Monitor), a.paint(verdictColors[m.Verdict], m.Verdict), printable(reason))
	of := ""
	if r.ReferenceRows > 0 {
		of = fmt.Sprintf(", compared with %s", plural(r.ReferenceRows, "row"))
	}
	if m.Begin.Before(m.End) {
		of = fmt.Sprintf(" from %s to %s%s", m.Begin.Local().Format(time.DateTime), m.End.Local().Format(time.DateTime), of)
	}
	fmt.Fprintf(a.stdout, "  %s%s\n", plural(r.Rows, "row"), of)
	for _, note := range r.Notes {
		fmt.Fprintln(a.stdout, "  note: "+printable(note))
	}
	if err := a.printFigures(r.Figures, all); err != nil || !all {
		return err
	}
	for _, s := range r.Segments {
		if s.Verdict != measure.OK {
			fmt.Fprintf(a.stdout, "  %s  %s: %s\n", printable(segmentName(s.Values)), s.Verdict, printable(s.Reason))
		}
	}
	if r.Estimate == nil {
		return nil
	}
	fmt.Fprintf(a.stdout, "  estimated without labels, for the newest %s:\n", plural(r.Estimate.Rows, "row"))
	return a.printFigures(r.Estimate.Figures, true)
}

// printMonitorHistory prints the last measurement, and the verdicts before it.
func (a *app) printMonitorHistory(h *project.MonitorHistory) error {
	m := h.Monitor
	over := ""
	if m.Window > 0 {
		over = " over " + duration.Text(m.Window)
	}
	if m.MinRows > 0 {
		over += ", at least " + plural(m.MinRows, "row")
	}
	fmt.Fprintf(a.stdout, "%s  %s, every %s%s\n", a.paint(bold, h.Unit), m.Of(), duration.Text(m.Every), over)
	if len(h.Measurements) == 0 {
		_, err := fmt.Fprintln(a.stdout, "It has not been measured: run tenon monitor run.")
		return err
	}
	if err := a.printMeasurement(&h.Measurements[0], true); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	t := table(a.stdout)
	for _, m := range h.Measurements {
		fmt.Fprintf(t, "  %s\t%s\t%s\n", m.At.Local().Format(time.DateTime), m.Verdict, printable(clip(m.Reason)))
	}
	return t.Flush()
}
