package report

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

// MaxCurveRuns is how many runs one page of curves can show: each has a color.
const MaxCurveRuns = 6

// CurvesPage draws the metrics over time of runs, a figure for each metric. There are at most [MaxCurveRuns].
func CurvesPage(runs []project.RunCurves) ([]byte, error) {
	p := &page{About: "Metrics over time"}
	var titles []string
	names := map[string]bool{}
	for i, r := range runs {
		titles = append(titles, fmt.Sprintf("%s, run %d", r.Unit, r.ID))
		facts := &table{}
		facts.fact("revision", strings.TrimSpace(fmt.Sprintf("@%d %s", r.Revision, r.Env)))
		facts.fact("outcome", string(r.Outcome))
		facts.fact("started", moment(r.Started))
		for _, name := range slices.Sorted(maps.Keys(r.Metrics)) {
			facts.fact(name, number(r.Metrics[name]))
		}
		h := head{i, fmt.Sprintf("run %d", r.ID), facts}
		if len(runs) == 1 {
			h.Name = ""
		}
		p.Heads = append(p.Heads, h)
		for name := range r.Curves.Curves {
			names[name] = true
		}
	}
	p.Title = strings.Join(titles, " and ")
	for _, name := range slices.Sorted(maps.Keys(names)) {
		p.Figures = append(p.Figures, logged(name, runs))
	}
	return p.html()
}

// logged draws one metric of all runs that have it. Values that are no finite numbers interrupt a curve.
func logged(name string, runs []project.RunCurves) figure {
	out := figure{Title: name}
	x0, x1, y0, y1 := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, r := range runs {
		if c := r.Curves.Curves[name]; c != nil {
			x0, x1 = min(x0, float64(c.All()[0].Step)), max(x1, float64(c.Last.Step))
			if c.Lowest != nil {
				y0, y1 = min(y0, float64(c.Lowest.Value)), max(y1, float64(c.Highest.Value))
			}
		}
	}
	if y0 > y1 {
		out.Reasons = []note{{Text: "no value is a finite number"}}
		return out
	}
	c := newChart("a metric over time", "step", "value", x0, x1, y0, y1)
	for i, r := range runs {
		of := r.Curves.Curves[name]
		if of == nil {
			continue
		}
		class := fmt.Sprintf("line s%d", i)
		var xs, ys []float64
		broken := 0
		for _, p := range of.All() {
			x := float64(p.Value)
			if !math.IsNaN(x) && !math.IsInf(x, 0) {
				xs, ys = append(xs, float64(p.Step)), append(ys, x)
				continue
			}
			broken++
			c.curve(class, xs, ys)
			xs, ys = nil, nil
		}
		c.curve(class, xs, ys)
		text := fmt.Sprintf("last %s at step %d", number(float64(of.Last.Value)), of.Last.Step)
		if of.Lowest != nil {
			text += fmt.Sprintf("; lowest %s at %d, highest %s at %d", number(float64(of.Lowest.Value)), of.Lowest.Step, number(float64(of.Highest.Value)), of.Highest.Step)
		}
		if broken > 0 {
			text += fmt.Sprintf("; %d shown values are no finite numbers", broken)
		}
		n := note{Side: i, Text: text}
		if len(runs) > 1 {
			n.Of = fmt.Sprintf("run %d", r.ID)
		}
		out.Notes = append(out.Notes, n)
	}
	out.SVG = c.svg()
	return out
}
