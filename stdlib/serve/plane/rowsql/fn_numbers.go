package rowsql

import (
	"math"
	"math/bits"
)

var arithmetic = []function{
	{names: "+ add", args: "int int", result: "same", build: intOperator(addSigned, addUnsigned, int128.add)},
	{names: "- subtract", args: "int int", result: "same", build: intOperator(subSigned, subUnsigned, int128.sub)},
	{names: "* multiply", args: "int int", result: "same", build: intOperator(mulSigned, mulUnsigned, int128.mul)},
	{names: "// divide", args: "small small", result: "same", build: division(func(a, b int64) int64 { return a / b }, func(a, b uint64) uint64 { return a / b })},
	{names: "% mod", args: "small small", result: "same", build: division(func(a, b int64) int64 { return a % b }, func(a, b uint64) uint64 { return a % b })},
	{names: "+ add", args: "float float", result: "same", build: floatOperator(func(a, b float64) float64 { return a + b }, func(a, b float32) float32 { return a + b })},
	{names: "- subtract", args: "float float", result: "same", build: floatOperator(func(a, b float64) float64 { return a - b }, func(a, b float32) float32 { return a - b })},
	{names: "* multiply", args: "float float", result: "same", build: floatOperator(func(a, b float64) float64 { return a * b }, func(a, b float32) float32 { return a * b })},
	{names: "/", args: "float float", result: "same", build: floatOperator(func(a, b float64) float64 { return a / b }, func(a, b float32) float32 { return a / b })},
	{names: "+ add", args: "decimal decimal", result: "decimal", build: decimalOperator(int128.add, false)},
	{names: "- subtract", args: "decimal decimal", result: "decimal", build: decimalOperator(int128.sub, false)},
	{names: "* multiply", args: "decimal decimal", result: "decimal", build: decimalOperator(int128.mul, true)},
	{names: "-", args: "signed", result: "same", build: negate},
	{names: "-", args: "float", result: "same", build: negate},
	{names: "-", args: "decimal", result: "same", build: ofOne(func(v Value) Value { return v.int128().neg().value() })},
	{names: "+", args: "int", result: "same", build: ofOne(func(v Value) Value { return v })},
	{names: "+", args: "float", result: "same", build: ofOne(func(v Value) Value { return v })},
}

var numbers = []function{
	{names: "abs @", args: "signed", result: "same", build: absolute},
	{names: "abs @", args: "unsigned", result: "same", build: ofOne(func(v Value) Value { return v })},
	{names: "abs @", args: "float", result: "same", build: absolute},
	{names: "abs @", args: "decimal", result: "same", build: absolute},
	{names: "sign", args: "small", result: "int", build: sign},
	{names: "sign", args: "float", result: "int", build: sign},
	{names: "ceil ceiling", args: "float", result: "same", build: rounding(math.Ceil)},
	{names: "floor", args: "float", result: "same", build: rounding(math.Floor)},
	{names: "trunc", args: "float", result: "same", build: rounding(math.Trunc)},
	{names: "round", args: "float", result: "same", build: rounding(math.Round)},
	{names: "round", args: "float integer", result: "same", about: "with a constant number of digits from -22 to 22", build: roundTo},
	{names: "sqrt", args: "double", result: "same", build: squareRoot},
	{names: "isnan", args: "float", result: "boolean", build: classify(math.IsNaN)},
	{names: "isinf", args: "float", result: "boolean", build: classify(func(f float64) bool { return math.IsInf(f, 0) })},
	{names: "isfinite", args: "float", result: "boolean", build: classify(func(f float64) bool { return !math.IsInf(f, 0) && !math.IsNaN(f) })},
	{names: "ceil ceiling", args: "decimal", result: "decimal", build: decimalRounding(func(n int128, scale int) int128 { return floorDecimal(n.neg(), scale).neg() })},
	{names: "floor", args: "decimal", result: "decimal", build: decimalRounding(floorDecimal)},
	{names: "round", args: "decimal", result: "decimal", build: decimalRounding(divideRounding)},
	{names: "round", args: "decimal integer", result: "decimal", about: "with a constant number of digits, from 0 to those of the argument", build: roundDecimal},
	{names: "greatest", args: "any any...", result: "same", about: "of other types than FLOAT", build: extreme(1)},
	{names: "least", args: "any any...", result: "same", about: "of other types than FLOAT", build: extreme(-1)},
}

