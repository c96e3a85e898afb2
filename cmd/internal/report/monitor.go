package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// monitor adds what was measured of a monitor: the newest figures as a table, and each one that has
// a limit over time.
func (p *page) monitor(h *project.MonitorHistory) error {
	m := h.Monitor
	facts := p.Heads[0].Facts
	facts.fact("watches", m.Of())
	measured := "every " + took(m.Every)
	if m.Window > 0 {
		measured += ", over " + took(m.Window)
	}
	if m.MinRows > 0 {
		measured += fmt.Sprintf(", with at least %d rows", m.MinRows)
	}
	facts.fact("measured", measured)
	if len(h.Measurements) == 0 {
		p.Notes = append(p.Notes, note{Text: "It has not been measured yet."})
		return nil
	}
	answers := make([]*window.Answer, len(h.Measurements)) // the newest first
	for i := range h.Measurements {
		var err error
		if answers[i], err = project.ReportOf(&h.Measurements[i]); err != nil {
			return err
		}
	}
	last := h.Measurements[0]
	facts.fact("verdict", strings.TrimSuffix(last.Verdict+": "+last.Reason, ": "))
	facts.fact("at", moment(last.At))
	facts.fact("window", moment(last.Begin)+" to "+moment(last.End))
	facts.fact("rows", fmt.Sprint(answers[0].Rows))
	if n := answers[0].ReferenceRows; n > 0 {
		facts.fact("compared with rows", fmt.Sprint(n))
	}
	for _, n := range answers[0].Notes {
		p.Notes = append(p.Notes, note{Text: n})
	}
	p.About, p.Figures = "Over time", overTime(h, answers)
	if len(answers[0].Bins) > 0 {
		p.Figures = append(p.Figures, reliability(answers[0].Bins))
	}
	p.Tables = append(p.Tables, figuresTable("Figures", answers[0].Report))
	p.Tables = append(p.Tables, verdictsTable(h))
	return nil
}

// figureKey says which figures of several measurements are the same one.
func figureKey(f *measure.Figure) string {
	return fmt.Sprintf("%q %q %q %q", f.Column, f.Name, f.Test, f.Segment)
}

// mostFigures is how many figures of a monitor are drawn, the worst ones first.
const mostFigures = 24

// overTime draws each figure that decides, of all rows, over the measurements.
func overTime(h *project.MonitorHistory, answers []*window.Answer) []figure {
	var drawn []measure.Figure
	for _, f := range answers[0].Figures {
		if len(f.Segment) == 0 && (f.Min != nil || f.Max != nil || f.Name == measure.FigureDrift || h.Monitor.Quality != nil) {
			drawn = append(drawn, f)
		}
	}
	bad := map[measure.Verdict]int{measure.Alert: -2, measure.Warn: -1}
	slices.SortStableFunc(drawn, func(a, b measure.Figure) int { return cmp.Compare(bad[a.Verdict], bad[b.Verdict]) })
	var all []figure
	for i := range drawn[:min(len(drawn), mostFigures)] {
		all = append(all, history(&drawn[i], h, answers))
	}
	return all
}

// figureTitle names a figure for people.
func figureTitle(f *measure.Figure) string {
	if f.Test != "" {
		return strings.TrimSpace(f.Column + " " + f.Test)
	}
	return strings.TrimSpace(f.Column + " " + strings.ReplaceAll(f.Name, "_", " "))
}

// history draws one figure over time.
func history(f *measure.Figure, h *project.MonitorHistory, answers []*window.Answer) figure {
	unit, in := time.Hour, "hours before the last measurement"
	last := h.Measurements[0].At
	if last.Sub(h.Measurements[len(answers)-1].At) > 72*time.Hour {
		unit, in = 24*time.Hour, "days before the last measurement"
	}
	var xs, ys []float64
	low, high := 0.0, 0.0
	cover := func(v *float64) {
		if v != nil {
			low, high = min(low, *v), max(high, *v)
		}
	}
	cover(f.Min)
	cover(f.Max)
	for i, a := range slices.Backward(answers) {
		for j := range a.Figures {
			if other := &a.Figures[j]; figureKey(other) == figureKey(f) && other.Value != nil {
				xs, ys = append(xs, -last.Sub(h.Measurements[i].At).Hours()/unit.Hours()), append(ys, *other.Value)
				cover(other.Value)
			}
		}
	}
	out := figure{Title: figureTitle(f)}
	if len(xs) == 0 {
		out.Reasons = []note{{Text: cmp.Or(f.Reason, "it has no value")}}
		return out
	}
	from := min(xs[0], -1)
	c := newChart("a figure over time", in, "value", from, 0, low, high+(high-low)*0.05)
	for _, limit := range []*float64{f.Min, f.Max} {
		if limit != nil {
			c.segment("guess", from, *limit, 0, *limit)
		}
	}
	c.curve("line s0", xs, ys)
	for i := range xs {
		c.dot("mark s0", xs[i], ys[i], 2.5, number(ys[i]))
	}
	out.SVG = c.svg()
	out.Notes = []note{{Text: figureNote(f)}}
	return out
}

// figureNote has the value of a figure and its limits.
func figureNote(f *measure.Figure) string {
	text := string(f.Verdict) + ": " + value(f.Value)
	if f.Max != nil {
		text += ", at most " + number(*f.Max)
	}
	if f.Min != nil {
		text += ", at least " + number(*f.Min)
	}
	if f.PAdj != nil {
		text += ", corrected p " + number(*f.PAdj)
	}
	return text
}

// reliability draws the calibration of all rows.
func reliability(bins []measure.Bin) figure {
	c := newChart("calibration", "mean probability", "observed share", 0, 1, 0, 1)
	c.segment("guess", 0, 0, 1, 1)
	var xs, ys []float64
	for _, b := range bins {
		if len(b.Segment) == 0 && b.Rows > 0 {
			xs, ys = append(xs, b.Mean), append(ys, b.Rate)
			c.dot("mark s0", b.Mean, b.Rate, 3.5, fmt.Sprintf("%d rows: predicted %s, observed %s", b.Rows, number(b.Mean), number(b.Rate)))
		}
	}
	c.curve("line s0", xs, ys)
	return figure{Title: "Calibration of the last measurement", SVG: c.svg()}
}

// figuresTable lists all figures of a report.
func figuresTable(title string, r *measure.Report) *table {
	t := &table{Title: title, Class: "numbers", Head: texts("column", "figure", "segment", "value", "reference", "p", "min", "max", "verdict", "why")}
	for _, f := range r.Figures {
		name, p := f.Name, f.PAdj
		if f.Test != "" {
			name = f.Test
		}
		if p == nil {
			p = f.P
		}
		var segment []string
		for _, column := range slices.Sorted(maps.Keys(f.Segment)) {
			segment = append(segment, column+" "+f.Segment[column])
		}
		t.add(f.Column, name, strings.Join(segment, ", "), value(f.Value), value(f.Reference), value(p), value(f.Min), value(f.Max), string(f.Verdict), f.Reason)
	}
	return t
}

// verdictsTable lists the measurements.
func verdictsTable(h *project.MonitorHistory) *table {
	t := &table{Title: "Measurements", Head: texts("at", "verdict", "reason")}
	for _, m := range h.Measurements {
		t.add(moment(m.At), m.Verdict, m.Reason)
	}
	return t
}
