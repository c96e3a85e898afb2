package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

func runsCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir string
	var columns []string
	var o project.RunsOptions
	c := &cobra.Command{
		Use: "runs [NAME | RUN...]", Short: "List, search and compare recorded trainings and other runs",
		Long: `Lists the recorded runs of a unit such as models/late/train; the trainings of an entity
such as models/late; or those of the whole system, newest first. If there is no
training, it lists the jobs. A training has the metrics of the evaluation of its model, and "*"
marks a run whose model is registered, with its version.

With the numbers of runs, it shows these side by side: their metrics, and the
parameters and inputs that differ.

--where is an expression in CUE. Metrics have their own names, or metrics["any name"];
parameters are params.NAME; the rest is run, unit, entity, env, revision, outcome,
attempt, version, seconds, and started, a time such as "2026-01-31T12:00:00Z".`,
		Example: `  tenon runs
  tenon runs models.late --where 'roc_auc > 0.7 && params.max_depth <= 6' --sort -roc_auc
  tenon runs models.late --columns roc_auc,log_loss,params.estimator
  tenon runs --where 'outcome != "done" && started > "2026-01-31"'
  tenon runs 12 15                 compare two runs
  tenon runs show 12 15            their metrics over time
  tenon runs --json > runs.json    all of them`,
		RunE: func(c *cobra.Command, args []string) error {
			ids, err := runNumbers(args)
			if err != nil {
				return err
			}
			if o.IDs = ids; len(ids) == 0 && len(args) == 1 {
				o.Name = args[0]
			}
			limit := o.Limit
			if o.Limit = 0; asJSON && !c.Flags().Changed("limit") {
				limit = 0
			}
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				runs, err := w.Runs(c.Context(), o)
				if err != nil {
					return err
				}
				rest := 0
				if limit > 0 && len(runs) > limit && len(ids) == 0 {
					runs, rest = runs[:limit], len(runs)-limit
				}
				switch {
				case asJSON:
					return a.printJSON(append([]project.TrackedRun{}, runs...))
				case len(ids) > 1 && len(runs) > 0:
					return compareRuns(a.stdout, runs)
				default:
					return a.printRuns(runs, o, columns, rest)
				}
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVar(&o.Where, "where", "", "only runs for which this `CONDITION` holds")
	c.Flags().StringVar(&o.Sort, "sort", "", "sort by a metric, params.NAME or seconds; -`NAME` puts the largest first")
	c.Flags().StringSliceVar(&columns, "columns", nil, "show these metrics and parameters (params.NAME): `NAMES` with commas between them")
	c.Flags().IntVar(&o.Limit, "limit", 20, "show at most `N` runs; 0 is all, as with --json")
	c.AddCommand(runsShowCommand(a), runsSyncCommand(a))
	return c
}

// runNumbers returns the numbers of runs that the arguments are, or none if the only one is a name.
func runNumbers(args []string) ([]int64, error) {
	var ids []int64
	for _, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil {
			if len(args) > 1 {
				return nil, &usageError{fmt.Errorf("%q is not the number of a run: name one unit or entity, or the numbers of runs", arg)}
			}
			return nil, nil
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// printRuns prints a table: the metrics that matter most, and the parameters in which the runs differ.
func (a *app) printRuns(runs []project.TrackedRun, o project.RunsOptions, columns []string, rest int) error {
	if len(runs) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No run is recorded, or none matches.")
		return err
	}
	if len(columns) == 0 {
		columns = runColumns(runs, o.Sort)
	}
	units := map[string]bool{}
	environments := false
	for _, r := range runs {
		units[r.Unit] = true
		environments = environments || r.Env != ""
	}
	t := table(a.stdout)
	head := []string{"RUN", "REVISION", "STARTED", "TOOK"}
	if len(units) > 1 {
		head = slices.Insert(head, 1, "UNIT")
	}
	for _, c := range columns {
		head = append(head, printable(strings.TrimPrefix(c, "params.")))
	}
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, r := range runs {
		mark := ""
		if r.Version > 0 {
			mark = fmt.Sprintf(" *%d", r.Version)
		}
		revision := fmt.Sprintf("@%d", r.Revision)
		if environments && r.Env != "" {
			revision += " " + r.Env
		}
		length := took(r.Took)
		if r.Outcome != state.Done {
			length = string(r.Outcome)
		}
		cells := []string{fmt.Sprint(r.ID) + mark, revision, r.Started.Local().Format(time.DateTime), length}
		if len(units) > 1 {
			cells = slices.Insert(cells, 1, r.Unit)
		}
		for _, c := range columns {
			cells = append(cells, orDash(cell(r, c)))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if rest > 0 {
		if _, err := fmt.Fprintf(a.stdout, "%s more: --limit 0 shows all.\n", plural(int64(rest), "run")); err != nil {
			return err
		}
	}
	return nil
}

// At most so many metrics and parameters are shown if none are named.
const (
	mostMetrics = 4
	mostParams  = 4
)

// runColumns returns the metrics that matter most, and the parameters that differ.
func runColumns(runs []project.TrackedRun, sorted string) []string {
	sorted = strings.TrimPrefix(sorted, "-")
	metrics := map[string]bool{}
	for _, r := range runs {
		for _, name := range project.Estimates(r.Metrics) {
			metrics[name] = true
		}
	}
	order := slices.Concat([]string{sorted}, headline[1:], slices.Sorted(maps.Keys(metrics)))
	columns := unique(slices.DeleteFunc(order, func(n string) bool { return !metrics[n] }))
	columns = columns[:min(len(columns), mostMetrics)]
	params := differing(runs, func(r project.TrackedRun) map[string]any { return r.Params })
	if name, ok := strings.CutPrefix(sorted, "params."); ok {
		params = unique(append([]string{name}, params...))
	}
	for _, p := range params[:min(len(params), mostParams)] {
		columns = append(columns, "params."+p)
	}
	return columns
}

func unique(names []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(names, func(n string) bool {
		was := seen[n]
		seen[n] = true
		return was
	})
}

// differing returns the names whose values are not the same in all runs, sorted.
func differing[V any](runs []project.TrackedRun, of func(project.TrackedRun) map[string]V) []string {
	values := map[string]map[string]bool{}
	for _, r := range runs {
		for name := range of(r) {
			values[name] = map[string]bool{}
		}
	}
	for _, r := range runs {
		for name := range values {
			text := "" // a run that lacks it differs, too
			if v, ok := of(r)[name]; ok {
				text = valueText(v)
			}
			values[name][text] = true
		}
	}
	var names []string
	for name, found := range values {
		if len(found) > 1 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// cell returns the text of a metric or a parameter of a run, or "".
func cell(r project.TrackedRun, column string) string {
	if name, ok := strings.CutPrefix(column, "params."); ok {
		if v, ok := r.Params[name]; ok {
			return valueText(v)
		}
		return ""
	}
	if x, ok := r.Metrics[column]; ok {
		return number(x)
	}
	return ""
}

// valueText returns a parameter in one line.
func valueText(v any) string {
	if text, ok := v.(string); ok {
		return printable(text)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// compareRuns shows runs side by side.
func compareRuns(out io.Writer, runs []project.TrackedRun) error {
	t := table(out)
	row := func(name string, of func(project.TrackedRun) string) {
		cells := []string{printable(name)}
		for _, r := range runs {
			cells = append(cells, orDash(of(r)))
		}
		fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	row("run", func(r project.TrackedRun) string { return fmt.Sprint(r.ID) })
	row("unit", func(r project.TrackedRun) string { return r.Unit })
	row("revision", func(r project.TrackedRun) string { return strings.TrimSpace(fmt.Sprintf("@%d %s", r.Revision, r.Env)) })
	row("outcome", func(r project.TrackedRun) string { return string(r.Outcome) })
	row("started", func(r project.TrackedRun) string { return r.Started.Local().Format(time.DateTime) })
	row("took", func(r project.TrackedRun) string { return took(r.Took) })
	row("version", func(r project.TrackedRun) string {
		if r.Version == 0 {
			return ""
		}
		return fmt.Sprint(r.Version)
	})
	metrics := map[string]bool{}
	for _, r := range runs {
		for _, name := range project.Estimates(r.Metrics) {
			metrics[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		row(name, func(r project.TrackedRun) string {
			return cell(r, name) + project.IntervalText(r.Metrics, name, number)
		})
	}
	for _, name := range differing(runs, func(r project.TrackedRun) map[string]any { return r.Params }) {
		row("params."+name, func(r project.TrackedRun) string { return cell(r, "params."+name) })
	}
	for _, name := range differing(runs, func(r project.TrackedRun) map[string]string { return r.Inputs }) {
		row("input "+name, func(r project.TrackedRun) string {
			if r.Inputs[name] == "" {
				return ""
			}
			return artifact.Short(r.Inputs[name])
		})
	}
	return t.Flush()
}
