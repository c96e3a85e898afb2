package request

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// Dates and times are read as pydantic reads them, and refused with its words.

var (
	notISO   = fault{"value_error", "Value error, wanted an ISO 8601 string"}
	tooFine  = fault{"value_error", "Value error, wanted no fractions of a microsecond"}
	timeZone = fault{"value_error", "Value error, a time has no zone"}
	naive    = fault{"timezone_naive", "Input should not have timezone info"}
	aware    = fault{"timezone_aware", "Input should have timezone info"}
	inexact  = fault{"date_from_datetime_inexact", "Datetimes provided to dates should have zero time - e.g. be exact dates"}
	yearZero = fault{"datetime_parsing", "Input should be a valid datetime, year 0 is out of range"}
	dateZero = fault{"date_parsing", "Input should be a valid date in the format YYYY-MM-DD, year 0 is out of range"}
)

const (
	tooShort = "input is too short"
	tooLong  = "unexpected extra characters at the end of the input"
	day      = 86_400_000_000 // microseconds
)

// moment reads a string that may be a date or a time.
func (s *scanner) moment() (string, fault) {
	b, ok := s.text()
	if !ok {
		return "", notISO
	}
	return momentText(text(b))
}

// momentText checks a text that may be a date or a time.
func momentText(t string) (string, fault) {
	switch {
	case finer(t):
		return "", tooFine
	case !iso(t):
		return "", notISO
	}
	return t, fault{}
}

// moment sets a date or a time from its text.
func (c *column) moment(t string, v *rowsql.Value) fault {
	switch c.Type {
	case "date":
		return c.date(t, v)
	case "time":
		return timeOfDay(t, v)
	}
	return c.timestamp(t, v)
}

// finer reports whether a fraction has digits below a microsecond.
func finer(t string) bool {
	for i := 0; i < len(t); i++ {
		if t[i] != '.' && t[i] != ',' {
			continue
		}
		n := 0
		for i+1 < len(t) && t[i+1] >= '0' && t[i+1] <= '9' {
			i++
			if n++; n > 6 && t[i] != '0' {
				return true
			}
		}
	}
	return false
}

// iso reports whether a text begins as a date or a time. Pydantic takes other texts for
// numbers of seconds.
func iso(t string) bool {
	var first [5]rune
	n := 0
	for _, r := range t {
		if n == len(first) {
			break
		}
		first[n] = r
		n++
	}
	if n == 5 && first[4] == '-' {
		return true
	}
	digit := first[2] >= '0' && first[2] <= '9'
	return !digit && (first[0] == ':' || first[1] == ':' || first[2] == ':')
}

// within sets a date or a time, unless it is out of the bounds of its column.
func (c *column) within(n int64, v *rowsql.Value) fault {
	switch {
	case n < c.lowInt:
		return tooLow(c.Min.String())
	case n > c.highInt:
		return tooHigh(c.Max.String())
	}
	*v = rowsql.Int(n)
	return fault{}
}

func readDate(s *scanner, c *column, v *rowsql.Value) fault {
	t, wrong := s.moment()
	if wrong.kind != "" {
		return wrong
	}
	return c.date(t, v)
}

func (c *column) date(t string, v *rowsql.Value) fault {
	m, says := parseDate(t)
	switch {
	case says == "" && len(t) > 10:
		says = m.parseDateTime(t)
	}
	switch {
	case says != "":
		return fault{"date_from_datetime_parsing", "Input should be a valid date or datetime, " + says}
	case m.year == 0:
		return dateZero
	case m.micros != 0:
		return inexact
	}
	return c.within(m.days, v)
}

func readTime(s *scanner, _ *column, v *rowsql.Value) fault {
	t, wrong := s.moment()
	if wrong.kind != "" {
		return wrong
	}
	return timeOfDay(t, v)
}

func timeOfDay(t string, v *rowsql.Value) fault {
	var m moment
	says := m.parseTime(t)
	switch {
	case says != "":
		return fault{"time_parsing", "Input should be in a valid time format, " + says}
	case m.zoned:
		return timeZone
	}
	*v = rowsql.Int(m.micros)
	return fault{}
}

func readTimestamp(s *scanner, c *column, v *rowsql.Value) fault {
	t, wrong := s.moment()
	if wrong.kind != "" {
		return wrong
	}
	return c.timestamp(t, v)
}

