// Package cron reads schedules of five fields and finds the times at which they fire.
//
// A field is `*`, a number, a range `1-5`, a step `*/15` or `0-30/10`, or a list of these: minute,
// hour, day of the month, month (1-12 or jan-dec) and day of the week (0-7 or sun-sat; 0 and 7 are
// Sunday). If both the day of the month and the day of the week begin with something other than
// `*`, a day has to match one of the two; otherwise it has to match both. This is what the cron of
// POSIX and its descendants do.
//
// A schedule is about the clock on the wall of a time zone, which skips times and repeats others.
// A time that is skipped fires once, at the end of the gap, together with all others in the gap.
// A time that occurs twice fires the first time. So a daily schedule fires once every day, and
// one of every five minutes pauses for an hour when clocks are set back.
//
// github.com/robfig/cron/v3 is the usual library. It has not been maintained since 2020, skips
// what falls into a gap, and does not find the last time before another one, which tells what a
// controller has missed. So this is our own.
package cron

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // images and machines without time zones agree

	"github.com/tenon-ml/tenon/internal/diag"
)

// A Schedule is a set of times of the clock of a time zone.
type Schedule struct {
	minutes, hours, days, months, weekdays uint64 // bit n is set if n matches
	eitherDay                              bool   // the day of the month or that of the week suffices
	zone                                   *time.Location
}

// A field is one of the five.
type field struct {
	name    string
	low     int
	high    int
	names   []string // of the values from low on
	example string
	modulo  int // a higher value means the one that is lower by this
}

var fields = [5]field{
	{name: "minute", high: 59, example: "0"},
	{name: "hour", high: 23, example: "3"},
	{name: "day of the month", low: 1, high: 31, example: "1"},
	{name: "month", low: 1, high: 12, names: []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}, example: "1"},
	{name: "day of the week", high: 7, names: []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}, example: "mon", modulo: 7},
}

// An Error says what is wrong with a schedule or a time zone.
type Error struct {
	Message string
	Hint    string // or ""
	Zone    bool   // it is about the time zone
}

func (e *Error) Error() string { return e.Message }

// locations are the time zones that were read, by name: a controller needs them every few seconds.
var locations sync.Map

func location(name string) (*time.Location, error) {
	if l, ok := locations.Load(name); ok {
		return l.(*time.Location), nil
	}
	l, err := time.LoadLocation(name)
	if err == nil {
		locations.Store(name, l)
	}
	return l, err
}

// Parse reads a schedule such as "0 3 * * mon-fri" of a time zone such as "Europe/Berlin". Its
// errors are of type [Error].
func Parse(text, zone string) (*Schedule, error) {
	loc, err := location(zone)
	if err != nil || zone == "" || zone == "Local" {
		return nil, &Error{fmt.Sprintf("%q is not the name of a time zone", zone), `write a name of the IANA database, such as "UTC" or "Europe/Berlin"`, true}
	}
	parts := strings.Fields(text)
	if len(parts) != len(fields) {
		return nil, &Error{
			fmt.Sprintf("the schedule %q has %d fields instead of five", text, len(parts)),
			`write minute, hour, day of the month, month and day of the week: "0 3 * * *" is every day at 03:00`,
			false,
		}
	}
	s := &Schedule{zone: loc}
	for i, to := range []*uint64{&s.minutes, &s.hours, &s.days, &s.months, &s.weekdays} {
		if *to, err = fields[i].parse(parts[i]); err != nil {
			return nil, err
		}
	}
	s.eitherDay = !strings.HasPrefix(parts[2], "*") && !strings.HasPrefix(parts[4], "*")
	return s, nil
}

func (f field) parse(text string) (set uint64, err error) {
	for item := range strings.SplitSeq(text, ",") {
		span, every, stepped := strings.Cut(item, "/")
		step := 1
		if stepped {
			if step, err = strconv.Atoi(every); err != nil || step < 1 || step > f.high {
				return 0, f.fault(item, fmt.Sprintf("a step is a number from 1 to %d", f.high))
			}
		}
		low, high := f.low, f.high
		if span != "*" {
			first, last, ranged := strings.Cut(span, "-")
			if low, err = f.value(item, first); err != nil {
				return 0, err
			}
			switch {
			case ranged:
				if high, err = f.value(item, last); err != nil {
					return 0, err
				}
			case !stepped:
				high = low
			}
			if low > high {
				return 0, f.fault(item, fmt.Sprintf("a range ascends; write two: %s-%d,%d-%s", first, f.high, f.low, last))
			}
		} else if f.modulo > 0 {
			high = f.low + f.modulo - 1
		}
		for v := low; v <= high; v += step {
			if f.modulo > 0 {
				set |= 1 << (v % f.modulo)
			} else {
				set |= 1 << v
			}
		}
	}
	return set, nil
}

