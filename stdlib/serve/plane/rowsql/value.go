package rowsql

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A Value is one value of any type. Which of the fields hold it depends on the type:
//
//	BOOLEAN                      Bits is 0 or 1
//	TINYINT ... BIGINT           Bits is the int64
//	UTINYINT ... UBIGINT         Bits is the uint64
//	HUGEINT, DECIMAL             Bits and High are the 128-bit integer, without the point
//	FLOAT, DOUBLE                Bits are those of IEEE 754, of 32 or 64 bits
//	VARCHAR, BLOB                Text
//	DATE                         Bits are the days since 1970 as int64
//	TIME, TIMESTAMP, TIMESTAMPTZ Bits are microseconds as int64
//	INTERVAL                     Bits are microseconds, High months<<32 | days
type Value struct {
	Text string
	Bits uint64
	High uint64
	Null bool
}

// Int returns a value of one of the integer types of at most 64 bits, a date or a time.
func Int(v int64) Value { return Value{Bits: uint64(v)} }

// Uint returns a value of one of the unsigned types.
func Uint(v uint64) Value { return Value{Bits: v} }

// Float returns a DOUBLE.
func Float(v float64) Value { return Value{Bits: math.Float64bits(v)} }

// Float32 returns a FLOAT.
func Float32(v float32) Value { return Value{Bits: uint64(math.Float32bits(v))} }

// Bool returns a BOOLEAN.
func Bool(v bool) Value {
	if v {
		return Value{Bits: 1}
	}
	return Value{}
}

// String returns a VARCHAR or a BLOB.
func String(v string) Value { return Value{Text: v} }

// Null is the null of every type.
var Null = Value{Null: true}

// Int returns the value as a signed integer.
func (v Value) Int() int64 { return int64(v.Bits) }

// Float returns the value of a DOUBLE.
func (v Value) Float() float64 { return math.Float64frombits(v.Bits) }

// Float32 returns the value of a FLOAT.
func (v Value) Float32() float32 { return math.Float32frombits(uint32(v.Bits)) }

// Bool returns the value of a BOOLEAN.
func (v Value) Bool() bool { return v.Bits != 0 }

// cloned returns the value with a text of its own.
func (v Value) cloned() Value {
	v.Text = strings.Clone(v.Text)
	return v
}

func (v Value) months() int32  { return int32(v.High >> 32) }
func (v Value) days() int32    { return int32(v.High) }
func (v Value) int128() int128 { return int128{int64(v.High), v.Bits} }
func (i int128) value() Value  { return Value{Bits: i.lo, High: uint64(i.hi)} }
func interval(months, days int32, micros int64) Value {
	return Value{Bits: uint64(micros), High: uint64(uint32(months))<<32 | uint64(uint32(days))}
}

// A class is a type without its parameters.
type class uint8

const (
	unknown class = iota
	null          // the type of NULL
	boolean
	tinyint
	smallint
	integer
	bigint
	utinyint
	usmallint
	uinteger
	ubigint
	hugeint
	decimal
	float
	double
	varchar
	blob
	date
	timeOfDay
	timestamp
	timestamptz
	intervals
)

var classes = map[string]class{
	"NULL": null, "BOOLEAN": boolean, "TINYINT": tinyint, "SMALLINT": smallint, "INTEGER": integer, "BIGINT": bigint,
	"UTINYINT": utinyint, "USMALLINT": usmallint, "UINTEGER": uinteger, "UBIGINT": ubigint, "HUGEINT": hugeint,
	"FLOAT": float, "DOUBLE": double, "VARCHAR": varchar, "BLOB": blob, "DATE": date, "TIME": timeOfDay,
	"TIMESTAMP": timestamp, "TIMESTAMP WITH TIME ZONE": timestamptz, "INTERVAL": intervals,
}

func (c class) signed() bool   { return c >= tinyint && c <= bigint }
func (c class) unsigned() bool { return c >= utinyint && c <= ubigint }

// An sqlType is a type of DuckDB.
type sqlType struct {
	class class
	width int // of a DECIMAL
	scale int
}

// parseType reads DuckDB's name of a type.
func parseType(name string) (sqlType, error) {
	if c, ok := classes[name]; ok {
		return sqlType{class: c}, nil
	}
	var t sqlType
	if n, err := fmt.Sscanf(name, "DECIMAL(%d,%d)", &t.width, &t.scale); err == nil && n == 2 && t.width >= 1 && t.width <= 38 && t.scale >= 0 && t.scale <= t.width {
		t.class = decimal
		return t, nil
	}
	return t, fmt.Errorf("the type %s is not supported", strings.ToUpper(name))
}

func (t sqlType) String() string {
	if t.class == decimal {
		return "DECIMAL(" + strconv.Itoa(t.width) + "," + strconv.Itoa(t.scale) + ")"
	}
	for name, c := range classes {
		if c == t.class {
			return name
		}
	}
	return "?"
}

// bounds returns the least and the greatest value of an integer type.
func (c class) bounds() (least int64, greatest uint64) {
	switch c {
	case tinyint:
		return math.MinInt8, math.MaxInt8
	case smallint:
		return math.MinInt16, math.MaxInt16
	case integer:
		return math.MinInt32, math.MaxInt32
	case bigint:
		return math.MinInt64, math.MaxInt64
	case utinyint:
		return 0, math.MaxUint8
	case usmallint:
		return 0, math.MaxUint16
	case uinteger:
		return 0, math.MaxUint32
	}
	return 0, math.MaxUint64
}

// Store makes of a value what a table of Tenon holds, where a query reads or writes it: without
// negative zeros, and without NaN where NaN is a missing value.
func Store(c *ir.Column, v *Value) {
	if v.Null {
		return
	}
	var x float64
	switch c.Type {
	case "float64":
		x = v.Float() + 0
		*v = Float(x)
	case "float32":
		held := v.Float32() + 0
		x = float64(held)
		*v = Float32(held)
	}
	if x != x && c.Nullable && !c.NaN {
		*v = Null
	}
}
