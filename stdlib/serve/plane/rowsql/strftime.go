package rowsql

import (
	"strings"
	"unsafe"
)

// strftimeSpecs are the letters after % that formats may have.
const strftimeSpecs = "YmdHMSjypIaAbB%"

// strftime writes a time in a constant format. Infinity is written as such.
func strftime(c *call) (eval, error) {
	v, err := c.constant(1, "the format")
	if err != nil {
		return nil, err
	}
	format := v.Text
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		if i++; i == len(format) || strings.IndexByte(strftimeSpecs, format[i]) < 0 {
			return nil, refuse(c.At, "strftime: the format %q has a part that is not supported: serving implements %%Y %%m %%d %%H %%M %%S %%j %%y %%p %%I %%a %%A %%b %%B and %%%%", format)
		}
	}
	ofDay := c.types[0].class == date
	arg := c.args[0]
	return func(r *Row) Value {
		v := arg(r)
		if v.Null {
			return v
		}
		days, time := v.Int(), int64(0)
		if !ofDay {
			if !finiteTime(days) {
				return String(infinite(days))
			}
			days, time = split(days)
		} else if !finiteDate(days) {
			return String(infinite(days))
		}
		y, m, d := civil(days)
		b := make([]byte, 0, len(format)+8)
		for i := 0; i < len(format); i++ {
			if format[i] != '%' {
				b = append(b, format[i])
				continue
			}
			i++
			b = appendSpec(b, format[i], days, y, m, d, time)
		}
		return String(unsafe.String(unsafe.SliceData(b), len(b)))
	}, nil
}

func infinite(v int64) string {
	if v < 0 {
		return "-infinity"
	}
	return "infinity"
}

func appendSpec(b []byte, spec byte, days, y, m, d, time int64) []byte {
	hour := time / microsPerHour
	switch spec {
	case 'Y':
		if y >= 0 {
			return padded(b, y, 4)
		}
		return padded(append(b, '-'), -y, 0)
	case 'y':
		return padded(b, max(y, -y)%100, 2)
	case 'm':
		return padded(b, m, 2)
	case 'd':
		return padded(b, d, 2)
	case 'H':
		return padded(b, hour, 2)
	case 'I':
		return padded(b, (hour+11)%12+1, 2)
	case 'p':
		if hour < 12 {
			return append(b, "AM"...)
		}
		return append(b, "PM"...)
	case 'M':
		return padded(b, time/microsPerMinute%60, 2)
	case 'S':
		return padded(b, time/microsPerSecond%60, 2)
	case 'j':
		return padded(b, dayOfYear(days), 3)
	case 'a':
		return append(b, dayNames[weekday(days)%7][:3]...)
	case 'A':
		return append(b, dayNames[weekday(days)%7]...)
	case 'b':
		return append(b, monthNames[m-1][:3]...)
	case 'B':
		return append(b, monthNames[m-1]...)
	}
	return append(b, spec)
}

// padded appends a number with zeros before it.
func padded(b []byte, n int64, width int) []byte {
	var digits [20]byte
	i := len(digits)
	for n > 0 || len(digits)-i < width {
		i--
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(b, digits[i:]...)
}
