package request

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A fault is what is wrong with a value, in the words of pydantic. The zero fault is none.
type fault struct{ kind, says string }

// readers read a value of each type.
var readers = map[string]func(s *scanner, c *column, v *rowsql.Value) fault{
	"bool": readBool,
	"int8": readInt, "int16": readInt, "int32": readInt, "int64": readInt,
	"uint8": readUint, "uint16": readUint, "uint32": readUint, "uint64": readUint,
	"float32": readFloat32, "float64": readFloat,
	"string": readString, "bytes": readBytes,
	"date": readDate, "time": readTime, "timestamp": readTimestamp, "timestamptz": readTimestamp,
}

var (
	noBool    = fault{"bool_type", "Input should be a valid boolean"}
	noInteger = fault{"int_type", "Input should be a valid integer"}
	noNumber  = fault{"float_type", "Input should be a valid number"}
	notFinite = fault{"finite_number", "Input should be a finite number"}
	notHeld   = fault{"value_error", "Value error, the type does not hold it exactly"}
	noString  = fault{"string_type", "Input should be a valid string"}
	noJSON    = fault{"value_error", "Value error, wanted text that is JSON"}
	noBase64  = fault{"value_error", "Value error, wanted a base64 string"}
)

func tooLow(bound string) fault {
	return fault{"greater_than_equal", "Input should be greater than or equal to " + bound}
}

func tooHigh(bound string) fault {
	return fault{"less_than_equal", "Input should be less than or equal to " + bound}
}

func readBool(s *scanner, _ *column, v *rowsql.Value) fault {
	switch {
	case s.literal("true"):
		*v = rowsql.Bool(true)
	case s.literal("false"):
		*v = rowsql.Bool(false)
	default:
		return noBool
	}
	return fault{}
}

func readInt(s *scanner, c *column, v *rowsql.Value) fault {
	b, whole := s.number()
	if b == nil || !whole {
		return noInteger
	}
	n, err := strconv.ParseInt(text(b), 10, 64)
	switch {
	case err != nil && b[0] == '-', n < c.lowInt:
		return tooLow(strconv.FormatInt(c.lowInt, 10))
	case err != nil, n > c.highInt:
		return tooHigh(strconv.FormatInt(c.highInt, 10))
	}
	*v = rowsql.Int(n)
	return fault{}
}

func readUint(s *scanner, c *column, v *rowsql.Value) fault {
	b, whole := s.number()
	if b == nil || !whole {
		return noInteger
	}
	if text(b) == "-0" {
		b = b[1:]
	}
	n, err := strconv.ParseUint(text(b), 10, 64)
	switch {
	case err != nil && b[0] == '-', n < c.lowUint:
		return tooLow(strconv.FormatUint(c.lowUint, 10))
	case err != nil, n > c.highUint:
		return tooHigh(strconv.FormatUint(c.highUint, 10))
	}
	*v = rowsql.Uint(n)
	return fault{}
}

func readFloat(s *scanner, c *column, v *rowsql.Value) fault {
	x, wrong := s.float(c, 64)
	*v = rowsql.Float(x)
	return wrong
}

func readFloat32(s *scanner, c *column, v *rowsql.Value) fault {
	x, wrong := s.float(c, 32)
	*v = rowsql.Float32(float32(x))
	return wrong
}

// float reads a number for a float of a size in bits. A whole number has to be one that the
// float holds; one of more than 64 bits, one that the float prints.
func (s *scanner) float(c *column, bits int) (float64, fault) {
	if s.literal("NaN") || s.literal("Infinity") || s.literal("-Infinity") {
		return 0, notFinite
	}
	b, whole := s.number()
	if b == nil {
		return 0, noNumber
	}
	x, err := strconv.ParseFloat(text(b), 64)
	digits := integer(b)
	switch {
	case err != nil && digits != nil:
		return 0, noNumber // no float64 is so large
	case err != nil:
		return 0, notFinite
	case digits != nil && !holds(digits, x, bits), digits == nil && bits == 32 && !printsAlike(x):
		return 0, notHeld
	case x < c.low:
		return 0, tooLow(strconv.FormatFloat(c.low, 'f', -1, 64))
	case x > c.high:
		return 0, tooHigh(strconv.FormatFloat(c.high, 'f', -1, 64))
	}
	if whole && x == 0 {
		x = 0 // an integer has no sign of zero
	}
	return x, fault{}
}

// integer returns the digits of a number that is an integer, perhaps with a point and zeros
// after it. It returns nil for others.
func integer(b []byte) []byte {
	whole, end := b, len(b)
	for i, c := range b {
		switch {
		case c == '.':
			whole, end = b[:i], i
		case c == 'e' || c == 'E', end < i && c != '0':
			return nil
		}
	}
	return whole
}

const twoTo64 = 1 << 64

// holds reports whether a float holds an integer with the given digits, which x is the nearest
// float64 to.
func holds(digits []byte, x float64, bits int) bool {
	held := x
	if bits == 32 {
		if held = float64(float32(x)); held != x && math.Abs(x) < twoTo64 {
			return false
		}
	}
	if len(digits) <= 15 {
		return true // below 2^53
	}
	var shown [400]byte
	if text(strconv.AppendFloat(shown[:0], held, 'f', 0, 64)) == text(digits) {
		return true
	}
	return math.Abs(x) >= twoTo64 && text(strconv.AppendFloat(shown[:0], held, 'f', -1, bits)) == text(digits)
}

// printsAlike reports whether a float64 may become a float32: it does not become another
// integer, or it prints alike.
func printsAlike(x float64) bool {
	held := float64(float32(x))
	if held == x || x != math.Trunc(x) {
		return true
	}
	if math.Abs(x) < twoTo64 || math.IsInf(held, 0) {
		return false
	}
	var a, b [32]byte
	return text(strconv.AppendFloat(a[:0], x, 'e', -1, 64)) == text(strconv.AppendFloat(b[:0], held, 'e', -1, 32))
}

func readString(s *scanner, c *column, v *rowsql.Value) fault {
	b, ok := s.text()
	switch {
	case c.values != nil && (!ok || !c.values[text(b)]):
		return fault{"literal_error", c.oneOf}
	case !ok:
		return noString
	case c.JSON && !isJSON(b):
		return noJSON
	}
	*v = rowsql.String(text(b))
	return fault{}
}

// isJSON reports whether a text is JSON, by the rule for every table: no NaN, no infinity, no
// half of a surrogate pair.
func isJSON(b []byte) bool {
	s := &scanner{b: b, rows: new(Rows), strict: true}
	if !s.skip() {
		return false
	}
	s.space()
	return s.at == len(b)
}

func readBytes(s *scanner, _ *column, v *rowsql.Value) fault {
	b, ok := s.text()
	if !ok {
		return noBase64
	}
	decoded, err := base64.StdEncoding.AppendDecode(nil, b)
	if err != nil || strings.ContainsAny(text(b), "\r\n") {
		return noBase64
	}
	*v = rowsql.String(text(decoded))
	return fault{}
}

// oneOf says which texts a column may have, as pydantic does.
func oneOf(values []string) string {
	var b strings.Builder
	b.WriteString("Input should be ")
	for i, v := range values {
		switch {
		case i > 0 && i == len(values)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		quote := "'"
		if strings.Contains(v, "'") && !strings.Contains(v, `"`) {
			quote = `"`
		}
		v = strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(v)
		if quote == "'" {
			v = strings.ReplaceAll(v, "'", `\'`)
		}
		b.WriteString(quote + v + quote)
	}
	return b.String()
}