func (f field) value(item, text string) (int, error) {
	if i := slices.Index(f.names, strings.ToLower(text)); i >= 0 {
		return f.low + i, nil
	}
	n, err := strconv.Atoi(text)
	if err == nil && n >= f.low && n <= f.high && text[0] != '+' {
		return n, nil
	}
	hint := fmt.Sprintf("it is a number from %d to %d", f.low, f.high)
	if len(f.names) > 0 {
		hint += fmt.Sprintf(", or %s to %s", f.names[0], f.names[len(f.names)-1])
		if near := diag.Nearest(strings.ToLower(text), f.names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
	}
	return 0, f.fault(item, hint)
}

func (f field) fault(item, hint string) error {
	return &Error{fmt.Sprintf("%q is not the %s of a schedule", item, f.name), hint, false}
}

// searched is for how many days a time is searched. 29 February is on the same day of the week
// again after 40 years at most.
const searched = 41 * 366

// Never reports whether the schedule has no time at all, such as 30 February.
func (s *Schedule) Never() bool { return s.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() }

// Next returns the first time after another one at which the schedule fires, or the zero time if
// it never does.
func (s *Schedule) Next(after time.Time) time.Time { return s.search(after, 1) }

// Prev returns the last time at which the schedule fires that is not after another one, or the
// zero time if it never does.
func (s *Schedule) Prev(at time.Time) time.Time { return s.search(at, -1) }

// search goes through the times of the wall in one direction. The instants of later ones are not
// earlier, so the first instant that is on the right side of at is the nearest.
func (s *Schedule) search(at time.Time, direction int) time.Time {
	// A clock was set by a whole day where the date line was moved.
	y, m, d := at.In(s.zone).AddDate(0, 0, -2*direction).Date()
	day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	for range searched {
		if s.onDay(day) {
			for h := range ordered(s.hours, direction) {
				for m := range ordered(s.minutes, direction) {
					t := s.instant(day.Add(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute))
					if direction > 0 && t.After(at) || direction < 0 && !t.After(at) {
						return t
					}
				}
			}
		}
		day = day.AddDate(0, 0, direction)
	}
	return time.Time{}
}

// ordered yields the members of a set, the lowest first or the highest.
func ordered(set uint64, direction int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for set != 0 {
			n := bits.TrailingZeros64(set)
			if direction < 0 {
				n = 63 - bits.LeadingZeros64(set)
			}
			set &^= 1 << n
			if !yield(n) {
				return
			}
		}
	}
}

func (s *Schedule) onDay(day time.Time) bool {
	has := func(set uint64, n int) bool { return set&(1<<n) != 0 }
	if !has(s.months, int(day.Month())) {
		return false
	}
	inMonth, inWeek := has(s.days, day.Day()), has(s.weekdays, int(day.Weekday()))
	if s.eitherDay {
		return inMonth || inWeek
	}
	return inMonth && inWeek
}

// farthest is more than any time zone is from UTC.
const farthest = 30 * time.Hour

// instant returns when the clock of the zone shows a time, which is given as if it were in UTC:
// the first of several instants, or the end of the gap that skips it.
func (s *Schedule) instant(wall time.Time) time.Time {
	var end time.Time // of the part of the zone's history before
	for at := wall.Add(-farthest); !at.After(wall.Add(farthest)); {
		local := at.In(s.zone)
		_, seconds := local.Zone()
		from, to := local.ZoneBounds()
		t := wall.Add(-time.Duration(seconds) * time.Second)
		switch {
		case !end.IsZero() && t.Before(end): // it is later on the new clock already
			return end
		case to.IsZero() || t.Before(to):
			if from.IsZero() || !t.Before(from) {
				return t
			}
		}
		if to.IsZero() {
			break
		}
		end, at = to.UTC(), to
	}
	return wall // it is not reached: the zone has a time for each instant
}

// LongestGap returns the longest time from one of the next times of a schedule to the one after,
// seen from a fixed date, or 0 if it never fires. It looks at a year, or at a hundred times.
func (s *Schedule) LongestGap() (longest time.Duration) {
	begin := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	t := s.Next(begin)
	for range 100 {
		next := s.Next(t)
		if t.IsZero() || next.IsZero() {
			return 0
		}
		longest = max(longest, next.Sub(t))
		if t = next; t.After(begin.AddDate(1, 0, 0)) {
			break
		}
	}
	return longest
}
