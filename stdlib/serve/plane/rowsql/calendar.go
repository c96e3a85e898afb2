package rowsql

import "math"

// Days count from 1970-01-01, and times are microseconds, as in DuckDB. The greatest
// value of each type, and its negative, are infinity and -infinity.
const (
	microsPerSecond = 1_000_000
	microsPerMinute = 60 * microsPerSecond
	microsPerHour   = 60 * microsPerMinute
	microsPerDay    = 24 * microsPerHour
	endOfDates      = math.MaxInt32
	endOfTimes      = math.MaxInt64
)

func finiteDate(days int64) bool   { return days != endOfDates && days != -endOfDates }
func finiteTime(micros int64) bool { return micros != endOfTimes && micros != -endOfTimes }

// The first and the last day that DuckDB has, in its own check of years.
const (
	firstYear, firstMonth, firstDay = -5877641, 6, 25
	lastYear, lastMonth, lastDay    = 5881580, 7, 10
)

// civil returns the date of a day in the proleptic Gregorian calendar, in which year 0 is
// 1 BC.
func civil(days int64) (year, month, day int64) {
	// Years that begin in March put the leap day last; 400 of them have 146097 days.
	days += 719468
	era := floorDiv(days, 146097)
	of := days - era*146097
	y := (of - of/1460 + of/36524 - of/146096) / 365
	dayOfYear := of - (365*y + y/4 - y/100)
	m := (5*dayOfYear + 2) / 153
	day = dayOfYear - (153*m+2)/5 + 1
	month = m + 3
	if m >= 10 {
		month = m - 9
	}
	year = y + era*400
	if month <= 2 {
		year++
	}
	return year, month, day
}

// daysOf is the inverse of civil.
func daysOf(year, month, day int64) int64 {
	if month <= 2 {
		year--
	}
	era := floorDiv(year, 400)
	y := year - era*400
	m := (month + 9) % 12
	return era*146097 + y*365 + y/4 - y/100 + (153*m+2)/5 + day - 1 - 719468
}

func leapYear(year int64) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

func daysInMonth(year, month int64) int64 {
	switch month {
	case 2:
		if leapYear(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// validDate reports whether DuckDB has the date.
func validDate(year, month, day int64) bool {
	if month < 1 || month > 12 || day < 1 || year < firstYear || year > lastYear {
		return false
	}
	if year == firstYear && (month < firstMonth || month == firstMonth && day < firstDay) {
		return false
	}
	if year == lastYear && (month > lastMonth || month == lastMonth && day > lastDay) {
		return false
	}
	return day <= daysInMonth(year, month)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// split divides a timestamp into its day and the microseconds of the day.
func split(micros int64) (days, time int64) {
	days = floorDiv(micros, microsPerDay)
	return days, micros - days*microsPerDay
}

// join is the inverse of split, if there is such a timestamp.
func joinTime(days, time int64) (int64, bool) {
	micros, ok := mulSigned(days, microsPerDay)
	if !ok {
		// The first day of all is not complete.
		return 0, false
	}
	micros, ok = addSigned0(micros, time)
	return micros, ok && finiteTime(micros)
}

func addSigned0(a, b int64) (int64, bool) {
	s := a + b
	return s, (b >= 0) == (s >= a)
}

// weekday is 1 for Monday to 7 for Sunday.
func weekday(days int64) int64 { return floorMod(days+3, 7) + 1 }

func floorMod(a, b int64) int64 { return a - floorDiv(a, b)*b }

func monday(days int64) int64 { return days - weekday(days) + 1 }

func dayOfYear(days int64) int64 {
	year, _, _ := civil(days)
	return days - daysOf(year, 1, 1) + 1
}

// isoWeek returns the week of ISO 8601 and its year: that of its Thursday.
func isoWeek(days int64) (year, week int64) {
	thursday := monday(days) + 3
	year, _, _ = civil(thursday)
	return year, (thursday-daysOf(year, 1, 1))/7 + 1
}
