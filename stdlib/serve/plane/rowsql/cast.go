package rowsql

import (
	"math"
)

// cast converts a value, or fails; TRY_CAST is null instead.
func (c *call) cast() (eval, error) {
	if len(c.args) != 1 {
		return nil, refuse(c.At, "the plan has a cast of %d values", len(c.args))
	}
	from, to := c.types[0], c.result
	if from == to {
		return c.args[0], nil
	}
	if from.class == null {
		return func(*Row) Value { return Null }, nil
	}
	f := conversion(from, to)
	if f == nil && from.class == varchar && isConstant(c.Expr) {
		if f = constantText(to); f != nil {
			// DuckDB may accept other forms.
			r := newRow(0, nil)
			v := c.args[0](r)
			if _, ok := f(v); !ok && !v.Null || r.err != nil {
				return nil, refuse(c.At, "the text %q is not computed as %s: write it in the usual form", v.Text, to)
			}
		}
	}
	if f == nil {
		if from.class == varchar {
			return nil, refuse(c.At, "a cast from VARCHAR to %s is not computed row by row, unless the text is a constant in its usual form", to)
		}
		return nil, refuse(c.At, "a cast from %s to %s is not computed row by row", from, to)
	}
	if from.class == double && to.class == varchar {
		return c.doubleText(), nil
	}
	if from.class == timestamptz || to.class == timestamptz {
		c.args[0] = c.withZone(c.args[0])
	}
	if c.Try && to.class != timeOfDay { // DuckDB fails there, too
		return c.unaryOf(func(v Value) Value {
			if v, ok := f(v); ok {
				return v
			}
			return Null
		}), nil
	}
	return c.checkedUnary(f, "a value of type %s cannot be cast to %s: it is out of range", from, to), nil
}

// A converter converts a value that is not null.
type converter func(Value) (Value, bool)

func always(f func(Value) Value) converter { return func(v Value) (Value, bool) { return f(v), true } }

// conversion returns the converter between two different types, or nil.
func conversion(from, to sqlType) converter {
	whole := func(c class) bool { return c.signed() || c.unsigned() || c == hugeint }
	a, b := from.class, to.class
	switch {
	case b == varchar:
		return toText(from)
	case whole(a) && whole(b):
		return wholeToWhole(a, b)
	case a == boolean && (b.signed() || b.unsigned()):
		return always(func(v Value) Value { return v })
	case a == boolean && b == double:
		return always(func(v Value) Value { return Float(float64(v.Bits)) })
	case a == boolean && b == float:
		return always(func(v Value) Value { return Float32(float32(v.Bits)) })
	case (a.signed() || a.unsigned()) && b == boolean:
		return always(func(v Value) Value { return Bool(v.Bits != 0) })
	case a == double && b == boolean:
		return always(func(v Value) Value { return Bool(v.Float() != 0) })
	case a == float && b == boolean:
		return always(func(v Value) Value { return Bool(v.Float32() != 0) })
	case whole(a) && b == double:
		return wholeToDouble(a)
	case a.signed() && b == float:
		return always(func(v Value) Value { return Float32(float32(v.Int())) })
	case a.unsigned() && b == float:
		return always(func(v Value) Value { return Float32(float32(v.Bits)) })
	case a == float && b == double:
		return always(func(v Value) Value { return Float(float64(v.Float32())) })
	case a == double && b == float:
		return func(v Value) (Value, bool) {
			f := float32(v.Float())
			return Float32(f), !math.IsInf(float64(f), 0) || math.IsInf(v.Float(), 0)
		}
	case a == double && (b.signed() || b.unsigned()):
		return func(v Value) (Value, bool) { return floatToWhole(v.Float(), b) }
	case a == float && (b.signed() || b.unsigned()):
		return func(v Value) (Value, bool) { return floatToWhole(float64(v.Float32()), b) }
	case whole(a) && b == decimal:
		return wholeToDecimal(a, to)
	case a == double && b == decimal && to.width <= 18:
		return doubleToDecimal(to)
	case a == decimal && b == decimal:
		return rescale(from, to)
	case a == decimal && b == double:
		return decimalToDouble(from)
	case a == decimal && b == float:
		return decimalToFloat(from)
	case a == decimal && whole(b):
		return decimalToWhole(from, b)
	}
	return momentConversion(a, b)
}

func momentConversion(a, b class) converter {
	switch {
	case a == date && b == timestamp:
		return dateToTimestamp
	case a == timestamptz && b == timestamp, a == timestamp && b == timestamptz:
		return always(func(v Value) Value { return v }) // sessions are in UTC
	case a == timestamp && b == date, a == timestamptz && b == date:
		return always(func(v Value) Value {
			switch v.Int() {
			case endOfTimes:
				return Int(endOfDates)
			case -endOfTimes:
				return Int(-endOfDates)
			}
			return Int(floorDiv(v.Int(), microsPerDay))
		})
	case a == timestamp && b == timeOfDay:
		return func(v Value) (Value, bool) { return Int(floorMod(v.Int(), microsPerDay)), finiteTime(v.Int()) }
	}
	return nil
}

// asWide widens a whole number.
func asWide(c class) func(Value) int128 {
	switch {
	case c.signed():
		return func(v Value) int128 { return wide(v.Int()) }
	case c.unsigned():
		return func(v Value) int128 { return wideUnsigned(v.Bits) }
	}
	return Value.int128
}

