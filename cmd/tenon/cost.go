package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner"
)

func costCommand(a *app) *cobra.Command {
	var by, since string
	var asJSON, predictions, storage bool
	c := &cobra.Command{
		Use: "cost [DIR]", Short: "Show what ran, for how long, and what it cost", Args: atMost(1, "one folder"),
		Long: `Sums the time that units ran, and its price: the one that their pool had when they ran. A
job costs from its start to its end, whatever its outcome. A service costs from the
end of the apply that deployed it to the end of the one that replaced or removed it.

Pools without a price cost nothing; the time is shown all the same. What tenon gc has
removed from the history is not counted.

Several groups, separated by commas, are the parts of a row: --by stage,revision shows how
long each stage took in each revision.

--predictions divides what services cost by the predictions that their logs of requests
have, by unit or by model. Where a log does not have all of them, the number is unknown.

--storage shows instead what results take that were made and not removed by tenon gc, and
what that costs in a month, if a table of rates has the region of the last target.

With --json, amounts are billionths of the currency, and times are nanoseconds.`,
		Example: "  tenon cost\n  tenon cost --by stage --since 30d\n  tenon cost --by stage,revision\n  tenon cost --by model --predictions\n  tenon cost --storage --by model\n  tenon cost --by team -e prod --json",
		RunE: func(c *cobra.Command, args []string) error {
			if storage && (predictions || since != "") {
				return &usageError{errors.New("--storage is about what is there now: remove --since and --predictions")}
			}
			from, err := sinceTime(since)
			if err != nil {
				return err
			}
			return a.withApplied(c.Context(), folder(args), func(w *project.Workspace) error {
				if storage {
					return a.printStored(c.Context(), w, by, asJSON)
				}
				s, err := w.Spent(c.Context(), by, predictions, from, time.Now())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(s)
				}
				return a.printSpending(s)
			})
		},
	}
	a.stateFlag(c)
	groups := project.SpentGroups()
	c.Flags().StringVar(&by, "by", "unit", "sum by `GROUPS`: "+strings.Join(groups, ", "))
	_ = c.RegisterFlagCompletionFunc("by", cobra.FixedCompletions(groups, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().StringVar(&since, "since", "", "only the last `TIME`, such as 1h or 7d, or after a date")
	c.Flags().BoolVar(&predictions, "predictions", false, "also show what each prediction cost")
	c.Flags().BoolVar(&storage, "storage", false, "show what results take, and what that costs in a month")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// printStored prints what results take.
func (a *app) printStored(ctx context.Context, w *project.Workspace, by string, asJSON bool) error {
	s, err := w.Stored(ctx, by)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(s)
	}
	t := table(a.stdout)
	fmt.Fprintf(t, "%s\tRESULTS\tSIZE\tMONTH\n", strings.ToUpper(by))
	total := s.Total
	total.Name = a.paint(bold, total.Name)
	for _, r := range append(s.Rows, total) {
		month := "unknown"
		if r.Month != nil {
			month = r.Month.Format(s.Charge.Currency)
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\n", r.Name, r.Results, bytesOf(r.Bytes), month)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	why := fmt.Sprintf("\nNo table has the price of storage of %s in %s: see tenon prices import --help.", s.Cloud, s.Region)
	switch {
	case s.Cloud == "":
		why = "\nThe last target is in no cloud, and storage there has no price."
	case s.Charge != nil:
		why = fmt.Sprintf("\n%s for 1 GiB and month in %s (%s, %s).", s.Charge.Price.Format(s.Charge.Currency), s.Region, s.Charge.Source, s.Charge.Date)
	}
	_, err = fmt.Fprintln(a.stdout, why)
	return err
}

func (a *app) printSpending(s *project.Spending) error {
	if len(s.Total) == 0 {
		_, err := fmt.Fprintln(a.stdout, "Nothing ran in this time.")
		return err
	}
	t := table(a.stdout)
	more := strings.Count(s.By, ",")
	fmt.Fprintf(t, "%s\tRUNS\tTIME\tCOST\tSHARE\n", strings.ToUpper(strings.ReplaceAll(s.By, ",", "\t")))
	for _, r := range s.Rows {
		name := r.Name
		if more > 0 {
			name = strings.Join(r.Groups, "\t")
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", name, orDash(count(r.Runs)), took(r.Time), costText(r), shareOf(r, s.Total))
	}
	for _, r := range s.Total {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t\n", a.paint(bold, r.Name)+strings.Repeat("\t", more), orDash(count(r.Runs)), took(r.Time), costText(r))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range s.PerRequest {
		fmt.Fprintf(a.stdout, "Not counted: the requests of %s, whose number is unknown: %s for a million, and their time.\n", r.Unit, r.Million.Format(r.Currency))
	}
	if s.Served == nil {
		return nil
	}
	return a.printServed(s)
}

// printServed prints what predictions cost.
func (a *app) printServed(s *project.Spending) error {
	fmt.Fprintln(a.stdout)
	if len(s.Served) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No service ran in this time.")
		return err
	}
	t := table(a.stdout)
	fmt.Fprintf(t, "SERVED BY %s\tCOST\tPREDICTIONS\tEACH\n", strings.ToUpper(s.By))
	for _, r := range s.Served {
		cost, each, n := "-", "-", "unknown: "+r.Unknown
		if r.Currency != "" {
			cost = r.Cost.Format(r.Currency)
		}
		if r.Predictions != nil {
			n = fmt.Sprint(*r.Predictions)
		}
		if r.Each != nil {
			each = r.Each.Format(r.Currency)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.Name, cost, n, each)
	}
	return t.Flush()
}

func count(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func costText(r planner.Spent) string {
	if r.Currency == "" {
		return "-"
	}
	return r.Cost.Format(r.Currency)
}

// shareOf returns the part of the costs in a currency, or of the time where there is none.
func shareOf(r planner.Spent, totals []planner.Spent) string {
	for _, t := range totals {
		if t.Currency != r.Currency {
			continue
		}
		if t.Cost > 0 {
			return fmt.Sprintf("%.0f %%", 100*float64(r.Cost)/float64(t.Cost))
		}
		return fmt.Sprintf("%.0f %% of the time", 100*float64(r.Time)/float64(t.Time))
	}
	return "-"
}
