package protect_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/protect"
)

// Weekly windows follow the clock of their zone, also where it is set forward (on 2026-03-29 from
// 02:00 to 03:00 in Berlin) or back (on 2026-10-25 from 03:00 to 02:00).
func TestWeeklyFreeze(t *testing.T) {
	weekend := protect.Window{Days: []string{"fri"}, From: "16:00", To: "mon 08:00", Zone: "Europe/Berlin"}
	nights := protect.Window{Days: []string{"sat", "sun"}, From: "22:00", To: "06:00", Zone: "Europe/Berlin"}
	noon := protect.Window{Days: []string{"tue"}, From: "12:00", To: "13:00", Zone: "Europe/Berlin"}
	week := protect.Window{Days: []string{"mon"}, From: "08:00", To: "mon 08:00", Zone: "Europe/Berlin"}
	gap := protect.Window{Days: []string{"sun"}, From: "02:30", To: "04:00", Zone: "Europe/Berlin"}
	upToGap := protect.Window{Days: []string{"sun"}, From: "01:00", To: "02:30", Zone: "Europe/Berlin"}
	for _, c := range []struct {
		name   string
		window protect.Window
		now    string
		until  string // "" if nothing is frozen
	}{
		{"before the weekend", weekend, "2026-07-03T13:59:59Z", ""},
		{"its first moment", weekend, "2026-07-03T14:00:00Z", "Mon 2026-07-06 08:00 CEST"},
		{"in the middle", weekend, "2026-07-05T00:00:00Z", "Mon 2026-07-06 08:00 CEST"},
		{"its last moment", weekend, "2026-07-06T05:59:59Z", "Mon 2026-07-06 08:00 CEST"},
		{"after the weekend", weekend, "2026-07-06T06:00:00Z", ""},
		{"from summer to winter: begin", weekend, "2026-10-23T14:00:00Z", "Mon 2026-10-26 08:00 CET"},
		{"from summer to winter: last moment", weekend, "2026-10-26T06:59:59Z", "Mon 2026-10-26 08:00 CET"},
		{"from summer to winter: after", weekend, "2026-10-26T07:00:00Z", ""},
		{"from winter to summer: begin", weekend, "2026-03-27T15:00:00Z", "Mon 2026-03-30 08:00 CEST"},
		{"from winter to summer: after", weekend, "2026-03-30T06:00:00Z", ""},
		{"over the new year", weekend, "2027-01-02T12:00:00Z", "Mon 2027-01-04 08:00 CET"},
		{"the day before in UTC", protect.Window{Days: []string{"mon"}, From: "00:00", To: "01:00", Zone: "Pacific/Auckland"}, "2026-07-05T12:30:00Z", "Mon 2026-07-06 01:00 NZST"},
		{"a night", nights, "2026-07-05T03:59:59Z", "Sun 2026-07-05 06:00 CEST"},
		{"between nights", nights, "2026-07-05T04:00:00Z", ""},
		{"the second night", nights, "2026-07-06T03:00:00Z", "Mon 2026-07-06 06:00 CEST"},
		{"within a day", noon, "2026-07-07T10:30:00Z", "Tue 2026-07-07 13:00 CEST"},
		{"on another day", noon, "2026-07-08T10:30:00Z", ""},
		{"a whole week", week, "2026-07-07T10:30:00Z", "Mon 2026-07-13 08:00 CEST"},
		{"its last day", week, "2026-07-13T05:59:00Z", "Mon 2026-07-13 08:00 CEST"},
		{"the begin is skipped: before", gap, "2026-03-29T00:59:59Z", ""},
		{"the begin is skipped", gap, "2026-03-29T01:00:00Z", "Sun 2026-03-29 04:00 CEST"},
		{"the begin comes twice", gap, "2026-10-25T00:30:00Z", "Sun 2026-10-25 04:00 CET"},
		{"the end is skipped: last moment", upToGap, "2026-03-29T00:59:59Z", "Sun 2026-03-29 03:00 CEST"},
		{"the end is skipped", upToGap, "2026-03-29T01:00:00Z", ""},
		{"the end comes twice", upToGap, "2026-10-25T01:29:59Z", "Sun 2026-10-25 02:30 CET"},
		{"the end came twice", upToGap, "2026-10-25T01:30:00Z", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, c.now)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join((&protect.Rules{Freeze: []protect.Window{c.window}}).Forbids("ann", now), "")
			want := ""
			if c.until != "" {
				want = "it is frozen until " + c.until
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestWindowsAreChecked(t *testing.T) {
	ok := protect.Window{Days: []string{"fri"}, From: "16:00", To: "mon 08:00", Zone: "Europe/Berlin"}
	if err := ok.Check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(w *protect.Window){
		`"friday" is not a day: use mon`:      func(w *protect.Window) { w.Days = []string{"friday"} },
		"a freeze with days needs a zone":     func(w *protect.Window) { w.Zone = "" },
		`"Berlin" is not a time zone`:         func(w *protect.Window) { w.Zone = "Berlin" },
		`"4pm" is not a time of the day`:      func(w *protect.Window) { w.From = "4pm" },
		`"monday 08:00" is not the end`:       func(w *protect.Window) { w.To = "monday 08:00" },
		`"24:00" is not a time of the day`:    func(w *protect.Window) { w.To = "24:00" },
		"a zone is for a freeze with days":    func(w *protect.Window) { w.Days = nil },
		`"16:00" is not a time such as 2026-`: func(w *protect.Window) { w.Days, w.Zone = nil, "" },
	} {
		w := ok
		change(&w)
		if err := w.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}
