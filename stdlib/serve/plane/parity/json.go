package parity

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// sendable reports whether a request can contain all values of a row.
func sendable(columns ir.Schema, row []rowsql.Value) bool {
	for i, v := range row {
		if v.Null {
			continue
		}
		const day = 86_400_000_000
		ok := true
		switch columns[i].Type {
		case "float32":
			ok = finite(float64(v.Float32()))
		case "float64":
			ok = finite(v.Float())
		case "date":
			ok = fourDigits(v.Int())
		case "time":
			ok = v.Int() < day
		case "timestamp", "timestamptz":
			ok = fourDigits(v.Int() / day)
		}
		if !ok {
			return false
		}
	}
	return true
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// fourDigits reports whether a day has a year from 1 to 9999, as far as the next day.
func fourDigits(days int64) bool {
	const first, last = -719_162, 2_932_896 // 0001-01-01, 9999-12-31
	return days > first && days < last
}

// appendRow writes a row as a caller sends it. names are those of the columns as JSON.
func appendRow(b []byte, columns ir.Schema, names [][]byte, row []rowsql.Value) []byte {
	b = append(b, '{')
	for i, v := range row {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, names[i]...), ':')
		b = appendValue(b, columns[i].Type, v)
	}
	return append(b, '}')
}

func appendValue(b []byte, typ string, v rowsql.Value) []byte {
	if v.Null {
		return append(b, "null"...)
	}
	switch typ {
	case "bool":
		return strconv.AppendBool(b, v.Bool())
	case "uint8", "uint16", "uint32", "uint64":
		return strconv.AppendUint(b, v.Bits, 10)
	case "float32":
		return strconv.AppendFloat(b, float64(v.Float32()), 'g', -1, 32)
	case "float64":
		return strconv.AppendFloat(b, v.Float(), 'g', -1, 64)
	case "string":
		text, _ := json.Marshal(v.Text) // a string is always JSON
		return append(b, text...)
	case "bytes":
		return append(base64.StdEncoding.AppendEncode(append(b, '"'), []byte(v.Text)), '"')
	case "date":
		return time.Unix(v.Int()*86_400, 0).UTC().AppendFormat(b, `"`+time.DateOnly+`"`)
	case "time":
		return time.UnixMicro(v.Int()).UTC().AppendFormat(b, `"15:04:05.000000"`)
	case "timestamp":
		return time.UnixMicro(v.Int()).UTC().AppendFormat(b, `"2006-01-02T15:04:05.000000"`)
	case "timestamptz":
		return time.UnixMicro(v.Int()).UTC().AppendFormat(b, `"2006-01-02T15:04:05.000000Z"`)
	}
	return strconv.AppendInt(b, v.Int(), 10)
}

// equal compares two values bit by bit.
func equal(typ string, a, b rowsql.Value) bool {
	if a == b {
		return true
	}
	if a.Null || b.Null {
		return false
	}
	switch typ {
	case "float64":
		return math.IsNaN(a.Float()) && math.IsNaN(b.Float())
	case "float32":
		return math.IsNaN(float64(a.Float32())) && math.IsNaN(float64(b.Float32()))
	}
	return false
}

// appendKey appends a value so that two values are equal if and only if their bytes are.
func appendKey(b []byte, typ string, v rowsql.Value) []byte {
	switch {
	case v.Null:
		return append(b, 0)
	case typ == "string" || typ == "bytes":
		b = strconv.AppendInt(append(b, 1), int64(len(v.Text)), 10)
		return append(append(b, ':'), v.Text...)
	case equal(typ, v, nan(typ)):
		return append(b, 2)
	}
	b = append(b, 1)
	for i := range 8 {
		b = append(b, byte(v.Bits>>(8*i)))
	}
	return b
}

func nan(typ string) rowsql.Value {
	switch typ {
	case "float64":
		return rowsql.Float(math.NaN())
	case "float32":
		return rowsql.Float32(float32(math.NaN()))
	}
	return rowsql.Null
}
