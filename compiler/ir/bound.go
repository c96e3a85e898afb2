package ir

import (
	"bytes"
	"encoding/json"
	"math/big"
	"time"
)

// A Bound is the least or the greatest value of a column: a number in decimal notation, or a
// date or a time as [TimeBound] writes it. In JSON, a number is a number and a time is a text.
type Bound string

func (b Bound) String() string { return string(b) }

// MarshalJSON writes a number as it is, and anything else as a text.
func (b Bound) MarshalJSON() ([]byte, error) {
	if json.Valid([]byte(b)) {
		return []byte(b), nil
	}
	return json.Marshal(string(b))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (b *Bound) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte(`"`)) {
		return json.Unmarshal(data, (*string)(b))
	}
	var n json.Number
	err := json.Unmarshal(data, &n)
	*b = Bound(n)
	return err
}

// Compare compares two numbers, or two times. It returns false if they are neither.
func (b Bound) Compare(other Bound) (int, bool) {
	x, ok := new(big.Rat).SetString(string(b))
	y, okToo := new(big.Rat).SetString(string(other))
	if ok && okToo {
		return x.Cmp(y), true
	}
	t, _, ok := ParseTime(string(b))
	u, _, okToo := ParseTime(string(other))
	return t.Compare(u), ok && okToo
}

// ParseTime reads a date or a time in one of the forms that a system may have. Without a zone,
// which zoned tells, it is in UTC.
func ParseTime(text string) (t time.Time, zoned, ok bool) {
	for _, layout := range []string{time.DateOnly, time.DateTime, time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, layout == time.RFC3339, true
		}
	}
	return time.Time{}, false, false
}

// TimeBound writes a date or a time as the bound of a column of a type. It returns false if
// the text is none, or none of that type: a date has no time of day, a timestamp no zone, and
// no time fractions of a microsecond.
func TimeBound(typ, text string) (Bound, bool) {
	t, zoned, ok := ParseTime(text)
	t = t.UTC()
	if !ok || t.Year() < 1 || t.Year() > 9999 || t.Nanosecond()%1000 != 0 {
		return "", false
	}
	layout := "2006-01-02T15:04:05"
	if t.Nanosecond() != 0 {
		layout += ".000000"
	}
	switch {
	case typ == "date" && len(text) == len(time.DateOnly):
		return Bound(t.Format(time.DateOnly)), true
	case typ == "timestamp" && !zoned:
		return Bound(t.Format(layout)), true
	case typ == "timestamptz":
		return Bound(t.Format(layout) + "Z"), true
	}
	return "", false
}
