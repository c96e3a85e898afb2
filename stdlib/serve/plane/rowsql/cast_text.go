package rowsql

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// toText returns the converter to VARCHAR, or nil.
func toText(from sqlType) converter {
	var write func(b []byte, v Value) []byte
	switch c := from.class; {
	case c == boolean:
		return always(func(v Value) Value {
			if v.Bool() {
				return String("true")
			}
			return String("false")
		})
	case c.signed():
		write = func(b []byte, v Value) []byte { return strconv.AppendInt(b, v.Int(), 10) }
	case c.unsigned():
		write = func(b []byte, v Value) []byte { return strconv.AppendUint(b, v.Bits, 10) }
	case c == hugeint:
		write = func(b []byte, v Value) []byte { return v.int128().appendDecimal(b, 39, 0) }
	case c == decimal:
		write = func(b []byte, v Value) []byte { return v.int128().appendDecimal(b, from.width, from.scale) }
	case c == double:
		write = func(b []byte, v Value) []byte { return appendFloat(b, v.Float()) }
	case c == date:
		write = func(b []byte, v Value) []byte { return appendDate(b, v.Int()) }
	case c == timestamp:
		write = func(b []byte, v Value) []byte { return appendTimestamp(b, v.Int()) }
	case c == timeOfDay:
		write = func(b []byte, v Value) []byte { return appendTime(b, v.Int()) }
	default:
		return nil
	}
	return func(v Value) (Value, bool) {
		var buffer [64]byte
		return String(string(write(buffer[:0], v))), true
	}
}

// doubleText fails for large numbers, also in TRY_CAST: null would be wrong.
func (c *call) doubleText() eval {
	arg, err := c.args[0], c.err("a DOUBLE of 1e22 or more is not written as text: DuckDB 1.5 writes some of them wrong, such as 2 ** 81")
	err.Refused = true
	return func(r *Row) Value {
		v := arg(r)
		if v.Null {
			return v
		}
		f := v.Float()
		if math.Abs(f) >= 1e22 && !math.IsInf(f, 0) {
			return r.fail(err)
		}
		var buffer [64]byte
		return String(string(appendFloat(buffer[:0], f)))
	}
}

// appendFloat writes the shortest digits that are read as the same number.
func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f) && math.Signbit(f):
		return append(b, "-nan"...)
	case math.IsNaN(f):
		return append(b, "nan"...)
	case math.IsInf(f, 1):
		return append(b, "inf"...)
	case math.IsInf(f, -1):
		return append(b, "-inf"...)
	}
	var digits [32]byte
	e := strconv.AppendFloat(digits[:0], f, 'e', -1, 64)
	at := strings.LastIndexByte(string(e), 'e')
	exp, _ := strconv.Atoi(string(e[at+1:]))
	if exp < -4 || exp >= 16 {
		return append(b, e...)
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'f', -1, 64)
	if strings.IndexByte(string(b[start:]), '.') < 0 {
		b = append(b, ".0"...)
	}
	return b
}

func appendDate(b []byte, days int64) []byte {
	if !finiteDate(days) {
		return append(b, infinite(days)...)
	}
	y, m, d := civil(days)
	before := y <= 0
	if before {
		y = 1 - y
	}
	b = append(padded(b, y, 4), '-')
	b = append(padded(b, m, 2), '-')
	b = padded(b, d, 2)
	if before {
		b = append(b, " (BC)"...)
	}
	return b
}

func appendTime(b []byte, micros int64) []byte {
	b = append(padded(b, micros/microsPerHour, 2), ':')
	b = append(padded(b, micros/microsPerMinute%60, 2), ':')
	b = padded(b, micros/microsPerSecond%60, 2)
	fraction := micros % microsPerSecond
	if fraction == 0 {
		return b
	}
	b = padded(append(b, '.'), fraction, 6)
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

func appendTimestamp(b []byte, micros int64) []byte {
	if !finiteTime(micros) {
		return append(b, infinite(micros)...)
	}
	days, time := split(micros)
	b = append(appendDate(b, days), ' ')
	return appendTime(b, time)
}

// constantText returns the converter of a constant text in the usual form of a type, or
// nil. Other forms that DuckDB accepts are refused when the query is compiled.
func constantText(to sqlType) converter {
	switch to.class {
	case boolean:
		return func(v Value) (Value, bool) {
			switch v.Text {
			case "t", "true":
				return Bool(true), true
			case "f", "false":
				return Bool(false), true
			}
			return Null, false
		}
	case date:
		return func(v Value) (Value, bool) {
			days, rest, ok := readDate(v.Text)
			return Int(days), ok && rest == ""
		}
	case timestamp:
		return func(v Value) (Value, bool) {
			days, rest, ok := readDate(v.Text)
			if !ok {
				return Null, false
			}
			var micros int64
			if rest != "" {
				if micros, ok = readTime(rest); !ok {
					return Null, false
				}
			}
			t, ok := joinTime(days, micros)
			return Int(t), ok
		}
	}
	return nil
}

// readDate reads 2020-02-29 at the beginning of a text.
func readDate(s string) (days int64, rest string, ok bool) {
	if len(s) < 10 || s[4] != '-' || s[7] != '-' {
		return 0, s, false
	}
	y, ok1 := digits(s[:4])
	m, ok2 := digits(s[5:7])
	d, ok3 := digits(s[8:10])
	if !ok1 || !ok2 || !ok3 || !validDate(y, m, d) {
		return 0, s, false
	}
	return daysOf(y, m, d), s[10:], true
}

// readTime reads " 10:20:30", perhaps with a fraction of up to six digits.
func readTime(s string) (micros int64, ok bool) {
	if len(s) < 9 || s[0] != ' ' && s[0] != 'T' || s[3] != ':' || s[6] != ':' {
		return 0, false
	}
	h, ok1 := digits(s[1:3])
	m, ok2 := digits(s[4:6])
	sec, ok3 := digits(s[7:9])
	if !ok1 || !ok2 || !ok3 || h > 23 || m > 59 || sec > 59 {
		return 0, false
	}
	micros = h*microsPerHour + m*microsPerMinute + sec*microsPerSecond
	if s = s[9:]; s == "" {
		return micros, true
	}
	if s[0] != '.' || len(s) < 2 || len(s) > 7 {
		return 0, false
	}
	f, ok := digits((s[1:] + "00000")[:6])
	return micros + f, ok
}

func digits(s string) (int64, bool) {
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// Format writes a value as DuckDB does.
func (v Value) Format(typ string) (string, error) {
	t, err := parseType(typ)
	if err != nil {
		return "", err
	}
	switch {
	case v.Null:
		return "NULL", nil
	case t.class == varchar:
		return v.Text, nil
	case t.class == timestamptz && finiteTime(v.Int()):
		return string(append(appendTimestamp(nil, v.Int()), "+00"...)), nil
	}
	if t.class == timestamptz {
		t.class = timestamp
	}
	f := toText(t)
	if f == nil {
		return "", fmt.Errorf("values of the type %s have no text", typ)
	}
	s, _ := f(v)
	return s.Text, nil
}
