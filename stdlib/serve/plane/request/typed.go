package request

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A Typed makes values of a column from values that have a type already, such as those of a
// tensor or of an Arrow array. It admits and refuses them as a JSON body's, with the same
// words. The zero [Fault] says that a value is good.
type Typed struct{ column }

// A Fault is what is wrong with a value, in the words of pydantic.
type Fault struct{ Type, Msg string }

// Wrong reports whether there is a fault.
func (f Fault) Wrong() bool { return f.Type != "" }

// At is the error of a fault at a place in a body.
func (f Fault) At(where ...any) Error { return Error{f.Type, append([]any{"body"}, where...), f.Msg} }

func (f fault) public() Fault { return Fault{f.kind, f.says} }

// Faults of a whole column.
var (
	Missing = missing.public()
	Extra   = extra.public()
	Twice   = Fault{"value_error", "the column comes twice"}
)

// NewTyped returns what makes values of a column.
func NewTyped(c ir.Column) (*Typed, error) {
	x, err := newColumn(c)
	return &Typed{x}, err
}

// Column is the column.
func (t *Typed) Column() ir.Column { return t.column.Column }

// Null is a null. Only a nullable column has it.
func (t *Typed) Null(v *rowsql.Value) Fault {
	if !t.Nullable {
		return t.Mismatch()
	}
	*v = rowsql.Null
	return Fault{}
}

// Mismatch refuses a value of another type.
func (t *Typed) Mismatch() Fault {
	size, whole := sizes[t.Type]
	switch {
	case t.values != nil:
		return Fault{"literal_error", t.oneOf}
	case t.Type == "bool":
		return noBool.public()
	case whole && size > 0:
		return noInteger.public()
	case t.Type == "float32", t.Type == "float64":
		return noNumber.public()
	case t.Type == "string":
		return noString.public()
	case t.Type == "bytes":
		return Fault{"value_error", "Value error, wanted bytes"}
	}
	return Fault{"value_error", "Value error, wanted a " + t.Type}
}

// Bool is a bool.
func (t *Typed) Bool(x bool, v *rowsql.Value) Fault {
	if t.Type != "bool" {
		return t.Mismatch()
	}
	*v = rowsql.Bool(x)
	return Fault{}
}

// Int is an integer, for a column of integers or of floats.
func (t *Typed) Int(n int64, v *rowsql.Value) Fault {
	switch t.Type {
	case "int8", "int16", "int32", "int64":
		switch {
		case n < t.lowInt:
			return tooLow(strconv.FormatInt(t.lowInt, 10)).public()
		case n > t.highInt:
			return tooHigh(strconv.FormatInt(t.highInt, 10)).public()
		}
		*v = rowsql.Int(n)
		return Fault{}
	case "float32", "float64":
		x := float64(n)
		if x >= 1<<63 || int64(x) != n {
			return notHeld.public()
		}
		return t.Float(x, v)
	}
	if n < 0 {
		if t.Type[0] == 'u' {
			return tooLow(strconv.FormatUint(t.lowUint, 10)).public()
		}
		return t.Mismatch()
	}
	return t.Uint(uint64(n), v)
}

// Uint is an unsigned integer, for a column of integers or of floats.
func (t *Typed) Uint(n uint64, v *rowsql.Value) Fault {
	switch t.Type {
	case "uint8", "uint16", "uint32", "uint64":
		switch {
		case n < t.lowUint:
			return tooLow(strconv.FormatUint(t.lowUint, 10)).public()
		case n > t.highUint:
			return tooHigh(strconv.FormatUint(t.highUint, 10)).public()
		}
		*v = rowsql.Uint(n)
		return Fault{}
	case "int8", "int16", "int32", "int64":
		if n > math.MaxInt64 {
			return tooHigh(strconv.FormatInt(t.highInt, 10)).public()
		}
		return t.Int(int64(n), v)
	case "float32", "float64":
		x := float64(n)
		if x >= 1<<64 || uint64(x) != n {
			return notHeld.public()
		}
		return t.Float(x, v)
	}
	return t.Mismatch()
}

