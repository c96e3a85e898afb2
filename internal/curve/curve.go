// Package curve keeps metrics over time within limits: the values that a step logs while it runs.
package curve

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/tenon-ml/tenon/stdlib/step"
)

const (
	// MaxPoints limits the points of a curve. A curve that would have more keeps every second one.
	MaxPoints = 1000
	// MaxCurves limits the curves of a run. Values of further names are left out.
	MaxCurves = 100
	// MaxName limits the name of a metric, in bytes. Values of longer names are left out.
	MaxName = 250
	// MaxLine limits a line of the progress file, in bytes. A longer one is left out.
	MaxLine = 64 << 10
)

// A Point is a value at a step. In JSON it is a list: [step, value, time].
type Point struct {
	Step  int64
	Value step.Value
	Time  int64 // milliseconds since 1970, 0 if the program did not say
}

// MarshalJSON writes the point as a list.
func (p Point) MarshalJSON() ([]byte, error) { return json.Marshal([3]any{p.Step, p.Value, p.Time}) }

// UnmarshalJSON reads the list of [Point.MarshalJSON].
func (p *Point) UnmarshalJSON(b []byte) error {
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if len(list) != 3 {
		return errors.New("a point is [step, value, time]")
	}
	return errors.Join(json.Unmarshal(list[0], &p.Step), json.Unmarshal(list[1], &p.Value), json.Unmarshal(list[2], &p.Time))
}

// A Curve is one metric over the steps of a run, which ascend.
type Curve struct {
	Points []Point `json:"points"` // those that are kept, the first one included
	Every  int     `json:"every"`  // one of so many values was kept
	Last   Point   `json:"last"`
	// Lowest and Highest are the first ones with the extreme finite values, or nil if no value is finite. They are
	// exact, whether their points are kept or not, until the program begins again at an earlier step: of the values
	// before that, only those that are kept count.
	Lowest  *Point `json:"lowest,omitempty"`
	Highest *Point `json:"highest,omitempty"`

	seen int // values until now
}

// add appends a value. A step that is not later than the last one means that the program began there again: the values at
// this step and at later ones are forgotten.
func (c *Curve) add(p Point) {
	if c.seen > 0 && p.Step <= c.Last.Step {
		c.rewind(p.Step)
	}
	if c.seen%c.Every == 0 {
		c.Points = append(c.Points, p)
		if len(c.Points) > MaxPoints {
			c.thin()
		}
	}
	c.seen++
	c.note(p)
}

// note updates what is exact.
func (c *Curve) note(p Point) {
	c.Last = p
	x := float64(p.Value)
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return
	}
	if c.Lowest == nil || x < float64(c.Lowest.Value) {
		c.Lowest = &p
	}
	if c.Highest == nil || x > float64(c.Highest.Value) {
		c.Highest = &p
	}
}

// thin keeps every second point.
func (c *Curve) thin() {
	kept := c.Points[:0]
	for i := 0; i < len(c.Points); i += 2 {
		kept = append(kept, c.Points[i])
	}
	c.Points, c.Every = kept, 2*c.Every
}

// rewind forgets the points from a step on.
func (c *Curve) rewind(to int64) {
	c.Points = slices.DeleteFunc(c.Points, func(p Point) bool { return p.Step >= to })
	c.seen = len(c.Points) * c.Every
	c.Last, c.Lowest, c.Highest = Point{}, nil, nil
	for _, p := range c.Points {
		c.note(p)
	}
}

// All returns the points with the last one, which need not be among those that are kept.
func (c *Curve) All() []Point {
	if n := len(c.Points); n > 0 && c.Points[n-1].Step == c.Last.Step {
		return c.Points
	}
	return append(slices.Clip(c.Points), c.Last)
}

// Before returns the part of the curve before a step, or nil if there is none.
func (c *Curve) Before(at int64) *Curve {
	part := *c
	part.Points = slices.Clone(c.All())
	part.rewind(at)
	if len(part.Points) == 0 {
		return nil
	}
	return &part
}

// Then returns the curve continued by another, which begins later.
func (c *Curve) Then(next *Curve) *Curve {
	out := &Curve{Points: slices.Concat(c.All(), next.Points), Every: max(c.Every, next.Every), Last: c.Last, Lowest: c.Lowest, Highest: c.Highest}
	for _, p := range []*Point{next.Lowest, next.Highest} {
		if p != nil {
			out.note(*p)
		}
	}
	out.Last = next.Last
	for len(out.Points) > MaxPoints {
		out.thin()
	}
	return out
}

// Curves are those of a run, by the name of the metric.
type Curves struct {
	Curves map[string]*Curve `json:"curves"`
	// LeftOut counts values of names beyond [MaxCurves] or [MaxName].
	LeftOut int `json:"left_out,omitempty"`
}

// Parse reads what was written of [Curves] as JSON. A curve that is null, or whose every is not positive, is an error.
func Parse(b []byte) (*Curves, error) {
	out := &Curves{}
	if err := json.Unmarshal(b, out); err != nil {
		return nil, err
	}
	for _, name := range out.Names() {
		if c := out.Curves[name]; c == nil || c.Every < 1 {
			return nil, fmt.Errorf("the curve %q is damaged", name)
		}
	}
	return out, nil
}

// Names returns the names of the curves, sorted.
func (c *Curves) Names() []string { return slices.Sorted(maps.Keys(c.Curves)) }

// Add adds what a line of progress says. Lines without values change nothing.
func (c *Curves) Add(p step.Progress) {
	if c.Curves == nil {
		c.Curves = map[string]*Curve{}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Values)) {
		of := c.Curves[name]
		if of == nil {
			if len(c.Curves) >= MaxCurves || len(name) > MaxName {
				c.LeftOut++
				continue
			}
			of = &Curve{Every: 1}
			c.Curves[name] = of
		}
		of.add(Point{Step: p.Step, Value: p.Values[name], Time: p.Time})
	}
}

// Continue puts before each curve what an earlier attempt had logged before the first step of this one. A job that
// resumed from a checkpoint begins later than at its first step.
func (c *Curves) Continue(earlier *Curves) {
	for name, of := range c.Curves {
		before := earlier.Curves[name]
		if before == nil || len(of.Points) == 0 {
			continue
		}
		if part := before.Before(of.Points[0].Step); part != nil {
			c.Curves[name] = part.Then(of)
		}
	}
}

// Read reads the curves of a progress file. It passes over lines that say something else.
func Read(r io.Reader) (*Curves, error) {
	out := &Curves{Curves: map[string]*Curve{}}
	in := bufio.NewReaderSize(r, MaxLine)
	for long := false; ; {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long = true
			continue
		case errors.Is(err, io.EOF):
			return out, nil // a last line without its end is not complete
		case err != nil:
			return nil, err
		}
		var p step.Progress
		if !long && json.Unmarshal(line, &p) == nil {
			out.Add(p)
		}
		long = false
	}
}
