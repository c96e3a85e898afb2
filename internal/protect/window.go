package protect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // images and machines without time zones judge alike
)

// A Window is a time in which nothing may change: from From on, until before To. Without days, both
// are times as in RFC 3339. With days, the window begins on each of these days, every week, at the
// time From of the clock in Zone, and lasts until the clock shows To for the next time.
type Window struct {
	Days   []string `json:"days,omitempty"` // "mon" to "sun"
	From   string   `json:"from"`           // with days: "16:00"
	To     string   `json:"to"`             // with days: "08:00", or "mon 08:00"
	Zone   string   `json:"zone,omitempty"` // with days: "Europe/Berlin"
	Reason string   `json:"reason,omitempty"`
}

// weekdays are the names of days, as [time.Weekday] counts them.
var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// Check returns an error unless the window says when it begins and ends.
func (w Window) Check() error {
	_, err := w.frozen(time.Time{})
	return err
}

func (w Window) String() string {
	if len(w.Days) == 0 {
		return fmt.Sprintf("from %s until %s", w.From, w.To)
	}
	return fmt.Sprintf("each %s from %s until %s, %s", strings.Join(w.Days, ", "), w.From, w.To, w.Zone)
}

// frozen returns the end of the window if a time is in it, as people read it, or "".
func (w Window) frozen(now time.Time) (until string, err error) {
	if len(w.Days) > 0 {
		return w.frozenWeekly(now)
	}
	if w.Zone != "" {
		return "", errors.New("a zone is for a freeze with days: times without days have a zone of their own")
	}
	var ends [2]time.Time
	for i, text := range []string{w.From, w.To} {
		if ends[i], err = time.Parse(time.RFC3339, text); err != nil {
			return "", fmt.Errorf("%q is not a time such as 2026-12-24T00:00:00Z", text)
		}
	}
	switch {
	case !ends[0].Before(ends[1]):
		return "", fmt.Errorf("a freeze ends after it begins, but %s is not after %s", w.To, w.From)
	case now.Before(ends[0]) || !now.Before(ends[1]):
		return "", nil
	}
	return w.To, nil
}

// frozenWeekly is frozen for a window with days.
func (w Window) frozenWeekly(now time.Time) (until string, err error) {
	if w.Zone == "" || w.Zone == "Local" {
		return "", errors.New(`a freeze with days needs a zone, such as zone: "Europe/Berlin"`)
	}
	zone, err := time.LoadLocation(w.Zone)
	if err != nil {
		return "", fmt.Errorf("%q is not a time zone such as Europe/Berlin", w.Zone)
	}
	for _, day := range w.Days {
		if !slices.Contains(weekdays, day) {
			return "", fmt.Errorf("%q is not a day: use mon, tue, wed, thu, fri, sat or sun", day)
		}
	}
	from, err := clockTime(w.From)
	if err != nil {
		return "", err
	}
	last, clock := -1, w.To // the day of the end, or -1 for the next time
	if day, rest, ok := strings.Cut(w.To, " "); ok {
		if last, clock = slices.Index(weekdays, day), rest; last < 0 {
			return "", fmt.Errorf(`%q is not the end of a freeze with days: write a time such as "08:00", or a day and a time such as "mon 08:00"`, w.To)
		}
	}
	to, err := clockTime(clock)
	if err != nil {
		return "", err
	}
	y, m, d := now.In(zone).Date()
	for back := range 8 { // a window is at most a week long
		begin := time.Date(y, m, d-back, 0, 0, 0, 0, time.UTC)
		if !slices.Contains(w.Days, weekdays[begin.Weekday()]) {
			continue
		}
		days := 0
		if last >= 0 {
			days = (last - int(begin.Weekday()) + 7) % 7
		}
		if days == 0 && to <= from {
			days = 1
			if last >= 0 {
				days = 7
			}
		}
		end := instant(begin.AddDate(0, 0, days).Add(to), zone, true)
		if !now.Before(instant(begin.Add(from), zone, false)) && now.Before(end) {
			return end.In(zone).Format("Mon 2006-01-02 15:04 MST"), nil
		}
	}
	return "", nil
}

// clockTime reads a time of the day, such as "16:00".
func clockTime(text string) (time.Duration, error) {
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf(`%q is not a time of the day such as "16:00"`, text)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}

// instant returns when the clock of a zone shows a time, which is given as one in UTC. If the clock
// is set back and shows it twice, this is the first or the last of them. If it is set forward and
// never shows it, this is the moment of the change.
func instant(clock time.Time, zone *time.Location, last bool) time.Time {
	at := func(near time.Time) time.Time {
		_, offset := near.In(zone).Zone()
		return clock.Add(-time.Duration(offset) * time.Second)
	}
	shows := func(t time.Time) bool {
		_, offset := t.In(zone).Zone()
		return t.Add(time.Duration(offset) * time.Second).Equal(clock)
	}
	before, after := at(clock.Add(-24*time.Hour)), at(clock.Add(24*time.Hour)) // with the offsets around a change
	switch {
	case shows(before) && (!last || !shows(after)):
		return before
	case shows(after):
		return after
	}
	change, _ := before.In(zone).ZoneBounds()
	return change
}
