package measure

import (
	"fmt"
	"time"

	"github.com/tenon-ml/tenon/internal/duration"
)

// FigureAge is the figure of [Freshness]: the age of the newest data, in seconds.
const FigureAge = "age_seconds"

// Limited is the report of figures that only have limits. rows are what they were computed from.
func Limited(rows int64, figures ...Figure) *Report {
	r := &Report{Rows: rows}
	for _, f := range figures {
		r.judged(f)
	}
	r.Verdict, r.Reason = sum(r.Figures)
	return r
}

// Freshness compares the age of data with the highest one. newest is the time of the newest row, or of the last
// change of the data, or the zero time if there is none; of says what has that time: "at". rows are
// those of the table.
func Freshness(of string, rows int64, newest, now time.Time, most time.Duration) *Report {
	limit := most.Seconds()
	f := Figure{Name: FigureAge, Max: &limit, Reason: "there are no rows with a time"}
	if !newest.IsZero() {
		age := now.Sub(newest).Seconds()
		f.Value, f.Reason = &age, ""
	}
	r := Limited(rows, f)
	if f.Value != nil {
		sign := "<="
		if r.Verdict == Alert {
			sign = ">"
		}
		r.Reason = fmt.Sprintf("the newest %s is of %s: age %s %s %s", of, newest.UTC().Format("2006-01-02 15:04:05 UTC"), duration.Text(now.Sub(newest).Round(time.Second)), sign, duration.Text(most))
	}
	return r
}