func addSigned(a, b int64) (int64, bool) { s := a + b; return s, (s > a) == (b > 0) }
func subSigned(a, b int64) (int64, bool) { d := a - b; return d, (d < a) == (b > 0) }
func mulSigned(a, b int64) (int64, bool) {
	p, _ := wide(a).mul(wide(b))
	return p.int64()
}
func addUnsigned(a, b uint64) (uint64, bool) { s, c := bits.Add64(a, b, 0); return s, c == 0 }
func subUnsigned(a, b uint64) (uint64, bool) { return a - b, a >= b }
func mulUnsigned(a, b uint64) (uint64, bool) { hi, lo := bits.Mul64(a, b); return lo, hi == 0 }

func intOperator(s func(a, b int64) (int64, bool), u func(a, b uint64) (uint64, bool), w func(a, b int128) (int128, bool)) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		if !c.same(0) {
			return nil, refuse(c.At, "%s of two types is not supported", c.Name)
		}
		least, greatest := c.result.class.bounds()
		switch {
		case c.result.class == hugeint:
			return c.checked(func(a, b Value) (Value, bool) {
				v, ok := w(a.int128(), b.int128())
				return v.value(), ok && v != leastWide
			}, "%s", c.overflow()), nil
		case c.result.class.signed():
			return c.checked(func(a, b Value) (Value, bool) {
				v, ok := s(int64(a.Bits), int64(b.Bits))
				return Value{Bits: uint64(v)}, ok && v >= least && v <= int64(greatest)
			}, "%s", c.overflow()), nil
		}
		return c.checked(func(a, b Value) (Value, bool) {
			v, ok := u(a.Bits, b.Bits)
			return Value{Bits: v}, ok && v <= greatest
		}, "%s", c.overflow()), nil
	}
}

// division is null for a divisor of zero.
func division(s func(a, b int64) int64, u func(a, b uint64) uint64) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		if !c.same(0) {
			return nil, refuse(c.At, "%s of two types is not supported", c.Name)
		}
		if c.result.class.unsigned() {
			return c.binaryOf(func(a, b Value) Value {
				if b.Bits == 0 {
					return Null
				}
				return Value{Bits: u(a.Bits, b.Bits)}
			}), nil
		}
		least, _ := c.result.class.bounds()
		return c.checked(func(a, b Value) (Value, bool) {
			if b.Bits == 0 {
				return Null, true
			}
			if int64(a.Bits) == least && int64(b.Bits) == -1 {
				return Null, false
			}
			return Value{Bits: uint64(s(int64(a.Bits), int64(b.Bits)))}, true
		}, "%s", c.overflow()), nil
	}
}

func floatOperator(d func(a, b float64) float64, f func(a, b float32) float32) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		switch {
		case !c.same(0):
			return nil, refuse(c.At, "%s of two types is not supported", c.Name)
		case c.result.class == float:
			return c.binaryOf(func(a, b Value) Value { return Float32(f(a.Float32(), b.Float32())) }), nil
		}
		return c.binaryOf(func(a, b Value) Value { return Float(d(a.Float(), b.Float())) }), nil
	}
}

// decimalOperator computes with the digits. The scales of the arguments add up in a
// product, and are those of the result otherwise.
func decimalOperator(f func(a, b int128) (int128, bool), product bool) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		a, b := c.types[0], c.types[1]
		if product && a.scale+b.scale != c.result.scale || !product && (a.scale != c.result.scale || b.scale != c.result.scale) {
			return nil, refuse(c.At, "%s of %s and %s is not supported", c.Name, a, b)
		}
		width := c.result.width
		return c.checked(func(a, b Value) (Value, bool) {
			v, ok := f(a.int128(), b.int128())
			return v.value(), ok && v.fits(width)
		}, "%s", c.overflow()), nil
	}
}

func negate(c *call) (eval, error) {
	switch least, _ := c.result.class.bounds(); c.result.class {
	case double:
		return c.unaryOf(func(v Value) Value { return Value{Bits: v.Bits ^ 1<<63} }), nil
	case float:
		return c.unaryOf(func(v Value) Value { return Value{Bits: v.Bits ^ 1<<31} }), nil
	default:
		return c.checkedUnary(func(v Value) (Value, bool) { return Int(-int64(v.Bits)), int64(v.Bits) != least }, "%s", c.overflow()), nil
	}
}