func (c *column) timestamp(t string, v *rowsql.Value) fault {
	m, says := parseDate(t)
	if says == "" && len(t) > 10 && m.parseDateTime(t) != "" {
		says = tooLong // than the date that it begins with
	}
	zoned := c.Type == "timestamptz"
	switch {
	case says != "":
		return fault{"datetime_from_date_parsing", "Input should be a valid datetime or date, " + says}
	case m.zoned && !zoned:
		return naive
	case !m.zoned && zoned:
		return aware
	case m.year == 0:
		return yearZero
	}
	return c.within(m.days*day+m.micros-m.east*1_000_000, v)
}

// A moment is what a text says.
type moment struct {
	year   int64
	days   int64 // since 1970
	micros int64 // of the day
	zoned  bool
	east   int64 // seconds
}

// two reads a number of two digits.
func two(s string) (int64, bool) {
	if len(s) < 2 || s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9' {
		return 0, false
	}
	return int64(s[0]-'0')*10 + int64(s[1]-'0'), true
}

// parseDate reads the date that a text begins with: YYYY-MM-DD. It says what is wrong.
func parseDate(s string) (m moment, says string) {
	if len(s) < 10 {
		return m, tooShort
	}
	century, ok := two(s)
	rest, ok2 := two(s[2:])
	if !ok || !ok2 {
		return m, "invalid character in year"
	}
	m.year = century*100 + rest
	if s[4] != '-' {
		return m, "invalid date separator, expected `-`"
	}
	month, ok := two(s[5:])
	if !ok {
		return m, "invalid character in month"
	}
	if s[7] != '-' {
		return m, "invalid date separator, expected `-`"
	}
	d, ok := two(s[8:])
	if !ok {
		return m, "invalid character in day"
	}
	if month < 1 || month > 12 {
		return m, "month value is outside expected range of 1-12"
	}
	at := time.Date(int(m.year), time.Month(month), int(d), 0, 0, 0, 0, time.UTC)
	if d < 1 || int64(at.Month()) != month {
		return m, "day value is outside expected range"
	}
	m.days = at.Unix() / 86_400
	return m, ""
}

// parseDateTime reads what follows a date in a text.
func (m *moment) parseDateTime(s string) (says string) {
	switch s[10] {
	case 'T', 't', '_', ' ':
		return m.parseTime(s[11:])
	}
	return "invalid datetime separator, expected `T`, `t`, `_` or space"
}

// parseTime reads HH:MM, HH:MM:SS or HH:MM:SS.ffffff, and a zone after it.
func (m *moment) parseTime(s string) (says string) {
	if len(s) < 5 {
		return tooShort
	}
	hour, ok := two(s)
	if !ok {
		return "invalid character in hour"
	}
	if s[2] != ':' {
		return "invalid time separator, expected `:`"
	}
	minute, ok := two(s[3:])
	if !ok {
		return "invalid character in minute"
	}
	if hour > 23 {
		return "hour value is outside expected range of 0-23"
	}
	if minute > 59 {
		return "minute value is outside expected range of 0-59"
	}
	m.micros = (hour*60 + minute) * 60_000_000
	s = s[5:]
	if strings.HasPrefix(s, ":") {
		second, ok := two(s[1:])
		if !ok {
			return "invalid character in second"
		}
		if second > 59 {
			return "second value is outside expected range of 0-59"
		}
		m.micros += second * 1_000_000
		if s = s[3:]; s != "" && (s[0] == '.' || s[0] == ',') {
			n := 1
			for scale := int64(100_000); n < len(s) && s[n] >= '0' && s[n] <= '9'; n++ {
				m.micros += scale * int64(s[n]-'0')
				scale /= 10
			}
			if n == 1 {
				return "second fraction digits missing after `.`"
			}
			s = s[n:]
		}
	}
	return m.parseZone(s)
}

// parseZone reads nothing, Z, +HH:MM or -HH:MM.
func (m *moment) parseZone(s string) (says string) {
	if s == "" {
		return ""
	}
	m.zoned = true
	sign, size := utf8.DecodeRuneInString(s)
	switch s = s[size:]; sign {
	case 'Z', 'z':
		if s != "" {
			return tooLong
		}
		return ""
	case '+', '-', '−':
	default:
		return "invalid timezone sign"
	}
	hours, ok := two(s)
	if !ok {
		return "invalid timezone hour"
	}
	s = strings.TrimPrefix(s[2:], ":")
	minutes, ok := two(s)
	switch {
	case !ok:
		return "invalid timezone minute"
	case minutes > 59:
		return "timezone minute value is outside expected range of 0-59"
	case hours > 23:
		return "timezone offset must be less than 24 hours"
	case len(s) > 2:
		return tooLong
	}
	m.east = hours*3600 + minutes*60
	if sign != '+' {
		m.east = -m.east
	}
	return ""
}