// narrow returns a whole number as one of a type.
func narrow(n int128, c class) (Value, bool) {
	if c == hugeint {
		return n.value(), n != leastWide
	}
	least, greatest := c.bounds()
	return Value{Bits: n.lo}, n.compare(wide(least)) >= 0 && n.compare(wideUnsigned(greatest)) <= 0
}

func wholeToWhole(a, b class) converter {
	least, greatest := b.bounds()
	switch {
	case a.signed() && b.signed():
		return func(v Value) (Value, bool) { return v, v.Int() >= least && v.Int() <= int64(greatest) }
	case a.unsigned() && b.unsigned():
		return func(v Value) (Value, bool) { return v, v.Bits <= greatest }
	}
	widen := asWide(a)
	return func(v Value) (Value, bool) { return narrow(widen(v), b) }
}

func wholeToDouble(a class) converter {
	switch {
	case a.signed():
		return always(func(v Value) Value { return Float(float64(v.Int())) })
	case a.unsigned():
		return always(func(v Value) Value { return Float(float64(v.Bits)) })
	}
	return always(func(v Value) Value { return Float(v.int128().float()) })
}

// float converts as DuckDB does, which rounds twice.
func (a int128) float() float64 {
	if a.hi == -1 {
		return -float64(math.MaxUint64-a.lo) - 1
	}
	// The conversion keeps a compiler from fusing the two operations.
	return float64(a.lo) + float64(float64(a.hi)*18446744073709551615.0)
}

func (a int128) float32() float32 {
	if n, ok := a.int64(); ok {
		return float32(n)
	}
	if a.hi == -1 {
		return -float32(math.MaxUint64-a.lo) - 1
	}
	return float32(a.lo) + float32(float32(a.hi)*18446744073709551615.0)
}

// floatToWhole rounds halves to the even number.
func floatToWhole(f float64, c class) (Value, bool) {
	least, greatest := c.bounds()
	// The bound is exact: greatest+1 is a power of two.
	if !(f >= float64(least) && f < float64(greatest/2+1)*2) {
		return Null, false
	}
	f = math.RoundToEven(f)
	if c == ubigint {
		return Value{Bits: uint64(f)}, true
	}
	// DuckDB checks the range before it rounds, so that 127.5 becomes the TINYINT -128.
	n := int64(f)
	if n > int64(greatest) && c != bigint {
		n = least
	}
	return Int(n), true
}

func wholeToDecimal(a class, to sqlType) converter {
	widen := asWide(a)
	return func(v Value) (Value, bool) {
		n := widen(v)
		if !n.fits(to.width - to.scale) {
			return Null, false
		}
		n, ok := n.mul(powers[to.scale])
		return n.value(), ok
	}
}

func doubleToDecimal(to sqlType) converter {
	unit, limit := powersOfTen[to.scale], powersOfTen[to.width]
	return func(v Value) (Value, bool) {
		f := math.Round(v.Float() * unit)
		return wide(int64(f)).value(), f > -limit && f < limit
	}
}

// divideRounding divides by a power of ten, and rounds halves away from zero.
func divideRounding(n int128, digits int) int128 {
	if digits == 0 {
		return n
	}
	half, _ := powers[digits].quoRem(wide(2))
	quo, rem := n.quoRem(powers[digits])
	if rem.negative() {
		if rem.neg().compare(half) >= 0 {
			quo, _ = quo.sub(wide(1))
		}
	} else if rem.compare(half) >= 0 {
		quo, _ = quo.add(wide(1))
	}
	return quo
}

func rescale(from, to sqlType) converter {
	if to.scale < from.scale {
		return func(v Value) (Value, bool) {
			n := divideRounding(v.int128(), from.scale-to.scale)
			return n.value(), n.fits(to.width)
		}
	}
	return func(v Value) (Value, bool) {
		n, ok := v.int128().mul(powers[to.scale-from.scale])
		return n.value(), ok && n.fits(to.width)
	}
}

// decimalToDouble computes the whole part and the fraction separately if the digits are
// more than a DOUBLE holds.
func decimalToDouble(from sqlType) converter {
	unit := powers[from.scale]
	div := powersOfTen[from.scale]
	limit := wide(1 << 53)
	return always(func(v Value) Value {
		n := v.int128()
		if from.scale == 0 || n.compare(limit) <= 0 && n.compare(limit.neg()) >= 0 {
			return Float(n.float() / div)
		}
		quo, rem := n.quoRem(unit)
		return Float(quo.float() + rem.float()/div)
	})
}

func decimalToFloat(from sqlType) converter {
	unit, div, limit := powers[from.scale], float32(powersOfTen[from.scale]), wide(1<<24)
	return always(func(v Value) Value {
		n := v.int128()
		if from.scale == 0 || n.compare(limit) <= 0 && n.compare(limit.neg()) >= 0 {
			return Float32(n.float32() / div)
		}
		quo, rem := n.quoRem(unit)
		return Float32(quo.float32() + rem.float32()/div)
	})
}

func decimalToWhole(from sqlType, b class) converter {
	return func(v Value) (Value, bool) { return narrow(divideRounding(v.int128(), from.scale), b) }
}

var powersOfTen = [39]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21,
	1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30, 1e31, 1e32, 1e33, 1e34, 1e35, 1e36, 1e37, 1e38,
}

func dateToTimestamp(v Value) (Value, bool) {
	switch v.Int() {
	case endOfDates:
		return Int(endOfTimes), true
	case -endOfDates:
		return Int(-endOfTimes), true
	}
	t, ok := joinTime(v.Int(), 0)
	return Int(t), ok
}
