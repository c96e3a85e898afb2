package rowsql

import (
	"math"
	"slices"
	"strings"
)

// moments are the functions of dates and times.
var moments = slices.Concat(
	parts(),
	[]function{
		{names: "date_part datepart", args: "varchar date", result: "bigint", about: "with a constant part", build: datePart},
		{names: "date_part datepart", args: "varchar timestamp", result: "bigint", about: "with a constant part", build: datePart},
		{names: "date_trunc datetrunc", args: "varchar timestamp", result: "timestamp", about: "with a constant part", build: dateTrunc},
		{names: "date_diff datediff", args: "varchar date date", result: "bigint", about: "with a constant part", build: dateDiff},
		{names: "date_diff datediff", args: "varchar timestamp timestamp", result: "bigint", about: "with a constant part", build: dateDiff},
		{names: "epoch", args: "timestamp", result: "double", build: ofTime(func(t int64) Value { return Float(float64(t) / 1e6) })},
		{names: "epoch_ms", args: "timestamp", result: "bigint", build: ofTime(func(t int64) Value { return Int(t / 1000) })},
		{names: "epoch_us", args: "timestamp", result: "bigint", build: ofTime(func(t int64) Value { return Int(t) })},
		{names: "date_trunc datetrunc", args: "varchar date", result: "timestamp", about: "with a constant part", build: dateTrunc},
		{names: "last_day", args: "date", result: "date", build: lastDayOf},
		{names: "last_day", args: "timestamp", result: "date", build: lastDayOf},
		{names: "dayname", args: "timestamp", result: "varchar", build: ofTime(func(t int64) Value { return String(dayNames[weekday(floorDiv(t, microsPerDay))%7]) })},
		{names: "monthname", args: "timestamp", result: "varchar", build: ofTime(func(t int64) Value { return String(monthNames[month(floorDiv(t, microsPerDay))-1]) })},
		{names: "date_trunc datetrunc", args: "varchar timestamptz", result: "timestamptz", about: "with a constant part", build: dateTrunc},
		{names: "date_part datepart", args: "varchar timestamptz", result: "bigint", about: "with a constant part", build: datePart},
		{names: "date_diff datediff", args: "varchar timestamptz timestamptz", result: "bigint", about: "with a constant part", build: dateDiff},
		{names: "epoch_ms", args: "timestamptz", result: "bigint", build: ofTime(func(t int64) Value { return Int(t / 1000) })},
		{names: "epoch_us", args: "timestamptz", result: "bigint", build: ofTime(func(t int64) Value { return Int(t) })},
		{names: "dayname", args: "date", result: "varchar", build: ofDate(func(d int64) Value { return String(dayNames[weekday(d)%7]) })},
		{names: "monthname", args: "date", result: "varchar", build: ofDate(func(d int64) Value { _, m, _ := civil(d); return String(monthNames[m-1]) })},
		{names: "make_date", args: "bigint bigint bigint", result: "date", build: makeDate},
		{names: "strftime", args: "timestamp varchar", result: "varchar", about: "with a constant format of %Y %m %d %H %M %S %j %y %p %I %a %A %b %B %%", build: strftime},
		{names: "strftime", args: "date varchar", result: "varchar", about: "with a constant format, as above", build: strftime},
		{names: "-", args: "date date", result: "bigint", build: dateMinusDate},
		{names: "+", args: "date integer", result: "date", build: dateShift(1)},
		{names: "-", args: "date integer", result: "date", build: dateShift(-1)},
		{names: "+", args: "timestamp interval", result: "timestamp", build: shift(1)},
		{names: "-", args: "timestamp interval", result: "timestamp", build: shift(-1)},
		{names: "+", args: "date interval", result: "timestamp", build: shift(1)},
		{names: "-", args: "date interval", result: "timestamp", build: shift(-1)},
		{names: "to_years", args: "integer", result: "interval", build: toMonths(12)},
		{names: "to_months", args: "integer", result: "interval", build: toMonths(1)},
		{names: "to_weeks", args: "integer", result: "interval", build: toDays(7)},
		{names: "to_days", args: "integer", result: "interval", build: toDays(1)},
		{names: "to_hours", args: "bigint", result: "interval", build: toMicros(microsPerHour)},
		{names: "to_minutes", args: "bigint", result: "interval", build: toMicros(microsPerMinute)},
		{names: "to_millennia", args: "integer", result: "interval", build: toMonths(12000)},
		{names: "to_centuries", args: "integer", result: "interval", build: toMonths(1200)},
		{names: "to_decades", args: "integer", result: "interval", build: toMonths(120)},
		{names: "to_quarters", args: "integer", result: "interval", build: toMonths(3)},
		{names: "to_seconds", args: "double", result: "interval", build: fromFraction(microsPerSecond)},
		{names: "to_milliseconds", args: "double", result: "interval", build: fromFraction(1000)},
		{names: "to_microseconds", args: "bigint", result: "interval", build: toMicros(1)},
	},
)

