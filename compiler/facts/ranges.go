package facts

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Range bounds the values of a column or an expression. Null and NaN are no values. The
// zero Range bounds nothing.
type Range struct {
	Kind RangeKind
	// Low and High bound a number, or a time in microseconds since 1970. Infinite ones do
	// not.
	Low, High float64
	// Texts lists all values of a text; those of a Boolean are "false" and "true".
	Texts []string
}

// A RangeKind is what the values of a range are.
type RangeKind int

// The kinds of ranges.
const (
	Anything RangeKind = iota
	Nothing            // there are no values, as of NULL
	Numbers
	Times
	Texts
	Truths
)

var (
	numbers = Range{Kind: Numbers, Low: math.Inf(-1), High: math.Inf(1)}
	times   = Range{Kind: Times, Low: math.Inf(-1), High: math.Inf(1)}
	truths  = Range{Kind: Truths, Texts: []string{"false", "true"}}
	nothing = Range{Kind: Nothing}
)

func within(low, high float64) Range { return Range{Kind: Numbers, Low: low, High: high} }

// Constant reports whether there is only one value.
func (r Range) Constant() bool {
	switch r.Kind {
	case Numbers, Times:
		return r.Low == r.High
	case Texts, Truths:
		return len(r.Texts) == 1
	}
	return false
}

// String writes the values as a message shows them.
func (r Range) String() string {
	show := func(f float64) string {
		if r.Kind == Times {
			return showTime(f)
		}
		return strconv.FormatFloat(f, 'g', 12, 64)
	}
	switch r.Kind {
	case Numbers, Times:
		switch {
		case r.Low == r.High:
			return show(r.Low)
		case math.IsInf(r.Low, 0) && math.IsInf(r.High, 0):
			return "anything"
		case math.IsInf(r.Low, 0) && r.Kind == Times && math.Mod(r.High+1, 1e6) == 0:
			return "before " + show(r.High+1)
		case math.IsInf(r.Low, 0):
			return "at most " + show(r.High)
		case math.IsInf(r.High, 0):
			return "at least " + show(r.Low)
		}
		return "from " + show(r.Low) + " to " + show(r.High)
	case Texts, Truths:
		return strings.Join(r.Texts, ", ")
	}
	return "anything"
}

func showTime(micros float64) string {
	t := time.UnixMicro(int64(micros)).UTC()
	s := t.Format("2006-01-02 15:04:05.999999")
	return strings.TrimSuffix(s, " 00:00:00")
}

// Apart reports whether two ranges have no value in common, by more than rounding explains.
func (r Range) Apart(s Range) bool {
	if r.Kind != s.Kind {
		return false
	}
	switch r.Kind {
	case Numbers, Times:
		return Above(r.Low, s.High) || Above(s.Low, r.High)
	case Texts, Truths:
		return !slices.ContainsFunc(r.Texts, func(x string) bool { return slices.Contains(s.Texts, x) })
	}
	return false
}

// Above reports whether a is greater than b by more than rounding explains.
func Above(a, b float64) bool {
	if math.IsInf(a, 0) || math.IsInf(b, 0) {
		return a > b
	}
	return a-b > 1e-9*max(math.Abs(a), math.Abs(b))
}

// hull returns the range of the values of both.
func hull(r, s Range) Range {
	switch {
	case r.Kind == Nothing:
		return s
	case s.Kind == Nothing:
		return r
	case r.Kind != s.Kind:
		return Range{}
	}
	switch r.Kind {
	case Numbers, Times:
		return Range{Kind: r.Kind, Low: min(r.Low, s.Low), High: max(r.High, s.High)}
	case Texts, Truths:
		all := slices.Concat(r.Texts, s.Texts)
		slices.Sort(all)
		return Range{Kind: r.Kind, Texts: slices.Compact(all)}
	}
	return Range{}
}

// common returns the values that are in both, or r if there are none: that is an error
// which is found elsewhere.
func common(r, s Range) Range {
	switch {
	case r.Kind == Anything || r.Kind == Nothing:
		return s
	case s.Kind != r.Kind:
		return r
	}
	switch r.Kind {
	case Numbers, Times:
		if low, high := max(r.Low, s.Low), min(r.High, s.High); low <= high {
			return Range{Kind: r.Kind, Low: low, High: high}
		}
	case Texts, Truths:
		all := slices.DeleteFunc(slices.Clone(r.Texts), func(x string) bool { return !slices.Contains(s.Texts, x) })
		if len(all) > 0 {
			return Range{Kind: r.Kind, Texts: all}
		}
	}
	return r
}

// widths are the bounds of integers.
var widths = map[string]Range{
	"int8": within(math.MinInt8, math.MaxInt8), "int16": within(math.MinInt16, math.MaxInt16),
	"int32": within(math.MinInt32, math.MaxInt32), "int64": within(math.MinInt64, math.MaxInt64),
	"uint8": within(0, math.MaxUint8), "uint16": within(0, math.MaxUint16),
	"uint32": within(0, math.MaxUint32), "uint64": within(0, math.MaxUint64),
	"float64": numbers,
}

