package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/cmd/internal/report"
	"github.com/tenon-ml/tenon/compiler/ir"
)

func simulateCommand(a *app) *cobra.Command {
	var dir, from, to string
	var asJSON bool
	var o project.SimulateOptions
	page := project.Page{Beginning: report.Beginning}
	c := &cobra.Command{
		Use: "simulate [LOOP]...", Short: "Show what a loop would have done", Args: atMost(mostSimulated, "two loops"), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Runs a loop over recorded requests and labels in virtual time, before it is switched on: the
controller of tenon run decides at each moment from what was known then. It reports what the
loop would have done and why, quality and cost with and without it, and false alarms. It
changes nothing: no revision, no measurement and no act is recorded.

The loop is the one that the folder declares; it need not be applied. late@7 is the loop as
revision 7 has it, and late@DIR the one of the system in another folder. Two loops are
compared. Requests are those of the request log, or with --requests the rows of an applied
table with a timestamp.

With --train, each training happens, on the rows that were known at its moment. It is kept, so
that the next simulation does not repeat it. Without it, recorded versions of the model take
the place of trainings.`,
		Example: `  tenon simulate late --from 2026-01-01 --to 2026-03-31
  tenon simulate late --from 2013-10-01 --to 2013-12-31 --requests features.departures --train
  tenon simulate late late@7 --from 2026-01-01 --to 2026-03-31 --html late.html`,
		RunE: func(c *cobra.Command, args []string) error {
			var err error
			switch {
			case from == "" || to == "":
				return &usageError{errors.New("--from and --to say which time is simulated, such as --from 2026-01-01 --to 2026-03-31")}
			case asJSON && page.To != "":
				return &usageError{errors.New("--json and --html cannot be used together")}
			case o.Takes < 0:
				return &usageError{fmt.Errorf("--takes must not be negative, and is %s", o.Takes)}
			}
			if o.From, err = flagTime("--from", from); err != nil {
				return err
			}
			if o.To, err = flagTime("--to", to); err != nil {
				return err
			}
			o.Loops = args
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				s, err := w.Simulate(c.Context(), o)
				switch {
				case err != nil:
					return err
				case asJSON:
					return a.printJSON(s)
				case page.To == "":
					return a.printSimulation(s)
				}
				html, err := report.SimulationPage(s)
				if err != nil {
					return err
				}
				path, err := w.WritePage(page, html)
				if err == nil {
					_, err = fmt.Fprintln(a.stdout, path)
				}
				return err
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.systemFlags(c)
	c.Flags().StringVar(&from, "from", "", "begin at a `TIME`, such as 2026-01-31 or \"2026-01-31 12:00:00\" in UTC")
	c.Flags().StringVar(&to, "to", "", "end at a `TIME`")
	c.Flags().StringVar(&o.Requests, "requests", "", "take the rows of a `TABLE` as requests, instead of the request log")
	c.Flags().BoolVar(&o.Train, "train", false, "train for real, on what was known at each moment")
	c.Flags().DurationVar(&o.Takes, "takes", 0, "the `DURATION` of a training in virtual time")
	c.Flags().StringVar(&page.To, "html", "", "write a page with plots to `FILE`")
	c.Flags().BoolVar(&page.Force, "force", false, "replace an existing file that is no page of tenon")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// mostSimulated is how many loops are compared.
const mostSimulated = 2

// flagTime reads a time in UTC.
func flagTime(flag, text string) (time.Time, error) {
	t, _, ok := ir.ParseTime(text)
	if !ok {
		return t, &usageError{fmt.Errorf("%s takes a date or a time, such as 2026-01-31 or 2026-01-31T12:00:00Z, not %q", flag, text)}
	}
	return t, nil
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

func (a *app) printSimulation(s *project.Simulation) error {
	trained := "with recorded versions of the model"
	if s.Trained {
		trained = "with trainings"
	}
	fmt.Fprintf(a.stdout, "From %s to %s UTC, on %s, %s\n", utc(s.From), utc(s.To), s.Requests, trained)
	for i := range s.Loops {
		if err := a.printSimulated(&s.Loops[i]); err != nil {
			return err
		}
	}
	fmt.Fprintln(a.stdout)
	t := table(a.stdout)
	for i, row := range project.CompareSimulated(s) {
		line := strings.Join(row, "\t")
		if i == 0 {
			line = a.paint(bold, line)
		}
		fmt.Fprintln(t, line)
	}
	return t.Flush()
}

// printSimulated prints what one loop would have done.
func (a *app) printSimulated(l *project.SimulatedLoop) error {
	fmt.Fprintf(a.stdout, "\n%s  %s\n", a.paint(bold, l.Loop), plural(l.Rows, "request"))
	for _, note := range l.Notes {
		fmt.Fprintln(a.stdout, "  note: "+printable(note))
	}
	t := table(a.stdout)
	if len(l.Acts) == 0 {
		fmt.Fprintln(a.stdout, "  It would have done nothing.")
	} else {
		fmt.Fprintln(t, a.paint(bold, "  AT\tACT\tVERSION\tREASON"))
	}
	for _, act := range l.Acts {
		version := "-"
		if act.Version > 0 {
			version = fmt.Sprint(act.Version)
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\n", utc(act.At), act.Act, version, printable(act.Reason))
		if act.Outcome != "" {
			fmt.Fprintf(t, "  \t\t\t→ %s\n", printable(act.Outcome))
		}
	}
	if len(l.Alerts) > 0 {
		fmt.Fprintln(t, "\n"+a.paint(bold, "  ALERT\tMONITOR\tTIMES\tWAS\tWHY"))
	}
	for _, x := range l.Alerts {
		fmt.Fprintf(t, "  %s\t%s\t%d\t%s\t%s\n", utc(x.At), x.Monitor, x.Count, x.Was, printable(cmp.Or(x.Reason, "-")))
		fmt.Fprintf(t, "  \t\t\t\t→ %s\n", printable(x.Why))
	}
	if l.Metric != "" {
		fmt.Fprintf(t, "\n%s\n", a.paint(bold, "  FROM\tTO\tREQUESTS\tWITH\tWITHOUT\t"+l.Metric))
	}
	for _, q := range l.Quality {
		fmt.Fprintf(t, "  %s\t%s\t%d\t%s\t%s\t\n", utc(q.Begin), utc(q.End), q.Rows, project.Figure(q.With, l.Metric), project.Figure(q.Without, l.Metric))
	}
	return t.Flush()
}