// Float is a float. NaN is a null where NaN is a missing value, and refused elsewhere.
func (t *Typed) Float(x float64, v *rowsql.Value) Fault {
	narrow := t.Type == "float32"
	switch {
	case !narrow && t.Type != "float64":
		return t.Mismatch()
	case math.IsNaN(x) && t.Nullable && !t.NaN:
		*v = rowsql.Null
		return Fault{}
	case math.IsNaN(x) || math.IsInf(x, 0):
		return notFinite.public()
	case narrow && !printsAlike(x):
		return notHeld.public()
	case x < t.low:
		return tooLow(strconv.FormatFloat(t.low, 'f', -1, 64)).public()
	case x > t.high:
		return tooHigh(strconv.FormatFloat(t.high, 'f', -1, 64)).public()
	}
	if *v = rowsql.Float(x); narrow {
		*v = rowsql.Float32(float32(x))
	}
	return Fault{}
}

// Text is a text of UTF-8: a string, a date or time of ISO 8601, or for a column of bytes
// those bytes. The value refers to it.
func (t *Typed) Text(s string, v *rowsql.Value) Fault {
	switch t.Type {
	case "string":
		switch {
		case t.values != nil && !t.values[s]:
			return Fault{"literal_error", t.oneOf}
		case !utf8.ValidString(s):
			return Fault{"value_error", "Value error, wanted UTF-8"}
		case t.JSON && !isJSON([]byte(s)):
			return noJSON.public()
		}
		*v = rowsql.String(s)
		return Fault{}
	case "bytes":
		*v = rowsql.String(s)
		return Fault{}
	case "date", "time", "timestamp", "timestamptz":
		if !utf8.ValidString(s) {
			return notISO.public()
		}
		m, wrong := momentText(s)
		if wrong.kind == "" {
			wrong = t.moment(m, v)
		}
		return wrong.public()
	}
	return t.Mismatch()
}

// The moments that a text of ISO 8601 with four digits of the year can say.
const (
	firstDay, lastDay       = -719_162, 2_932_896
	firstMicros, lastMicros = firstDay * day, (lastDay+1)*day - 1
)

// Moment is a date in days since 1970, a time in microseconds of its day, or a timestamp in
// microseconds since 1970.
func (t *Typed) Moment(n int64, v *rowsql.Value) Fault {
	low, high := int64(firstMicros), int64(lastMicros)
	switch t.Type {
	case "date":
		low, high = firstDay, lastDay
	case "time":
		low, high = 0, day-1
	case "timestamp", "timestamptz":
	default:
		return t.Mismatch()
	}
	if n < low || n > high {
		return t.outOfRange()
	}
	return t.within(n, v).public()
}

// Scaled is a [Typed.Moment] that is counted in other units, of which the same time has from
// where it has to of those of the column.
func (t *Typed) Scaled(n, from, to int64, v *rowsql.Value) Fault {
	switch {
	case from <= to:
		by := to / from
		if n > math.MaxInt64/by || n < math.MinInt64/by {
			return t.outOfRange()
		}
		n *= by
	case n%(from/to) != 0 && t.Type == "date":
		return inexact.public()
	case n%(from/to) != 0:
		return tooFine.public()
	default:
		n /= from / to
	}
	return t.Moment(n, v)
}

// Zone says whether the column may have timestamps with a time zone, or without one.
func (t *Typed) Zone(zoned bool) Fault {
	switch {
	case zoned && t.Type == "timestamp":
		return naive.public()
	case !zoned && t.Type == "timestamptz":
		return aware.public()
	}
	return Fault{}
}

func (t *Typed) outOfRange() Fault {
	return Fault{"value_error", "Value error, the " + t.Type + " is out of range"}
}

// Short is a name as an error shows it.
func Short(name string) string { return short([]byte(name)) }
