package report

import (
	"fmt"
	"html/template"
	"math"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

// A figure is a plot with its caption, or the reason why there is none.
type figure struct {
	Title   string
	Of      string // the side, where each has a figure of its own
	SVG     template.HTML
	Notes   []note
	Reasons []note
}

// A note is a remark on one side of a figure.
type note struct {
	Side int    // the color, from 0
	Of   string // name of the side, if there are two
	Text string
}

// A side is one of the evaluations that a page shows: one, or two to compare.
type side struct {
	Index int
	Name  string // "@3", or "" if there is only one
	*project.Evaluation
}

// class is the class of what is drawn for a side.
func (s side) class() string { return [...]string{"s0", "s1"}[s.Index] }

func (s side) note(format string, args ...any) note {
	return note{s.Index, s.Name, fmt.Sprintf(format, args...)}
}

// A classFigures has the curves of one class.
type classFigures struct {
	Title   string
	Figures []figure
	Folded  bool
}

// unfolded is how many classes are shown at once.
const unfolded = 6

// byClass draws the curves of each class that any side has, the first ones first.
func byClass(sides []side) []classFigures {
	var classes []string
	curves := map[string][]curvesOf{}
	for _, s := range sides {
		for _, c := range s.Details.Curves {
			if curves[c.Class] == nil {
				classes = append(classes, c.Class)
			}
			curves[c.Class] = append(curves[c.Class], curvesOf{s, c})
		}
	}
	out := make([]classFigures, len(classes))
	for i, name := range classes {
		of := curves[name]
		figures := []figure{roc(of), precisionRecall(of), calibration(of)}
		for _, c := range of {
			figures = append(figures, scores(c))
		}
		title := "Class " + name
		if of[0].Details.Positive == name {
			title = "Positive class " + name
		}
		out[i] = classFigures{title, figures, i >= unfolded}
	}
	return out
}

type curvesOf struct {
	side
	project.Curves
}

func roc(all []curvesOf) figure {
	f := figure{Title: "ROC"}
	c := newChart("ROC curve", "false positive rate", "true positive rate", 0, 1, 0, 1)
	c.segment("guess", 0, 0, 1, 1)
	drawn := false
	for _, s := range all {
		if s.ROC.Reason != "" {
			f.Reasons = append(f.Reasons, s.note("%s", s.ROC.Reason))
			continue
		}
		c.curve("line "+s.class(), s.ROC.FPR, s.ROC.TPR)
		text := "area " + number(s.ROC.Area)
		if x, y, ok := s.operating(); ok {
			c.dot("mark "+s.class(), x, y, 4, fmt.Sprintf("at the threshold: false positive rate %s, true positive rate %s", number(x), number(y)))
			text += fmt.Sprintf("; the point is the threshold %s", number(s.Details.Threshold.Value))
		}
		f.Notes = append(f.Notes, s.note("%s", text))
		drawn = true
	}
	if drawn {
		f.SVG = c.svg()
	}
	return f
}

// operating returns the false and true positive rate of the predictions, if they follow
// from one threshold.
func (s side) operating() (x, y float64, ok bool) {
	d := s.Details
	if d.Threshold == nil || d.Threshold.Reason != "" || d.Confusion == nil || len(d.Confusion.Shares) != 2 {
		return 0, 0, false
	}
	negative, positive := d.Confusion.Shares[0], d.Confusion.Shares[1]
	if len(negative) != 2 || len(positive) != 2 || negative[1] == nil || positive[1] == nil {
		return 0, 0, false
	}
	return *negative[1], *positive[1], true
}

func precisionRecall(all []curvesOf) figure {
	f := figure{Title: "Precision and recall"}
	c := newChart("precision-recall curve", "recall", "precision", 0, 1, 0, 1)
	drawn := false
	for _, s := range all {
		p := s.PrecisionRecall
		if p.Reason != "" {
			f.Reasons = append(f.Reasons, s.note("%s", p.Reason))
			continue
		}
		c.segment("guess", 0, p.Share, 1, p.Share)
		c.curve("line "+s.class(), p.Recall, p.Precision)
		f.Notes = append(f.Notes, s.note("average precision %s; a guess has %s", number(p.AveragePrecision), number(p.Share)))
		drawn = true
	}
	if drawn {
		f.SVG = c.svg()
	}
	return f
}

func calibration(all []curvesOf) figure {
	f := figure{Title: "Calibration"}
	c := newChart("calibration", "mean probability", "observed share", 0, 1, 0, 1)
	c.segment("guess", 0, 0, 1, 1)
	drawn := false
	for _, s := range all {
		k := s.Calibration
		if k.Reason != "" {
			f.Reasons = append(f.Reasons, s.note("%s", k.Reason))
			continue
		}
		c.curve("line "+s.class(), k.Predicted, k.Observed)
		most := most(k.Rows)
		for i := range min(len(k.Rows), len(k.Predicted), len(k.Observed)) {
			c.dot("mark "+s.class(), k.Predicted[i], k.Observed[i], 2+4*math.Sqrt(float64(k.Rows[i])/most),
				fmt.Sprintf("%d rows: mean probability %s, observed %s", k.Rows[i], number(k.Predicted[i]), number(k.Observed[i])))
		}
		drawn = true
	}
	if drawn {
		f.SVG = c.svg()
		f.Notes = []note{{-1, "", "the larger a point, the more rows"}}
	}
	return f
}

func most(counts []int64) float64 {
	m := int64(1)
	for _, n := range counts {
		m = max(m, n)
	}
	return float64(m)
}

// total is at least 1.
func total(counts []int64) float64 {
	sum := int64(0)
	for _, n := range counts {
		sum += n
	}
	return float64(max(sum, 1))
}

func scores(s curvesOf) figure {
	f := figure{Title: "Scores", Of: s.Name}
	h := s.Scores
	if h.Reason != "" || len(h.Edges) < 2 {
		f.Reasons = []note{s.note("%s", h.Reason)}
		return f
	}
	// As shares, or a rare class would not be seen beside the others.
	highest := max(most(h.OfClass)/total(h.OfClass), most(h.OfOthers)/total(h.OfOthers))
	c := newChart("histogram of scores", "score", "share of rows", h.Edges[0], h.Edges[len(h.Edges)-1], 0, headroom*min(highest, 1))
	c.bars("others", h.Edges, h.OfOthers, total(h.OfOthers))
	c.bars("bar "+s.class(), h.Edges, h.OfClass, total(h.OfClass))
	f.SVG = c.svg()
	f.Notes = []note{s.note("colored: the class; grey: the others; each as a share of its own rows")}
	return f
}

// headroom is the height of a histogram, as a multiple of its highest bar.
const headroom = 1.05

// bars draws a histogram, whose heights are counts divided by a number.
func (c *chart) bars(class string, edges []float64, counts []int64, by float64) {
	for i, n := range counts {
		if n > 0 && i+1 < len(edges) {
			c.rect(class, edges[i], 0, edges[i+1], float64(n)/by, 1, fmt.Sprintf("%s to %s: %d rows", number(edges[i]), number(edges[i+1]), n))
		}
	}
}

// regression draws what a regression has.
func regression(sides []side) []figure {
	var figures []figure
	for _, s := range sides {
		figures = append(figures, beside(s))
	}
	figures = append(figures, residualBand(sides))
	for _, s := range sides {
		figures = append(figures, residuals(s))
	}
	return figures
}

func beside(s side) figure {
	f := figure{Title: "Predicted and actual", Of: s.Name}
	g := s.Details.Predicted
	if g == nil || g.Reason != "" || len(g.Edges) < 2 {
		f.Reasons = []note{s.note("%s", reasonOf(g == nil, func() string { return g.Reason }))}
		return f
	}
	low, high := g.Edges[0], g.Edges[len(g.Edges)-1]
	c := newChart("rows by predicted and actual value", "predicted", "actual", low, high, low, high)
	largest := 1.0
	for _, row := range g.Counts {
		largest = max(largest, most(row))
	}
	for i, row := range g.Counts {
		for j, n := range row {
			if n > 0 && i+1 < len(g.Edges) && j+1 < len(g.Edges) {
				c.rect("cell "+s.class(), g.Edges[j], g.Edges[i], g.Edges[j+1], g.Edges[i+1], 0.15+0.84*math.Log1p(float64(n))/math.Log1p(largest),
					fmt.Sprintf("predicted %s to %s, actual %s to %s: %d rows", number(g.Edges[j]), number(g.Edges[j+1]), number(g.Edges[i]), number(g.Edges[i+1]), n))
			}
		}
	}
	c.segment("guess", low, low, high, high)
	f.SVG = c.svg()
	f.Notes = []note{s.note("the darker a cell, the more rows; on the line, they are equal")}
	return f
}

func reasonOf(missing bool, reason func() string) string {
	if missing {
		return "the report does not have it"
	}
	return reason()
}

func residuals(s side) figure {
	f := figure{Title: "Residuals", Of: s.Name}
	h := s.Details.Residuals
	if h == nil || h.Reason != "" || len(h.Edges) < 2 {
		f.Reasons = []note{s.note("%s", reasonOf(h == nil, func() string { return h.Reason }))}
		return f
	}
	c := newChart("histogram of residuals", "actual - predicted", "rows", h.Edges[0], h.Edges[len(h.Edges)-1], 0, headroom*most(h.Counts))
	c.bars("bar "+s.class(), h.Edges, h.Counts, 1)
	if h.Edges[0] < 0 && h.Edges[len(h.Edges)-1] > 0 {
		c.segment("guess", 0, 0, 0, c.y1)
	}
	f.SVG = c.svg()
	return f
}

func residualBand(sides []side) figure {
	f := figure{Title: "Residuals by prediction"}
	x0, x1, y0, y1 := math.Inf(1), math.Inf(-1), 0.0, 0.0
	var drawn []side
	for _, s := range sides {
		b := s.Details.ByPrediction
		if b == nil || b.Reason != "" || len(b.Bins) == 0 {
			f.Reasons = append(f.Reasons, s.note("%s", reasonOf(b == nil, func() string { return b.Reason })))
			continue
		}
		drawn = append(drawn, s)
		for _, bin := range b.Bins {
			x0, x1 = min(x0, bin.Predicted), max(x1, bin.Predicted)
			y0, y1 = min(y0, bin.Low), max(y1, bin.High)
		}
	}
	if len(drawn) == 0 {
		return f
	}
	c := newChart("residuals by prediction", "predicted", "actual - predicted", x0, x1, y0, y1)
	c.segment("guess", c.x0, 0, c.x1, 0)
	for _, s := range drawn {
		var xs, low, median, high []float64
		for _, b := range s.Details.ByPrediction.Bins {
			xs, low, median, high = append(xs, b.Predicted), append(low, b.Low), append(median, b.Median), append(high, b.High)
		}
		c.band("band "+s.class(), xs, low, high)
		c.curve("line "+s.class(), xs, median)
		for i, b := range s.Details.ByPrediction.Bins {
			c.dot("mark "+s.class(), b.Predicted, b.Median, 2.5, fmt.Sprintf("%d rows: median %s, 80%% from %s to %s", b.Rows, number(median[i]), number(b.Low), number(b.High)))
		}
	}
	f.SVG = c.svg()
	f.Notes = []note{{-1, "", "line: the median; band: 80% of the rows"}}
	return f
}
