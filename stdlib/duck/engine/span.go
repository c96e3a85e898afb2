package engine

import "fmt"

// spans has, of each type of DuckDB for dates and times, the first value and the end of
// those that exist. In a file a time is a number, and may be any. DuckDB prints others as
// infinity, as another time or not at all; other readers take infinity for a year.
var spans = map[string]struct{ first, end, what string }{
	"DATE":                     {"DATE '5877642-06-25 (BC)'", "DATE 'infinity'", "a finite date"},
	"TIME":                     {"TIME '00:00:00'", "TIME '24:00:00'", "a time of day"},
	"TIMESTAMP":                {"TIMESTAMP '290309-12-22 (BC) 00:00:00'", "TIMESTAMP 'infinity'", "a finite time"},
	"TIMESTAMP WITH TIME ZONE": {"TIMESTAMPTZ '290309-12-22 (BC) 00:00:00+00'", "TIMESTAMPTZ 'infinity'", "a finite time"},
	"TIMESTAMP_NS":             {"TIMESTAMP_NS '1677-09-22 00:00:00'", "TIMESTAMP_NS 'infinity'", "a finite time"},
	"TIME in nanoseconds":      {"TIMESTAMP_NS '1970-01-01 00:00:00'", "TIMESTAMP_NS '1970-01-02 00:00:00'", "a time of day"},
}

// within is the condition that a date or time, the SQL expression v, exists, or "" for
// another type.
func within(v, typ string) string {
	span, ok := spans[typ]
	if !ok {
		return ""
	}
	return fmt.Sprintf("%[1]s >= %[2]s AND %[1]s < %[3]s", v, span.first, span.end)
}

// shownTime is the text of a date or time that may not exist.
func shownTime(v, typ string) string {
	other := fmt.Sprintf("CASE WHEN isfinite(%[1]s) THEN 'a number out of range' ELSE CAST(%[1]s AS VARCHAR) END", v)
	switch typ {
	case "TIME":
		other = fmt.Sprintf("CAST(epoch_us(%s) AS VARCHAR) || ' microseconds'", v)
	case "TIME in nanoseconds":
		other = fmt.Sprintf("CAST(epoch_ns(%s) AS VARCHAR) || ' nanoseconds'", v)
	}
	return fmt.Sprintf("CASE WHEN %s THEN CAST(%s AS VARCHAR) ELSE %s END", within(v, typ), v, other)
}
