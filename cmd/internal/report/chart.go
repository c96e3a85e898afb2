package report

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// Margins of a chart, in pixels of the view box.
const (
	top, right = 12.0, 14.0
	bottom     = 42.0
)

// A chart draws points of a rectangle of the plane as SVG. Its texts are those of this
// package, or were escaped.
type chart struct {
	b              strings.Builder
	width, height  float64 // in pixels of the view box
	x0, x1, y0, y1 float64 // of the plane
	left           float64 // margin
}

// newChart returns a chart with axes, their names and their ticks.
func newChart(what, xName, yName string, x0, x1, y0, y1 float64) *chart {
	c := &chart{width: 340, height: 260, x0: x0, x1: wider(x0, x1), y0: y0, y1: wider(y0, y1)}
	xs, ys := ticks(c.x0, c.x1, 5), ticks(c.y0, c.y1, 5)
	longest := 0
	for _, y := range ys {
		longest = max(longest, len(tick(y, ys)))
	}
	c.left = 26 + 6.2*float64(longest)
	c.begin(what)
	c.values(ys, yName)
	for _, x := range xs {
		c.tickX(x, tick(x, xs))
	}
	c.axes(xName)
	return c
}

func (c *chart) begin(what string) {
	fmt.Fprintf(&c.b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, c.width, c.height, what)
}

// values draws the ticks of the vertical axis, and its name.
func (c *chart) values(ys []float64, name string) {
	for _, y := range ys {
		c.line("grid", c.left, c.py(y), c.width-right, c.py(y))
		c.text("tick end", c.left-5, c.py(y)+3.5, tick(y, ys))
	}
	fmt.Fprintf(&c.b, `<text class="name middle" transform="translate(12 %s) rotate(-90)">%s</text>`, px((top+c.height-bottom)/2), name)
}

// tickX draws a tick of the horizontal axis.
func (c *chart) tickX(x float64, text string) {
	c.line("grid", c.px(x), top, c.px(x), c.height-bottom)
	c.text("tick middle", c.px(x), c.height-bottom+14, text)
}

// axes draws both axes, and the name of the horizontal one.
func (c *chart) axes(xName string) {
	c.line("axis", c.left, c.height-bottom, c.width-right, c.height-bottom)
	c.line("axis", c.left, top, c.left, c.height-bottom)
	c.text("name middle", (c.left+c.width-right)/2, c.height-8, xName)
}

// wider returns an end of an interval that is not empty.
func wider(from, to float64) float64 {
	if to > from {
		return to
	}
	return from + max(math.Abs(from)*0.1, 1)
}

func (c *chart) px(x float64) float64 {
	return c.left + (x-c.x0)/(c.x1-c.x0)*(c.width-right-c.left)
}

func (c *chart) py(y float64) float64 {
	return c.height - bottom - (y-c.y0)/(c.y1-c.y0)*(c.height-bottom-top)
}

// px writes a position with a tenth of a pixel.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

func (c *chart) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&c.b, `<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`, class, px(x1), px(y1), px(x2), px(y2))
}

func (c *chart) text(class string, x, y float64, text string) {
	fmt.Fprintf(&c.b, `<text class="%s" x="%s" y="%s">%s</text>`, class, px(x), px(y), text)
}

// segment draws a straight line of the plane.
func (c *chart) segment(class string, x1, y1, x2, y2 float64) {
	c.line(class, c.px(x1), c.py(y1), c.px(x2), c.py(y2))
}

// curve draws a line through points.
func (c *chart) curve(class string, xs, ys []float64) {
	fmt.Fprintf(&c.b, `<polyline class="%s" points="%s"/>`, class, c.points(xs, ys))
}

func (c *chart) points(xs, ys []float64) string {
	var b strings.Builder
	for i := range min(len(xs), len(ys)) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(px(c.px(xs[i])) + "," + px(c.py(ys[i])))
	}
	return b.String()
}

// band fills what is between two lines.
func (c *chart) band(class string, xs, low, high []float64) {
	back := func(v []float64) []float64 {
		r := make([]float64, len(v))
		for i := range v {
			r[len(v)-1-i] = v[i]
		}
		return r
	}
	fmt.Fprintf(&c.b, `<polygon class="%s" points="%s %s"/>`, class, c.points(xs, high), c.points(back(xs), back(low)))
}

// dot draws a point with a note that appears under the pointer.
func (c *chart) dot(class string, x, y, radius float64, note string) {
	fmt.Fprintf(&c.b, `<circle class="%s" cx="%s" cy="%s" r="%s"><title>%s</title></circle>`, class, px(c.px(x)), px(c.py(y)), px(radius), note)
}

// rect fills a rectangle of the plane.
func (c *chart) rect(class string, x1, y1, x2, y2, opacity float64, note string) {
	left, up := c.px(min(x1, x2)), c.py(max(y1, y2))
	c.box(class, left, up, c.px(max(x1, x2))-left, c.py(min(y1, y2))-up, opacity, note)
}

// box fills a rectangle of pixels.
func (c *chart) box(class string, left, up, width, height, opacity float64, note string) {
	fmt.Fprintf(&c.b, `<rect class="%s" x="%s" y="%s" width="%s" height="%s"`, class, px(left), px(up), px(width), px(height))
	if opacity < 1 {
		fmt.Fprintf(&c.b, ` fill-opacity="%.2f"`, opacity)
	}
	fmt.Fprintf(&c.b, `><title>%s</title></rect>`, note)
}

func (c *chart) svg() template.HTML {
	return template.HTML(c.b.String() + "</svg>") // it is numbers, texts of this package, and escaped ones
}

// ticks returns about n round numbers from an interval, in order.
func ticks(from, to float64, n int) []float64 {
	step := math.Pow(10, math.Floor(math.Log10((to-from)/float64(n))))
	for _, k := range []float64{1, 2, 5, 10} {
		if (to-from)/(step*k) <= float64(n)+0.001 {
			step *= k
			break
		}
	}
	if step <= 0 || math.IsInf(step, 0) || math.IsNaN(step) {
		return []float64{from, to}
	}
	var out []float64
	for i := math.Ceil(from/step - 1e-9); i*step <= to+step*1e-9 && len(out) < 2*n; i++ {
		out = append(out, i*step)
	}
	return out
}

// tick writes a tick with as many decimals as all ticks need to differ.
func tick(v float64, all []float64) string {
	largest, step := math.Abs(v), math.Abs(v)
	for i, t := range all {
		largest = max(largest, math.Abs(t))
		if i > 0 {
			step = t - all[i-1]
		}
	}
	if largest >= 1e6 || largest > 0 && largest < 1e-3 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	decimals := 0
	if step > 0 && step < 1 {
		decimals = int(math.Ceil(-math.Log10(step) - 1e-9))
	}
	if math.Abs(v) < step*1e-6 {
		v = 0 // not -0
	}
	return strconv.FormatFloat(v, 'f', min(decimals, 6), 64)
}

// number writes a value for people, with four significant digits.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return strconv.FormatFloat(v+0, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