var dayNames = []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}
var monthNames = []string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}

// A part is a number of a date, or of its time.
type part struct {
	names string // as a function, and as a constant of date_part
	words string // more names of the constant
	of    func(days, micros int64) int64
}

func year(days int64) int64  { y, _, _ := civil(days); return y }
func month(days int64) int64 { _, m, _ := civil(days); return m }

var dateParts = []part{
	{"year", "years yr yrs y", func(d, _ int64) int64 { return year(d) }},
	{"month", "months mon mons", func(d, _ int64) int64 { return month(d) }},
	{"day dayofmonth", "days d", func(d, _ int64) int64 { _, _, day := civil(d); return day }},
	{"quarter", "quarters", func(d, _ int64) int64 { return (month(d)-1)/3 + 1 }},
	{"decade", "decades dec decs", func(d, _ int64) int64 { return year(d) / 10 }},
	{"century", "centuries cent c", func(d, _ int64) int64 { return centuries(year(d), 100) }},
	{"millennium", "millenniums millennia mil mils", func(d, _ int64) int64 { return centuries(year(d), 1000) }},
	{"dayofweek weekday", "dow", func(d, _ int64) int64 { return weekday(d) % 7 }},
	{"isodow", "", func(d, _ int64) int64 { return weekday(d) }},
	{"dayofyear", "doy", func(d, _ int64) int64 { return dayOfYear(d) }},
}

// weekParts fail in the first year of all, as in DuckDB.
var weekParts = []part{
	{"week weekofyear", "weeks w", func(d, _ int64) int64 { _, w := isoWeek(d); return w }},
	{"isoyear", "", func(d, _ int64) int64 { y, _ := isoWeek(d); return y }},
}

var timeParts = []part{
	{"hour", "hours hr hrs h", func(_, t int64) int64 { return t / microsPerHour }},
	{"minute", "minutes min mins m", func(_, t int64) int64 { return t / microsPerMinute % 60 }},
	{"second", "seconds sec secs s", func(_, t int64) int64 { return t / microsPerSecond % 60 }},
	{"millisecond", "milliseconds ms msec msecs", func(_, t int64) int64 { return t % microsPerMinute / 1000 }},
	{"microsecond", "microseconds us usec usecs", func(_, t int64) int64 { return t % microsPerMinute }},
}

// centuries counts from 1, and from -1 before the year 1.
func centuries(year, of int64) int64 {
	if year > 0 {
		return (year-1)/of + 1
	}
	return year/of - 1
}

