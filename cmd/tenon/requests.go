package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

func requestsCommand(a *app) *cobra.Command {
	var asJSON, different, audit bool
	var dir, since string
	var o project.RequestsOptions
	c := &cobra.Command{
		Use: "requests [DEPLOYMENT]", Short: "List or export the logged requests of a deployment", Args: atMost(1, "one deployment"), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Lists the newest requests that a serve.#HTTP with log has answered, one row each: when,
the id of the request, the version of the model, the latency and the prediction. --json
prints every column of each row, one row per line. Private columns are not logged.

--out writes the rows to a Parquet file, for a query or a notebook. A request is listed
once its file is complete, which takes the interval of the log, a minute by default. In a
cluster, pods put their files into the target's store, and the column POD says which one
has answered.

--different lists what a deployment with parity has found instead: every value and every
prediction of a checked request that training computes otherwise. --audit lists the audit
log of a deployment with audit: who has asked for what. --json prints its lines.

The name may be left out if one deployment has a log.`,
		Example: `  tenon requests
  tenon requests deployments/api --since 1h
  tenon requests deployments/api --id 6f9619ff --json
  tenon requests deployments/api --since 2026-01-31 --out requests.parquet
  tenon requests deployments/api --different
  tenon requests deployments/api --audit --since 1h`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			var err error
			if o.Since, err = sinceTime(since); err != nil {
				return err
			}
			switch {
			case different && audit:
				return &usageError{errors.New("--different and --audit list different things: leave out one of them")}
			case audit && o.Out != "":
				return &usageError{errors.New("--audit lists lines of text: leave out --out")}
			case different && (o.Out != "" || o.ID != ""):
				return &usageError{errors.New("--different lists what checks have found: leave out --out and --id")}
			case o.Limit < 0:
				return &usageError{fmt.Errorf("--limit takes a number of rows, or 0 for all, not %d", o.Limit)}
			case o.Out != "" && asJSON:
				return &usageError{fmt.Errorf("--out writes a table: leave out --json")}
			case o.Out != "" && c.Flags().Changed("limit"):
				return &usageError{fmt.Errorf("--out writes all rows: leave out --limit")}
			case o.Out != "":
				o.Limit = 0
			}
			if audit {
				return a.withApplied(ctx, dir, func(w *project.Workspace) error {
					return a.printAudited(ctx, w, first(args), o, asJSON)
				})
			}
			if different {
				return a.withApplied(ctx, dir, func(w *project.Workspace) error {
					return a.printDifferences(ctx, w, first(args), o, asJSON)
				})
			}
			return a.withApplied(ctx, dir, func(w *project.Workspace) error {
				t := table(a.stdout)
				shown, pods := 0, false
				unit, rows, err := w.Requests(ctx, first(args), o, func(line []byte) error {
					if asJSON {
						_, err := fmt.Fprintf(a.stdout, "%s\n", line)
						return err
					}
					var r requests.Row
					if err := json.Unmarshal(line, &r); err != nil {
						return err
					}
					if shown == 0 {
						head := "TIME\tREQUEST\tROW\tVERSION\tLATENCY\tPREDICTION"
						if pods = r.Pod != ""; pods {
							head += "\tPOD"
						}
						fmt.Fprintln(t, a.paint(bold, head))
					}
					shown++
					says := printable(string(r.Prediction))
					if r.Probability != nil {
						says += fmt.Sprintf(" (%.3f)", *r.Probability)
					}
					if pods {
						says += "\t" + cmp.Or(r.Pod, "-")
					}
					fmt.Fprintf(t, "%s\t%s\t%d\tv%d\t%s\t%s\n", r.Time.Format("2006-01-02 15:04:05.000"), r.RequestID, r.Row, r.Version, time.Duration(r.LatencyUS)*time.Microsecond, says)
					return nil
				})
				switch {
				case err != nil || asJSON:
					return err
				case o.Out != "":
					_, err = fmt.Fprintf(a.stdout, "%s: %s of %s\n", o.Out, plural(rows, "row"), unit)
					return err
				case shown == 0:
					_, err = fmt.Fprintf(a.stdout, "%s has logged no such requests yet.\n", unit)
					return err
				}
				return t.Flush()
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	sinceFlag(c, &since)
	c.Flags().StringVar(&o.ID, "id", "", "only the request with this `ID`")
	c.Flags().IntVar(&o.Limit, "limit", 20, "at most the newest `N` rows; 0 is all")
	c.Flags().StringVar(&o.Out, "out", "", "write all rows to `FILE`, as Parquet")
	c.Flags().BoolVar(&o.Force, "force", false, "replace an existing file")
	c.Flags().BoolVar(&different, "different", false, "list what checks have found that differs from training")
	c.Flags().BoolVar(&audit, "audit", false, "list who has asked for what, from the audit log")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, one row per line")
	return c
}

// printDifferences prints the newest differences that a deployment has found.
func (a *app) printDifferences(ctx context.Context, w *project.Workspace, name string, o project.RequestsOptions, asJSON bool) error {
	var all []requests.Differing
	unit, found, err := w.Differences(ctx, name, o.Since, func(d requests.Differing) error {
		if all = append(all, d); o.Limit > 0 && len(all) > o.Limit {
			all = all[1:]
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range all {
		if asJSON {
			err = a.printJSONLine(d)
		} else {
			_, err = fmt.Fprintf(a.stdout, "%s  %s\n", d.Time.Format("2006-01-02 15:04:05.000"), printable(d.String()))
		}
		if err != nil {
			return err
		}
	}
	switch {
	case asJSON:
		return nil
	case found == nil:
		_, err = fmt.Fprintf(a.stdout, "%s has checked no request yet.\n", unit)
		return err
	}
	for _, note := range found.Notes {
		fmt.Fprintln(a.stdout, "note: "+printable(note))
	}
	_, err = fmt.Fprintf(a.stdout, "%s: checked %s, of which %d differ\n", unit, plural(found.Checked, "row"), found.Different)
	return err
}

// printAudited prints the newest lines of an audit log.
func (a *app) printAudited(ctx context.Context, w *project.Workspace, name string, o project.RequestsOptions, asJSON bool) error {
	t := table(a.stdout)
	shown := 0
	unit, err := w.Audited(ctx, name, o, func(text string, line requests.AuditLine) error {
		if asJSON {
			_, err := fmt.Fprintln(a.stdout, text)
			return err
		}
		if shown++; shown == 1 {
			fmt.Fprintln(t, a.paint(bold, "TIME\tCALLER\tADDRESS\tSTATUS\tLATENCY\tREQUEST"))
		}
		at, err := time.Parse(requests.AuditTime, line.Time)
		if err != nil {
			return fmt.Errorf("read the audit log: %w", err)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", at.Format("2006-01-02 15:04:05.000"), printable(cmp.Or(line.Caller, "-")), printable(line.Address), line.Status,
			time.Duration(line.MS*float64(time.Millisecond)).Round(time.Microsecond), printable(line.Method+" "+line.Path))
		return nil
	})
	if err == nil && shown == 0 && !asJSON {
		_, err = fmt.Fprintf(a.stdout, "%s has no such lines in its audit log yet.\n", unit)
	}
	return errors.Join(err, t.Flush())
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func sinceFlag(c *cobra.Command, since *string) {
	c.Flags().StringVar(since, "since", "", "only requests of the last `TIME`, such as 1h or 7d, or after a date")
}

var lengthOfTime = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$`)

// sinceTime reads a length of time until now, or a point in time.
func sinceTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if lengthOfTime.MatchString(text) {
		return time.Now().Add(-duration.Parse(text)), nil
	}
	if t, _, ok := ir.ParseTime(text); ok {
		return t, nil
	}
	return time.Time{}, &usageError{fmt.Errorf("--since takes a length of time, such as 1h or 7d, or a date, such as 2026-01-31, not %q", text)}
}
