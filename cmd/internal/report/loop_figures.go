package report

import (
	"cmp"
	"html"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// mostLoopFigures is how many figures of each monitor the page of a loop has, those with the most alerts
// first. The page of the monitor has more.
const mostLoopFigures = 4

// A measured figure is one figure of a monitor over all measurements, the oldest first.
type measured struct {
	newest         measure.Figure
	at             []int // numbers of the measurements
	all            []measure.Figure
	alerts, warned int
}

// figures draws the figures of a monitor that decide, over time.
func (d *loopDrawing) figures(h *project.MonitorHistory) ([]figure, error) {
	found := map[string]*measured{}
	var order []*measured
	for i := range slices.Backward(h.Measurements) {
		a, err := project.ReportOf(&h.Measurements[i])
		if err != nil {
			return nil, err
		}
		for _, f := range decisive(a) {
			m := found[figureKey(&f)]
			if m == nil {
				m = &measured{}
				found[figureKey(&f)] = m
				order = append(order, m)
			}
			m.newest, m.at, m.all = f, append(m.at, i), append(m.all, f)
			switch f.Verdict {
			case measure.Alert:
				m.alerts++
			case measure.Warn:
				m.warned++
			}
		}
	}
	slices.SortStableFunc(order, func(a, b *measured) int { return cmp.Or(b.alerts-a.alerts, b.warned-a.warned) })
	var drawn []figure
	for _, m := range order[:min(len(order), mostLoopFigures)] {
		drawn = append(drawn, d.figure(h, m))
	}
	return drawn, nil
}

// decisive returns the figures of all rows that have a limit, or are judged by a test.
func decisive(a *window.Answer) []measure.Figure {
	return slices.DeleteFunc(slices.Clone(a.Figures), func(f measure.Figure) bool {
		return len(f.Segment) > 0 || f.Min == nil && f.Max == nil && f.Name != measure.FigureDrift
	})
}

// figure draws one figure with its limits.
func (d *loopDrawing) figure(h *project.MonitorHistory, m *measured) figure {
	out := figure{Title: strings.TrimPrefix(h.Unit, "monitors/") + ": " + figureTitle(&m.newest)}
	var values []float64
	for _, f := range m.all {
		for _, v := range []*float64{f.Value, f.Min, f.Max} {
			if v != nil {
				values = append(values, *v)
			}
		}
	}
	if !slices.ContainsFunc(m.all, func(f measure.Figure) bool { return f.Value != nil }) {
		out.Reasons = []note{{Text: cmp.Or(m.newest.Reason, "it has no value")}}
		return out
	}
	low, high := slices.Min(values), slices.Max(values)
	edge := (high - low) * 0.08
	if low >= 0 {
		low = max(low-edge, 0)
	} else {
		low -= edge
	}
	c := newTimeChart(&d.axis, "a figure over time", "value", low, high+edge)
	for _, of := range []func(measure.Figure) *float64{
		func(f measure.Figure) *float64 { return f.Min }, func(f measure.Figure) *float64 { return f.Max },
	} {
		d.curves(c, h, m, "guess", of)
	}
	d.curves(c, h, m, "line s0", func(f measure.Figure) *float64 { return f.Value })
	for i, f := range m.all {
		if f.Value != nil {
			at := h.Measurements[m.at[i]].At
			c.dot("mark "+string(f.Verdict), d.axis.x(at), *f.Value, 2.5, html.EscapeString(moment(at)+" "+string(f.Verdict)+": "+number(*f.Value)))
		}
	}
	out.SVG = c.svg()
	out.Notes = []note{{Text: figureNote(&m.newest)}}
	return out
}

// curves draws a line through a value of each measurement, with gaps where there is none.
func (d *loopDrawing) curves(c *chart, h *project.MonitorHistory, m *measured, class string, of func(measure.Figure) *float64) {
	var xs, ys []float64
	end := func() {
		if len(xs) > 0 {
			c.curve(class, xs, ys)
		}
		xs, ys = nil, nil
	}
	for i, f := range m.all {
		v := of(f)
		if v == nil {
			end()
			continue
		}
		xs, ys = append(xs, d.axis.x(h.Measurements[m.at[i]].At)), append(ys, *v)
	}
	end()
}