// parts are the functions year(x) and so on.
func parts() []function {
	var all []function
	for _, p := range dateParts {
		all = append(all,
			function{names: p.names, args: "date", result: "bigint", build: ofDate(func(d int64) Value { return Int(p.of(d, 0)) })},
			function{names: p.names, args: "timestamp", result: "bigint", build: ofTime(func(t int64) Value { d, t := split(t); return Int(p.of(d, t)) })},
			function{names: p.names, args: "timestamptz", result: "bigint", build: ofTime(func(t int64) Value { d, t := split(t); return Int(p.of(d, t)) })})
	}
	for _, p := range weekParts {
		for _, typ := range []string{"date", "timestamp", "timestamptz"} {
			all = append(all, function{names: p.names, args: typ, result: "bigint", build: func(c *call) (eval, error) { return p.week(c) }})
		}
	}
	for _, p := range timeParts {
		all = append(all,
			function{names: p.names, args: "timestamp", result: "bigint", build: ofTime(func(t int64) Value { d, t := split(t); return Int(p.of(d, t)) })},
			function{names: p.names, args: "timestamptz", result: "bigint", build: ofTime(func(t int64) Value { d, t := split(t); return Int(p.of(d, t)) })},
			function{names: p.names, args: "time", result: "bigint", build: ofOne(func(v Value) Value { return Int(p.of(0, v.Int())) })})
	}
	return all
}

func (p part) week(c *call) (eval, error) {
	ofDay := c.types[len(c.types)-1].class == date
	return c.checkedUnary(func(v Value) (Value, bool) {
		days := v.Int()
		if ofDay && !finiteDate(days) || !ofDay && !finiteTime(days) {
			return Null, true
		}
		if !ofDay {
			days = floorDiv(days, microsPerDay)
		}
		iso, _ := isoWeek(days)
		return Int(p.of(days, 0)), year(days) > firstYear && iso > firstYear
	}, "the year of the date is out of range"), nil
}

// withZone refuses times for which DuckDB's calendar of time zones counts otherwise than
// that of TIMESTAMP, or fails: before the year 1, and in the far future.
func (c *call) withZone(f eval) eval {
	err := c.err("a TIMESTAMP WITH TIME ZONE before the year 1 or after the year 9999 is not computed")
	err.Refused = true
	least, greatest := daysOf(1, 1, 1)*microsPerDay, daysOf(10000, 1, 1)*microsPerDay
	return func(r *Row) Value {
		v := f(r)
		if t := v.Int(); !v.Null && finiteTime(t) && (t < least || t >= greatest) {
			return r.fail(err)
		}
		return v
	}
}

// ofDate is null for infinity.
func ofDate(f func(days int64) Value) func(*call) (eval, error) {
	return ofOne(func(v Value) Value {
		if !finiteDate(v.Int()) {
			return Null
		}
		return f(v.Int())
	})
}

func ofTime(f func(micros int64) Value) func(*call) (eval, error) {
	return ofOne(func(v Value) Value {
		if !finiteTime(v.Int()) {
			return Null
		}
		return f(v.Int())
	})
}

// partOf returns the part that a constant names.
func (c *call) partOf() (part, error) {
	v, err := c.constant(0, "the part of the date")
	if err != nil {
		return part{}, err
	}
	for _, p := range allParts() {
		for name := range strings.FieldsSeq(p.names + " " + p.words) {
			if strings.EqualFold(name, v.Text) {
				return p, nil
			}
		}
	}
	return part{}, refuse(c.At, "the part %q of a date is not supported", v.Text)
}

func allParts() []part { return slices.Concat(dateParts, weekParts, timeParts) }

func datePart(c *call) (eval, error) {
	p, err := c.partOf()
	if err != nil {
		return nil, err
	}
	c.args = c.args[1:]
	switch {
	case strings.HasPrefix(p.names, "week ") || p.names == "isoyear":
		return p.week(c)
	case c.types[1].class == date:
		return ofDate(func(d int64) Value { return Int(p.of(d, 0)) })(c)
	}
	return ofTime(func(t int64) Value { d, t := split(t); return Int(p.of(d, t)) })(c)
}