// RangeOf returns the range of a column of a type with a domain. That of a 32-bit float is
// not known: DuckDB rounds it to fewer digits than the bounds have.
func RangeOf(typ string, d Domain) Range {
	switch {
	case typ == "bool":
		return truths
	case typ == "date" || strings.HasPrefix(typ, "timestamp"):
		r := times
		if t, ok := ParseTime(d.Min); ok {
			r.Low = float64(t.UnixMicro())
		}
		if t, ok := ParseTime(d.Max); ok {
			r.High = float64(t.UnixMicro())
		}
		return r
	case typ == "string" && len(d.Values) > 0:
		return Range{Kind: Texts, Texts: slices.Sorted(slices.Values(d.Values))}
	case widths[typ].Kind == Numbers:
		r := widths[typ]
		if low, _, ok := parsed(d.Min); ok {
			r.Low = max(r.Low, low)
		}
		if _, high, ok := parsed(d.Max); ok {
			r.High = min(r.High, high)
		}
		return r
	}
	return Range{}
}

// parsed returns the floats next to a decimal number, or the number itself twice.
func parsed(text string) (low, high float64, ok bool) {
	x, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, 0, false
	}
	f, exact := x.Float64()
	if exact {
		return f, f, true
	}
	return down(f), up(f), true
}

func down(f float64) float64 { return math.Nextafter(f, math.Inf(-1)) }
func up(f float64) float64   { return math.Nextafter(f, math.Inf(1)) }

// wide returns a range that is larger by what the rounding of many numbers may add.
func (r Range) wide() Range {
	if r.Kind == Numbers && r.Low != r.High {
		const most = 1e-6
		r.Low, r.High = r.Low-most*math.Abs(r.Low), r.High+most*math.Abs(r.High)
	}
	if r.Kind == Numbers && r.Low == r.High && r.Low != 0 {
		r.Low, r.High = r.Low-1e-6*math.Abs(r.Low), r.High+1e-6*math.Abs(r.High)
	}
	return r
}

// plus adds two ranges.
func plus(r, s Range) Range {
	sum := func(a, b float64) (low, high float64) {
		x := a + b
		if back := x - a; a == x-back && b == back { // exact
			return x, x
		}
		return down(x), up(x)
	}
	low, _ := sum(r.Low, s.Low)
	_, high := sum(r.High, s.High)
	return sane(low, high)
}

func minus(r Range) Range { return within(0-r.High, 0-r.Low) }

func product(r, s Range) Range {
	low, high := math.Inf(1), math.Inf(-1)
	for _, a := range []float64{r.Low, r.High} {
		for _, b := range []float64{s.Low, s.High} {
			x := a * b
			l, h := x, x
			switch {
			case a == 0 || b == 0: // an infinite bound stands for any number
				l, h = 0, 0
			case x == 0, !math.IsInf(x, 0) && math.FMA(a, b, -x) != 0:
				l, h = down(x), up(x)
			}
			low, high = min(low, l), max(high, h)
		}
	}
	return sane(low, high)
}

// over divides ranges. A divisor that may be zero gives anything, since there are two zeros.
func over(r, s Range) Range {
	if s.Low <= 0 && s.High >= 0 {
		return numbers
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, a := range []float64{r.Low, r.High} {
		for _, b := range []float64{s.Low, s.High} {
			x := a / b
			if math.IsInf(a, 0) && math.IsInf(b, 0) {
				low, high = min(low, 0, x0(a, b)), max(high, 0, x0(a, b))
				continue
			}
			l, h := x, x
			if !math.IsInf(x, 0) && math.FMA(x, b, -a) != 0 || x == 0 && a != 0 {
				l, h = down(x), up(x)
			}
			low, high = min(low, l), max(high, h)
		}
	}
	return sane(low, high)
}

// x0 returns infinity with the sign of a quotient.
func x0(a, b float64) float64 {
	if (a < 0) == (b < 0) {
		return math.Inf(1)
	}
	return math.Inf(-1)
}

// remainder has the sign of the dividend, and is less than the divisor and not more than
// the dividend.
func remainder(r, s Range) Range {
	most := max(math.Abs(s.Low), math.Abs(s.High))
	low, high := -most, most
	if r.Low >= 0 {
		low = 0
	}
	if r.High <= 0 {
		high = 0
	}
	return within(max(low, min(r.Low, 0)), min(high, max(r.High, 0)))
}

func absolute(r Range) Range {
	switch {
	case r.Low >= 0:
		return r
	case r.High <= 0:
		return minus(r)
	}
	return within(0, max(-r.Low, r.High))
}

// rounded returns the range of numbers that are rounded to some digits after the point, in
// whatever direction.
func rounded(r Range, digits int) Range {
	if digits < 0 || digits > 15 {
		return numbers
	}
	unit := math.Pow10(digits)
	near := func(x float64, round func(float64) float64, next func(float64) float64) float64 {
		if math.IsInf(x, 0) || math.Abs(x) > 1<<52 || x == math.Trunc(x) {
			return x
		}
		y := round(x*unit) / unit
		if digits == 0 {
			return y
		}
		return next(next(y))
	}
	return sane(near(r.Low, math.Floor, down), near(r.High, math.Ceil, up))
}

// sane returns a range of numbers, or all numbers if a bound is not one.
func sane(low, high float64) Range {
	if math.IsNaN(low) {
		low = math.Inf(-1)
	}
	if math.IsNaN(high) {
		high = math.Inf(1)
	}
	return within(low, high)
}