func absolute(c *call) (eval, error) {
	switch least, _ := c.result.class.bounds(); c.result.class {
	case double:
		return c.unaryOf(func(v Value) Value { return Value{Bits: v.Bits &^ (1 << 63)} }), nil
	case float:
		return c.unaryOf(func(v Value) Value { return Value{Bits: v.Bits &^ (1 << 31)} }), nil
	case decimal:
		return c.unaryOf(func(v Value) Value {
			if v.int128().negative() {
				return v.int128().neg().value()
			}
			return v
		}), nil
	default:
		return c.checkedUnary(func(v Value) (Value, bool) {
			if int64(v.Bits) < 0 {
				return Int(-int64(v.Bits)), int64(v.Bits) != least
			}
			return v, true
		}, "%s", c.overflow()), nil
	}
}

// sign is 0 for NaN.
func sign(c *call) (eval, error) {
	order := comparer(c.types[0])
	isFloat := sets["float"](c.types[0])
	wideFloat := c.types[0].class == double
	return c.unaryOf(func(v Value) Value {
		if isFloat && (wideFloat && math.IsNaN(v.Float()) || !wideFloat && math.IsNaN(float64(v.Float32()))) {
			return Int(0)
		}
		return Int(int64(order(v, Value{})))
	}), nil
}

func (c *call) floats(f func(float64) float64) eval {
	if c.types[0].class == float {
		return c.unaryOf(func(v Value) Value { return Float32(float32(f(float64(v.Float32())))) })
	}
	return c.unaryOf(func(v Value) Value { return Float(f(v.Float())) })
}

func rounding(f func(float64) float64) func(*call) (eval, error) {
	return func(c *call) (eval, error) { return c.floats(f), nil }
}

func classify(f func(float64) bool) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		if c.types[0].class == float {
			return c.unaryOf(func(v Value) Value { return Bool(f(float64(v.Float32()))) }), nil
		}
		return c.unaryOf(func(v Value) Value { return Bool(f(v.Float())) }), nil
	}
}

// exact are the powers of ten that a DOUBLE holds exactly.
var exact = [23]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

func roundTo(c *call) (eval, error) {
	v, err := c.constant(1, "the number of digits")
	if err != nil {
		return nil, err
	}
	digits := v.Int()
	if digits < -22 || digits > 22 || c.types[0].class != double {
		return nil, refuse(c.At, "round to %d digits of %s is not supported", digits, c.types[0])
	}
	if digits < 0 {
		unit := exact[-digits]
		return c.floats(func(f float64) float64 {
			f = math.Round(f/unit) * unit
			if math.IsInf(f, 0) || math.IsNaN(f) {
				return 0
			}
			return f
		}), nil
	}
	unit := exact[digits]
	return c.floats(func(f float64) float64 {
		rounded := math.Round(f*unit) / unit
		if math.IsInf(rounded, 0) || math.IsNaN(rounded) {
			return f
		}
		return rounded
	}), nil
}

func squareRoot(c *call) (eval, error) {
	return c.checkedUnary(func(v Value) (Value, bool) { return Float(math.Sqrt(v.Float())), !(v.Float() < 0) },
		"cannot take square root of a negative number"), nil
}

// extreme is the greatest or the least value that is not null; of equal ones, the first.
func extreme(want int) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		// DuckDB compares FLOATs by keys, which have one zero and one NaN.
		if !c.same(0) || c.result.class == float {
			return nil, refuse(c.At, "%s of %s is not supported", c.Name, c.result)
		}
		order, parts := comparer(c.result), c.args
		return func(r *Row) Value {
			best := Null
			for _, f := range parts {
				if v := f(r); !v.Null && (best.Null || order(v, best) == want) {
					best = v
				}
			}
			return best
		}, nil
	}
}

func floorDecimal(n int128, scale int) int128 {
	quo, rem := n.quoRem(powers[scale])
	if rem.negative() {
		quo, _ = quo.sub(wide(1))
	}
	return quo
}

// decimalRounding leaves no digits after the point.
func decimalRounding(f func(n int128, scale int) int128) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		scale := c.types[0].scale
		if c.result.scale != 0 {
			return nil, refuse(c.At, "%s of %s is not supported", c.Name, c.types[0])
		}
		return c.unaryOf(func(v Value) Value { return f(v.int128(), scale).value() }), nil
	}
}

func roundDecimal(c *call) (eval, error) {
	v, err := c.constant(1, "the number of digits")
	if err != nil {
		return nil, err
	}
	scale, digits := c.types[0].scale, int(v.Int())
	if digits < 0 || digits > scale || c.result.scale != digits {
		return nil, refuse(c.At, "round of %s to %d digits is not supported", c.types[0], digits)
	}
	return c.unaryOf(func(v Value) Value { return divideRounding(v.int128(), scale-digits).value() }), nil
}
