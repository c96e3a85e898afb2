package request

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"time"
	"unsafe"
)

// AppendBytes appends bytes as a request has them: a JSON string of base64.
func AppendBytes(b []byte, s string) []byte {
	b = base64.StdEncoding.AppendEncode(append(b, '"'), unsafe.Slice(unsafe.StringData(s), len(s)))
	return append(b, '"')
}

// AppendMoment appends a date, time, timestamp or timestamptz as a request has it.
func AppendMoment(b []byte, kind string, v int64) []byte {
	b = append(b, '"')
	switch kind {
	case "date":
		b = time.Unix(v*86_400, 0).UTC().AppendFormat(b, "2006-01-02")
	case "time":
		b = time.UnixMicro(v).UTC().AppendFormat(b, "15:04:05.999999")
	case "timestamp":
		b = time.UnixMicro(v).UTC().AppendFormat(b, "2006-01-02T15:04:05.999999")
	default:
		b = time.UnixMicro(v).UTC().AppendFormat(b, "2006-01-02T15:04:05.999999Z")
	}
	return append(b, '"')
}

// AppendFloat appends a float64 as Python shows it, so that clients read a float again.
func AppendFloat(b []byte, x float64) []byte {
	from := len(b)
	if size := math.Abs(x); size != 0 && (size < 1e-4 || size >= 1e16) {
		return strconv.AppendFloat(b, x, 'e', -1, 64)
	}
	b = strconv.AppendFloat(b, x, 'f', -1, 64)
	if bytes.IndexByte(b[from:], '.') < 0 {
		b = append(b, ".0"...)
	}
	return b
}
