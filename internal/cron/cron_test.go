package cron_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/internal/cron"
)

func parse(t interface {
	Helper()
	Fatal(...any)
}, text, zone string) *cron.Schedule {
	t.Helper()
	s, err := cron.Parse(text, zone)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const layout = "Mon 2006-01-02 15:04 MST"

func TestNext(t *testing.T) {
	for _, c := range []struct{ schedule, zone, after, want string }{
		{"0 3 * * *", "UTC", "2026-01-31T03:00:00Z", "Sun 2026-02-01 03:00 UTC"},
		{"*/15 * * * *", "UTC", "2026-01-31T03:01:00Z", "Sat 2026-01-31 03:15 UTC"},
		{"0 9-17/4 * * mon-fri", "UTC", "2026-01-30T17:00:00Z", "Mon 2026-02-02 09:00 UTC"},
		{"0 0 1,15 * *", "UTC", "2026-01-02T00:00:00Z", "Thu 2026-01-15 00:00 UTC"},
		{"0 0 13 * fri", "UTC", "2026-01-01T00:00:00Z", "Fri 2026-01-02 00:00 UTC"},          // a Friday, or the 13th
		{"0 0 */1 * fri", "UTC", "2026-01-03T00:00:00Z", "Fri 2026-01-09 00:00 UTC"},         // every day, if it is a Friday
		{"0 0 29 feb *", "UTC", "2096-03-01T00:00:00Z", "Fri 2104-02-29 00:00 UTC"},          // 2100 has none
		{"0 0 * * 7", "UTC", "2026-01-31T00:00:00Z", "Sun 2026-02-01 00:00 UTC"},             // 0 and 7 are Sunday
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "Sun 2026-03-29 03:00 CEST"}, // 02:30 is skipped
		{"30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "Mon 2026-03-30 02:30 CEST"}, // once
		{"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "Sun 2026-10-25 02:30 CEST"}, // it occurs twice
		{"30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "Mon 2026-10-26 02:30 CET"},  // once
		{"*/30 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "Sun 2026-10-25 03:00 CET"},
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "Sun 2026-10-04 02:30 +11"}, // by half an hour
		{"0 12 30 12 *", "Pacific/Apia", "2011-12-29T12:00:00Z", "Sat 2011-12-31 00:00 +14"},      // the day did not exist
	} {
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		s := parse(t, c.schedule, c.zone)
		loc, _ := time.LoadLocation(c.zone)
		next := s.Next(after)
		if got := next.In(loc).Format(layout); got != c.want {
			t.Errorf("%s in %s after %s: %s, want %s", c.schedule, c.zone, c.after, got, c.want)
		}
		if prev := s.Prev(next); !prev.Equal(next) {
			t.Errorf("%s in %s: the last time up to %s is %s", c.schedule, c.zone, next, prev)
		}
	}
}

func TestNever(t *testing.T) {
	for text, want := range map[string]bool{
		"0 0 30 2 *": true, "0 0 31 4,6,9,11 *": true, "0 0 29 2 *": false, "0 0 30 2 mon": false, "0 0 */31 2 mon": false,
	} {
		s := parse(t, text, "UTC")
		if got := s.Never(); got != want {
			t.Errorf("%s never fires: %t", text, got)
		}
		if want && (!s.Prev(time.Now()).IsZero() || s.LongestGap() != 0) {
			t.Errorf("%s never fires, but did so on %s", text, s.Prev(time.Now()))
		}
	}
}

func TestLongestGap(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0 3 * * *": 24 * time.Hour, "*/5 * * * *": 5 * time.Minute, "0 9 * * mon-fri": 72 * time.Hour, "0 0 1 * *": 31 * 24 * time.Hour,
		"0 0 1 1 *": 365 * 24 * time.Hour,
	} {
		if got := parse(t, text, "UTC").LongestGap(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ schedule, zone, want, hint string }{
		{"0 3 * *", "UTC", "has 4 fields instead of five", "0 3 * * *"},
		{"60 3 * * *", "UTC", `"60" is not the minute`, "from 0 to 59"},
		{"0 3 0 * *", "UTC", `"0" is not the day of the month`, "from 1 to 31"},
		{"0 3 * janu *", "UTC", `"janu" is not the month`, `did you mean "jan"?`},
		{"0 3 * * 8", "UTC", `"8" is not the day of the week`, "from 0 to 7"},
		{"0 3 * * fri-mon", "UTC", `"fri-mon" is not the day of the week`, "fri-7,0-mon"},
		{"*/0 3 * * *", "UTC", `"*/0" is not the minute`, "a step"},
		{"+5 3 * * *", "UTC", `"+5" is not the minute`, ""},
		{"5, 3 * * *", "UTC", `"" is not the minute`, ""},
		{"0 3 * * *", "Europe/Berln", `"Europe/Berln" is not the name of a time zone`, "IANA"},
		{"0 3 * * *", "Local", `"Local" is not the name of a time zone`, ""},
	} {
		_, err := cron.Parse(c.schedule, c.zone)
		var e *cron.Error
		if !errors.As(err, &e) || !strings.Contains(e.Message, c.want) || !strings.Contains(e.Hint, c.hint) {
			t.Errorf("%q in %q: %+v, want %q and the hint %q", c.schedule, c.zone, err, c.want, c.hint)
		}
	}
}

// fires lists by the definition the whole minutes after begin at which a schedule fires: the wall
// shows a matching time that it has not shown before, or has skipped one just now.
func fires(matches func(wall time.Time) bool, begin time.Time, minutes int, zone *time.Location) (all []time.Time) {
	shown := map[time.Time]bool{}
	var before time.Time
	for n := -26 * 60; n <= minutes; n++ {
		at := begin.Add(time.Duration(n) * time.Minute)
		l := at.In(zone)
		now := time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
		fire := !shown[now] && matches(now)
		for skipped := before.Add(time.Minute); !before.IsZero() && skipped.Before(now); skipped = skipped.Add(time.Minute) {
			fire = fire || matches(skipped)
		}
		if fire && n > 0 {
			all = append(all, at)
		}
		shown[now], before = true, now
	}
	return all
}

// Next and Prev find what a walk over all minutes finds.
func TestEveryMinute(t *testing.T) {
	changes := []struct{ zone, at string }{ // where the clock of a zone changes, and where nothing does
		{"Europe/Berlin", "2026-03-29T01:00:00Z"}, {"Europe/Berlin", "2026-10-25T01:00:00Z"},
		{"America/New_York", "2026-03-08T07:00:00Z"}, {"America/New_York", "2026-11-01T06:00:00Z"},
		{"Australia/Lord_Howe", "2026-10-03T15:30:00Z"}, {"Australia/Lord_Howe", "2026-04-04T15:00:00Z"},
		{"Pacific/Apia", "2011-12-30T10:00:00Z"}, {"America/Sao_Paulo", "2018-11-04T03:00:00Z"}, {"UTC", "2024-02-29T00:00:00Z"},
	}
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(changes).Draw(t, "change")
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		around, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		begin := around.Add(time.Duration(rapid.IntRange(-180, 60).Draw(t, "minutes")) * time.Minute)
		some := func(name string, low, high int) (string, func(int) bool) {
			switch rapid.IntRange(0, 2).Draw(t, name) {
			case 0:
				return "*", func(int) bool { return true }
			case 1:
				step := rapid.IntRange(1, high).Draw(t, name+" step")
				return fmt.Sprintf("*/%d", step), func(n int) bool { return (n-low)%step == 0 }
			}
			a := rapid.IntRange(low, high).Draw(t, name+" from")
			b := rapid.IntRange(a, high).Draw(t, name+" to")
			return fmt.Sprintf("%d-%d", a, b), func(n int) bool { return n >= a && n <= b }
		}
		minute, isMinute := some("minute", 0, 59)
		hour, isHour := some("hour", 0, 23)
		day, isDay := some("day", 1, 31)
		weekday, isWeekday := some("weekday", 0, 6)
		matches := func(w time.Time) bool {
			days := isDay(w.Day()) && isWeekday(int(w.Weekday()))
			if !strings.HasPrefix(day, "*") && !strings.HasPrefix(weekday, "*") {
				days = isDay(w.Day()) || isWeekday(int(w.Weekday()))
			}
			return isMinute(w.Minute()) && isHour(w.Hour()) && days
		}
		text := strings.Join([]string{minute, hour, day, "*", weekday}, " ")
		s := parse(t, text, c.zone)
		const minutes = 300
		next, prev := s.Next(begin), s.Prev(begin.Add(minutes*time.Minute))
		all := fires(matches, begin, minutes, zone)
		if len(all) == 0 {
			if !next.IsZero() && next.Before(begin.Add((minutes+1)*time.Minute)) || prev.After(begin) {
				t.Fatalf("%s in %s after %s: next %s, prev %s, but it does not fire", text, c.zone, begin, next, prev)
			}
			return
		}
		first, last := all[0], all[len(all)-1]
		if !next.Equal(first) || !prev.Equal(last) {
			t.Fatalf("%s in %s after %s: next %s, want %s; prev %s, want %s", text, c.zone, begin, next, first, prev, last)
		}
	})
}