// dateTrunc rounds down. Infinity stays.
func dateTrunc(c *call) (eval, error) {
	p, err := c.partOf()
	if err != nil {
		return nil, err
	}
	truncate, ok := truncations[strings.Fields(p.names)[0]]
	if !ok {
		return nil, refuse(c.At, "date_trunc to %s is not supported", strings.Fields(p.names)[0])
	}
	c.args = c.args[1:]
	if c.types[1].class == date {
		return c.checkedUnary(func(v Value) (Value, bool) {
			if !finiteDate(v.Int()) {
				return dateToTimestamp(v)
			}
			t, ok := joinTime(truncate(v.Int(), 0))
			return Int(t), ok
		}, "the result of date_trunc is outside of the range of TIMESTAMP"), nil
	}
	return c.checkedUnary(func(v Value) (Value, bool) {
		if !finiteTime(v.Int()) {
			return v, true
		}
		t, ok := joinTime(truncate(split(v.Int())))
		return Int(t), ok
	}, "the result of date_trunc is outside of the range of TIMESTAMP"), nil
}

var truncations = map[string]func(days, micros int64) (int64, int64){
	"year":    func(d, _ int64) (int64, int64) { return daysOf(year(d), 1, 1), 0 },
	"quarter": func(d, _ int64) (int64, int64) { y, m, _ := civil(d); return daysOf(y, (m-1)/3*3+1, 1), 0 },
	"month":   func(d, _ int64) (int64, int64) { y, m, _ := civil(d); return daysOf(y, m, 1), 0 },
	"week":    func(d, _ int64) (int64, int64) { return monday(d), 0 },
	"day":     func(d, _ int64) (int64, int64) { return d, 0 },
	"hour":    func(d, t int64) (int64, int64) { return d, t - t%microsPerHour },
	"minute":  func(d, t int64) (int64, int64) { return d, t - t%microsPerMinute },
	"second":  func(d, t int64) (int64, int64) { return d, t - t%microsPerSecond },
}

// dateDiff counts the bounds of a part between two times.
func dateDiff(c *call) (eval, error) {
	p, err := c.partOf()
	if err != nil {
		return nil, err
	}
	count, ok := counts[strings.Fields(p.names)[0]]
	if !ok {
		return nil, refuse(c.At, "date_diff in %s is not supported", strings.Fields(p.names)[0])
	}
	each := int64(1)
	if strings.HasPrefix(p.names, "week") {
		each = 7 // a week is seven days between two days, not the bound of a week
	}
	c.args = c.args[1:]
	if c.types[1].class == date {
		return c.binaryOf(func(a, b Value) Value {
			if !finiteDate(a.Int()) || !finiteDate(b.Int()) {
				return Null
			}
			return Int((count(b.Int(), 0) - count(a.Int(), 0)) / each)
		}), nil
	}
	return c.binaryOf(func(a, b Value) Value {
		if !finiteTime(a.Int()) || !finiteTime(b.Int()) {
			return Null
		}
		return Int((count(split(b.Int())) - count(split(a.Int()))) / each)
	}), nil
}

// counts number the parts of all time. DuckDB divides quarters towards zero.
var counts = map[string]func(days, micros int64) int64{
	"year":    func(d, _ int64) int64 { return year(d) },
	"quarter": func(d, _ int64) int64 { y, m, _ := civil(d); return (y*12 + m - 1) / 3 },
	"month":   func(d, _ int64) int64 { y, m, _ := civil(d); return y*12 + m },
	"week":    func(d, _ int64) int64 { return d },
	"day":     func(d, _ int64) int64 { return d },
	"hour":    func(d, t int64) int64 { return d*24 + t/microsPerHour },
	"minute":  func(d, t int64) int64 { return d*24*60 + t/microsPerMinute },
	"second":  func(d, t int64) int64 { return d*24*3600 + t/microsPerSecond },
}

func lastDayOf(c *call) (eval, error) {
	ofDay := c.types[0].class == date
	return c.checkedUnary(func(v Value) (Value, bool) {
		days := v.Int()
		if ofDay && !finiteDate(days) || !ofDay && !finiteTime(days) {
			return Null, true
		}
		if !ofDay {
			days = floorDiv(days, microsPerDay)
		}
		y, m, _ := civil(days)
		return Int(daysOf(y, m, daysInMonth(y, m))), validDate(y, m, daysInMonth(y, m))
	}, "the result of last_day is outside of the range of DATE"), nil
}

