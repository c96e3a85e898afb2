package report

import (
	"html"
	"time"
)

// Size of a chart over time, in pixels of the view box. All charts of a page have the same margins, so
// that a moment is at the same place in each.
const (
	timeWidth  = 1080.0
	timeHeight = 170.0
	timeLeft   = 118.0
	laneHeight = 24.0
)

// A timeAxis is the horizontal axis that the charts of a page share.
type timeAxis struct {
	from, to time.Time
	events   []event // lines in every chart
}

// An event is something that all charts show at its time.
type event struct {
	at    time.Time
	class string
}

// timeSteps are the distances of ticks, shortest first.
var timeSteps = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute,
	10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour, 14 * 24 * time.Hour, 28 * 24 * time.Hour,
}

// mostTimeTicks is how many ticks fit.
const mostTimeTicks = 10

// ticks returns round times, and how they are written.
func (a *timeAxis) ticks() (all []time.Time, layout string) {
	span, step := a.to.Sub(a.from), timeSteps[len(timeSteps)-1]
	for _, s := range timeSteps {
		if span <= mostTimeTicks*s {
			step = s
			break
		}
	}
	for span > mostTimeTicks*step {
		step *= 2
	}
	for t := a.from.UTC().Truncate(step); !t.After(a.to); t = t.Add(step) {
		if !t.Before(a.from) {
			all = append(all, t)
		}
	}
	switch {
	case step >= 24*time.Hour:
		layout = time.DateOnly
	case span > 24*time.Hour:
		layout = "Jan 2 15:04"
	case step < time.Minute:
		layout = time.TimeOnly
	default:
		layout = "15:04"
	}
	return all, layout
}

// x returns where a time is: seconds from the beginning, and never outside.
func (a *timeAxis) x(t time.Time) float64 {
	return min(max(t.Sub(a.from).Seconds(), 0), a.to.Sub(a.from).Seconds())
}

// newTimeChart returns a chart of values over time.
func newTimeChart(a *timeAxis, what, yName string, y0, y1 float64) *chart {
	c := timeChart(a, what, timeHeight, y0, wider(y0, y1))
	c.values(ticks(c.y0, c.y1, 4), yName)
	c.time(a)
	return c
}

// newLanes returns a chart with a lane for each name. Lane i is from i to i+1, downwards.
func newLanes(a *timeAxis, what string, names []string) *chart {
	n := float64(len(names))
	c := timeChart(a, what, top+bottom+laneHeight*n, n, 0)
	for i, name := range names {
		c.line("grid", c.left, c.py(float64(i)), c.width-right, c.py(float64(i)))
		c.text("tick end", c.left-6, c.py(float64(i)+0.5)+3.5, html.EscapeString(clip(name, 19)))
	}
	c.time(a)
	return c
}

func timeChart(a *timeAxis, what string, height, y0, y1 float64) *chart {
	c := &chart{width: timeWidth, height: height, left: timeLeft, x1: wider(0, a.x(a.to)), y0: y0, y1: y1}
	c.begin(what)
	return c
}

// time draws the horizontal axis and the events.
func (c *chart) time(a *timeAxis) {
	all, layout := a.ticks()
	for _, t := range all {
		c.tickX(a.x(t), t.Format(layout))
	}
	name := "UTC"
	if layout == time.TimeOnly || layout == "15:04" {
		name = a.from.UTC().Format(time.DateOnly) + ", UTC"
	}
	c.axes(name)
	for _, e := range a.events {
		c.line("event "+e.class, c.px(a.x(e.at)), top, c.px(a.x(e.at)), c.height-bottom)
	}
}

// inLane fills a part of a lane between two times, with a note that is escaped here.
func (c *chart) inLane(a *timeAxis, class string, lane int, from, to time.Time, note string) {
	x1, x2 := c.px(a.x(from)), c.px(a.x(to))
	x2 = max(x2, x1+2) // what took no time is seen, too
	y := c.py(float64(lane))
	c.box(class, x1, y+laneHeight*0.15, x2-x1, laneHeight*0.7, 1, html.EscapeString(note))
}

// clip shortens a text to a number of letters.
func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
