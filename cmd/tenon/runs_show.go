package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/cmd/internal/report"
	"github.com/tenon-ml/tenon/internal/curve"
)

// curvesOptions say which curves of runs to show, and how.
type curvesOptions struct {
	names   []string // runs, units or entities
	metrics []string // only these; nil is all
	asJSON  bool
	asCSV   bool
	follow  bool
	page    project.Page
}

func runsShowCommand(a *app) *cobra.Command {
	var dir string
	o := curvesOptions{page: project.Page{Beginning: report.Beginning}}
	c := &cobra.Command{
		Use: "show NAME|RUN...", Short: "Show metrics over time of one run, or of several in one plot", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Shows the metrics that runs logged over time, such as the loss of each epoch. A unit, or
an entity such as models/late, stands for its newest run, which may still be running;
tenon runs lists the numbers of others.

A row has the last value of a metric, and the lowest and the highest one with their
steps. "x" in a curve is a value that is not finite. --plot writes all runs into
one page with a figure for each metric.`,
		Example: `  tenon runs show models/late/train
  tenon runs show models.late -f              while it runs
  tenon runs show 24 31 --plot curves.html    two runs in one plot
  tenon runs show 31 --metrics loss --csv`,
		RunE: func(c *cobra.Command, args []string) error {
			o.names = args
			if err := o.check(); err != nil {
				return err
			}
			quietly := func() bool { return true } // an interrupt only ends this command
			a.leave.Store(&quietly)
			return a.withApplied(c.Context(), dir, func(w *project.Workspace) error { return a.showCurves(c.Context(), w, o) })
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	c.Flags().StringSliceVar(&o.metrics, "metrics", nil, "only these metrics: `NAMES` with commas between them")
	c.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&o.asCSV, "csv", false, "print CSV: run, metric, step, time, value")
	c.Flags().BoolVarP(&o.follow, "follow", "f", false, "print values while they are logged, until the runs end")
	c.Flags().StringVar(&o.page.To, "plot", "", "write a page with plots to `FILE`")
	c.Flags().BoolVar(&o.page.Force, "force", false, "replace an existing file that is no page of tenon")
	return c
}

func (o *curvesOptions) check() error {
	n := 0
	for _, set := range []bool{o.asJSON, o.asCSV, o.page.To != ""} {
		if set {
			n++
		}
	}
	switch {
	case n > 1:
		return &usageError{errors.New("--json, --csv and --plot cannot be used together")}
	case o.follow && (o.asJSON || o.asCSV):
		return &usageError{errors.New("-f prints text: leave out --json and --csv")}
	case len(o.names) > report.MaxCurveRuns && o.page.To != "":
		return &usageError{fmt.Errorf("--plot shows at most %d runs", report.MaxCurveRuns)}
	}
	return nil
}

func (a *app) showCurves(ctx context.Context, w *project.Workspace, o curvesOptions) error {
	runs, err := w.CurvesOf(ctx, o.names)
	if err == nil && o.follow {
		runs, err = a.followCurves(ctx, w, o, runs)
	}
	if err == nil {
		err = project.OnlyCurves(runs, o.metrics)
	}
	switch {
	case err != nil:
		return err
	case o.asJSON:
		return a.printJSON(runs)
	case o.asCSV:
		return curvesCSV(a.stdout, runs)
	case o.page.To != "":
		html, err := report.CurvesPage(runs)
		if err != nil {
			return err
		}
		return a.showPage(w.Project, pageFlags{Page: o.page, noBrowser: true}, html)
	}
	return a.printCurves(runs)
}

// followEvery is how often to look for new values.
const followEvery = 500 * time.Millisecond

// followCurves prints values as they arrive, and returns the runs as they are when all have ended, or the user ended this.
func (a *app) followCurves(ctx context.Context, w *project.Workspace, o curvesOptions, runs []project.RunCurves) ([]project.RunCurves, error) {
	names := make([]string, len(runs)) // by number: a later run of a unit is another one
	printed := make([]map[string]int64, len(runs))
	for i, r := range runs {
		names[i], printed[i] = fmt.Sprint(r.ID), map[string]int64{}
	}
	warned := false
	for {
		running := false
		for i := range runs {
			running = running || runs[i].Running()
			prefix := ""
			if len(runs) > 1 {
				prefix = fmt.Sprintf("run %d  ", runs[i].ID)
			}
			for _, line := range newValues(&runs[i].Curves, o.metrics, printed[i]) {
				if _, err := fmt.Fprintln(a.stdout, prefix+line); err != nil {
					return nil, err
				}
			}
		}
		if !running {
			return runs, nil
		}
		if missing := project.NotLogged(runs, o.metrics); len(missing) > 0 && !warned {
			warned = true
			for _, text := range missing {
				fmt.Fprintf(a.stderr, "warning: until now, %s\n", printable(text))
			}
		}
		select {
		case <-ctx.Done():
			return runs, nil
		case <-time.After(followEvery):
		}
		next, err := w.CurvesOf(ctx, names)
		if ctx.Err() != nil {
			return runs, nil
		}
		if err != nil {
			return nil, err
		}
		runs = next
	}
}

// newValues returns a line for each step that is later than those printed: "step 3  loss 0.25".
func newValues(c *curve.Curves, metrics []string, printed map[string]int64) []string {
	bySteps := map[int64][]string{}
	for _, name := range c.Names() {
		if len(metrics) > 0 && !slices.Contains(metrics, name) {
			continue
		}
		for _, p := range c.Curves[name].All() {
			if last, ok := printed[name]; !ok || p.Step > last {
				bySteps[p.Step] = append(bySteps[p.Step], printable(name)+" "+number(float64(p.Value)))
				printed[name] = p.Step
			}
		}
	}
	var lines []string
	for _, at := range slices.Sorted(maps.Keys(bySteps)) {
		lines = append(lines, fmt.Sprintf("step %d  %s", at, strings.Join(bySteps[at], "  ")))
	}
	return lines
}

// curvesCSV prints the points that are kept.
func curvesCSV(out io.Writer, runs []project.RunCurves) error {
	to := csv.NewWriter(out)
	rows := [][]string{{"run", "metric", "step", "time", "value"}}
	for _, r := range runs {
		for _, name := range r.Names() {
			for _, p := range r.Curves.Curves[name].All() {
				at := ""
				if p.Time != 0 {
					at = time.UnixMilli(p.Time).UTC().Format("2006-01-02T15:04:05.000Z")
				}
				rows = append(rows, []string{fmt.Sprint(r.ID), name, fmt.Sprint(p.Step), at, strconv.FormatFloat(float64(p.Value), 'g', -1, 64)})
			}
		}
	}
	return to.WriteAll(rows)
}

// printCurves prints one row for each metric of each run, those of a metric one below the other.
func (a *app) printCurves(runs []project.RunCurves) error {
	names := map[string]bool{}
	for _, r := range runs {
		length := took(r.Took)
		if r.Took == 0 {
			length = "since " + r.Started.Local().Format(time.DateTime)
		}
		if _, err := fmt.Fprintf(a.stdout, "run %d  %s  %s  %s  %s\n", r.ID, r.Unit, strings.TrimSpace(fmt.Sprintf("@%d %s", r.Revision, r.Env)), r.Outcome, length); err != nil {
			return err
		}
		if r.LeftOut > 0 {
			fmt.Fprintf(a.stdout, "  %s of further metrics were left out: a run has at most %d.\n", plural(int64(r.LeftOut), "value"), curve.MaxCurves)
		}
		for name := range r.Curves.Curves {
			names[name] = true
		}
	}
	if len(names) == 0 {
		_, err := fmt.Fprintln(a.stdout, "Nothing was logged over time: a program does that with step.log(loss=0.25, step=1).")
		return err
	}
	fmt.Fprintln(a.stdout)
	t := table(a.stdout)
	head := []string{"METRIC", "STEPS", "LAST", "LOWEST", "HIGHEST", "CURVE"}
	if len(runs) > 1 {
		head = slices.Insert(head, 1, "RUN")
	}
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		for _, r := range runs {
			c := r.Curves.Curves[name]
			if c == nil {
				continue
			}
			cells := []string{printable(name), stepsOf(c), number(float64(c.Last.Value)), atStep(c.Lowest), atStep(c.Highest), sparkline(c, sparkWidth)}
			if len(runs) > 1 {
				cells = slices.Insert(cells, 1, fmt.Sprint(r.ID))
			}
			fmt.Fprintln(t, strings.Join(cells, "\t"))
		}
	}
	return t.Flush()
}

func stepsOf(c *curve.Curve) string {
	first, last := c.All()[0].Step, c.Last.Step
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

func atStep(p *curve.Point) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%s at %d", number(float64(p.Value)), p.Step)
}

// sparkWidth is how many characters a curve has at most.
const sparkWidth = 32

var sparks = []rune("▁▂▃▄▅▆▇█")

// sparkScale keeps the sums and differences of the largest numbers finite. It is a power of two, so that dividing by it is exact.
const sparkScale = 1 << 20

// sparkline draws a curve in one line. Each character is the mean of the values of an equal part of the steps.
func sparkline(c *curve.Curve, width int) string {
	points := c.All()
	first, last := float64(points[0].Step), float64(points[len(points)-1].Step)
	width = min(width, len(points))
	sums, counts, broken := make([]float64, width), make([]int, width), make([]bool, width)
	for _, p := range points {
		i := 0
		if last > first {
			i = min(int((float64(p.Step)-first)/(last-first)*float64(width)), width-1)
		}
		if x := float64(p.Value); math.IsNaN(x) || math.IsInf(x, 0) {
			broken[i] = true
		} else {
			sums[i] += x / sparkScale
			counts[i]++
		}
	}
	low, high := math.Inf(1), math.Inf(-1)
	for i := range sums {
		if counts[i] > 0 {
			sums[i] /= float64(counts[i])
			low, high = min(low, sums[i]), max(high, sums[i])
		}
	}
	var b strings.Builder
	for i := range sums {
		switch {
		case broken[i]:
			b.WriteByte('x')
		case counts[i] == 0:
			b.WriteByte(' ')
		case high > low:
			b.WriteRune(sparks[int((sums[i]-low)/(high-low)*float64(len(sparks)-1)+0.5)])
		default:
			b.WriteRune(sparks[len(sparks)/2])
		}
	}
	return b.String()
}