func makeDate(c *call) (eval, error) {
	y, m, d := c.args[0], c.args[1], c.args[2]
	err := c.err("make_date: there is no such date")
	return func(r *Row) Value {
		year, month, day := y(r), m(r), d(r)
		if year.Null || month.Null || day.Null {
			return Null
		}
		if !validDate(year.Int(), month.Int(), day.Int()) {
			return r.fail(err)
		}
		return Int(daysOf(year.Int(), month.Int(), day.Int()))
	}, nil
}

func dateMinusDate(c *call) (eval, error) {
	return c.binaryOf(func(a, b Value) Value { return Int(a.Int() - b.Int()) }), nil
}

// dateShift adds days. Infinity stays.
func dateShift(sign int64) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		return c.checked(func(a, b Value) (Value, bool) {
			if !finiteDate(a.Int()) {
				return a, true
			}
			d := a.Int() + sign*b.Int()
			return Int(d), d == int64(int32(d)) && finiteDate(d)
		}, "date out of range"), nil
	}
}

// shift adds an interval: months first, in which a day that the month lacks becomes its
// last one, then days, then microseconds.
func shift(sign int64) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		ofDay := c.types[0].class == date
		return c.checked(func(a, b Value) (Value, bool) {
			var days, time int64
			switch {
			case ofDay && !finiteDate(a.Int()):
				if a.Int() > 0 {
					return Int(endOfTimes), true
				}
				return Int(-endOfTimes), true
			case ofDay:
				days = a.Int()
				if _, ok := joinTime(days, 0); !ok {
					return Null, false
				}
			case !finiteTime(a.Int()):
				return a, true
			default:
				days, time = split(a.Int())
			}
			months, more, micros := sign*int64(b.months()), sign*int64(b.days()), sign*b.Int()
			if sign < 0 && (b.months() == math.MinInt32 || b.days() == math.MinInt32 || b.Int() == math.MinInt64) {
				return Null, false
			}
			days, ok := addMonths(days, months)
			days += more + micros/microsPerDay
			time += micros % microsPerDay
			days, time = days+floorDiv(time, microsPerDay), floorMod(time, microsPerDay)
			if !ok || days != int64(int32(days)) || !finiteDate(days) {
				return Null, false
			}
			t, ok := joinTime(days, time)
			return Int(t), ok
		}, "date out of range"), nil
	}
}

func addMonths(days, months int64) (int64, bool) {
	if months == 0 {
		return days, true
	}
	y, m, d := civil(days)
	y, m = y+months/12, m+months%12
	if m > 12 {
		y, m = y+1, m-12
	} else if m <= 0 {
		y, m = y-1, m+12
	}
	d = min(d, daysInMonth(y, m))
	return daysOf(y, m, d), validDate(y, m, d)
}

func toMonths(n int64) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		return c.checkedUnary(func(v Value) (Value, bool) {
			m := v.Int() * n
			return interval(int32(m), 0, 0), m == int64(int32(m))
		}, "interval out of range"), nil
	}
}

func toDays(n int64) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		return c.checkedUnary(func(v Value) (Value, bool) {
			d := v.Int() * n
			return interval(0, int32(d), 0), d == int64(int32(d))
		}, "interval out of range"), nil
	}
}

func toMicros(n int64) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		return c.checkedUnary(func(v Value) (Value, bool) {
			t, ok := mulSigned(v.Int(), n)
			return interval(0, 0, t), ok
		}, "interval out of range"), nil
	}
}

// fromFraction makes microseconds of a number that may have a fraction.
func fromFraction(n float64) func(*call) (eval, error) {
	return func(c *call) (eval, error) {
		return c.checkedUnary(func(v Value) (Value, bool) {
			t, ok := floatToWhole(v.Float()*n, bigint)
			return interval(0, 0, t.Int()), ok
		}, "interval out of range"), nil
	}
}
