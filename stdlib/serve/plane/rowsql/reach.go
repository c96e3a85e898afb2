package rowsql

import (
	"math"
	"slices"
)

// A Reach is how far back the windows of a plan look.
type Reach struct {
	// Time is the column of a request by whose time all windows are ordered, "" if they are
	// ordered by different ones, or by an expression.
	Time string
	// Micros is the longest distance of a frame from its row in microseconds, in which a month has
	// 31 days. Every is true if rows count however old they are.
	Micros int64
	Every  bool
	// Partition are the columns of a request that are in PARTITION BY of every window. Two rows
	// that differ in one of them have no values of windows in common.
	Partition []string
}

// Reach returns how far back the windows of a plan look.
func (p *Plan) Reach() Reach {
	var x Reach
	first := true
	for _, s := range p.Steps {
		w := s.Window
		if w == nil {
			continue
		}
		time, by := p.column(w.Order[0]), []string{}
		for _, e := range w.Partition {
			if name := p.column(e); name != "" {
				by = append(by, name)
			}
		}
		if first {
			x.Time, x.Partition, first = time, by, false
		} else {
			if x.Time != time {
				x.Time = ""
			}
			x.Partition = slices.DeleteFunc(x.Partition, func(name string) bool { return !slices.Contains(by, name) })
		}
		for i := range w.Values {
			micros, bounded := w.Values[i].reach()
			x.Every = x.Every || !bounded
			x.Micros = max(x.Micros, micros)
		}
	}
	return x
}

// column is the column of a request that an expression is, or "".
func (p *Plan) column(e *Expr) string {
	if e.Op != "slot" || e.Index >= len(p.Request.Columns) {
		return ""
	}
	return p.Request.Columns[e.Index].Name
}

// reach is how far the frame of a value reaches back in time, if that is bounded.
func (v *WindowValue) reach() (micros int64, bounded bool) {
	switch {
	case v.Func == "lag" || v.Func == "row_number":
		return 0, v.Func == "lag" && v.Offset == 0
	case v.Start == nil:
		return 0, v.Rows == 0
	case len(v.Start.Args) != 2:
		return 0, false
	}
	distance := v.Start.Args[1]
	b, err := newBuilder(Input{}, 0, nil)
	if err != nil {
		return 0, false
	}
	f, err := b.expr(distance)
	if err != nil {
		return 0, false
	}
	r := newRow(0, nil)
	x := f(r)
	if r.err != nil || x.Null {
		return 0, false
	}
	if distance.Type != "INTERVAL" { // days before a DATE
		x = interval(0, int32(min(x.Int(), math.MaxInt32)), 0)
	}
	const longest = 100_000 // days, about which no history tells
	days := int64(x.months())*31 + int64(x.days())
	if days > longest || x.Int() > longest*microsPerDay {
		return 0, false
	}
	return days*microsPerDay + x.Int(), true
}
