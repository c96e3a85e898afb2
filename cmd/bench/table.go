package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A benchReport is what the program prints.
type benchReport struct {
	Machine machineInfo `json:"machine"`
	Quick   bool        `json:"quick,omitempty"`
	Rows    []tableRow  `json:"rows"`
}

// A machineInfo is what was measured, with what and where.
type machineInfo struct {
	Time       time.Time `json:"time"`
	CPU        string    `json:"cpu"`
	Cores      int       `json:"cores"`
	LoadBefore string    `json:"load_before"`
	LoadAfter  string    `json:"load_after"` // with that of the benchmark
	Tenon      string    `json:"tenon"`
	Cue        string    `json:"cue"`
	Ninja      string    `json:"ninja"`
}

// A tableRow compares tenon with something else.
type tableRow struct {
	Case   string  `json:"case"`
	Size   int     `json:"size"`
	Of     string  `json:"of"` // what Size counts
	Tenon  timing  `json:"tenon"`
	Beside string  `json:"beside"`
	Other  *timing `json:"other"`
	Goals  []goal  `json:"goals,omitempty"`
	// Profile holds the top entries, where a goal is missed.
	Profile string `json:"profile,omitempty"`
}

// A timing has the medians of some runs.
type timing struct {
	Wall time.Duration `json:"wall_ns"`
	CPU  time.Duration `json:"cpu_ns"`
	Peak int64         `json:"peak_bytes"` // of the largest process
	Runs int           `json:"runs"`
}

// A goal is met or not.
type goal struct {
	Want string `json:"want"`
	Got  string `json:"got"`
	Met  bool   `json:"met"`
}

func wallGoal(m timing, limit time.Duration) goal {
	return goal{Want: "at most " + short(limit), Got: short(m.Wall), Met: m.Wall <= limit}
}

func ratioGoal(m, other timing, limit float64) goal {
	return goal{Want: "at most " + times(limit), Got: times(ratio(m, other)), Met: ratio(m, other) <= limit}
}

func ratio(m, other timing) float64 { return float64(m.Wall) / float64(max(1, other.Wall)) }

func (r tableRow) missed() bool {
	return slices.ContainsFunc(r.Goals, func(g goal) bool { return !g.Met })
}

func (r tableRow) name() string { return fmt.Sprintf("%s, %s %s", r.Case, thousands(r.Size), r.Of) }

var header = []string{"case", "tenon", "compared with", "ratio", "goal", "met", "CPU time", "peak memory", "runs"}

// cells are the columns of a row. Of two values the first is tenon's.
func (r tableRow) cells() []string {
	var want, missed []string
	for _, g := range r.Goals {
		want = append(want, strings.TrimPrefix(g.Want, "at most "))
		if !g.Met {
			missed = append(missed, g.Got)
		}
	}
	goal, met := "none", ""
	if len(want) > 0 {
		goal, met = strings.Join(want, ", "), "yes"
		if strings.HasPrefix(r.Goals[0].Want, "at most ") {
			goal = "at most " + goal
		}
	}
	if len(missed) > 0 {
		met = "no: " + strings.Join(missed, ", ")
	}
	return []string{
		r.name(), short(r.Tenon.Wall), r.Beside + ": " + short(r.Other.Wall), times(ratio(r.Tenon, *r.Other)), goal, met,
		short(r.Tenon.CPU) + ", " + short(r.Other.CPU), memory(r.Tenon.Peak) + ", " + memory(r.Other.Peak), strconv.Itoa(r.Tenon.Runs),
	}
}

func (r benchReport) table() [][]string {
	lines := [][]string{slices.Clone(header)}
	for _, row := range r.Rows {
		lines = append(lines, row.cells())
	}
	return lines
}

// lead says what the table shows, in lines.
func (r benchReport) lead() []string {
	m := r.Machine
	lines := []string{
		fmt.Sprintf("%s, %d cores, load %s before and %s after, %s.", m.CPU, m.Cores, m.LoadBefore, m.LoadAfter, m.Time.Format(time.DateOnly)),
		fmt.Sprintf("%s, %s, %s.", m.Tenon, m.Cue, m.Ninja),
		"Medians of cold processes, run alternately. Of two values the first is tenon's.",
	}
	if r.Quick {
		lines = append(lines, "This is the quick version: few repetitions, and nothing large.")
	}
	return lines
}

func (r benchReport) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (r benchReport) text(w io.Writer) error {
	var b strings.Builder
	b.WriteString(strings.Join(r.lead(), "\n") + "\n\n")
	lines := r.table()
	width := make([]int, len(header))
	for _, l := range lines {
		for i, c := range l {
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for _, l := range lines {
		for i := range l {
			l[i] += strings.Repeat(" ", width[i]-utf8.RuneCountInString(l[i]))
		}
		b.WriteString(strings.TrimRight(strings.Join(l, "  "), " ") + "\n")
	}
	for _, row := range r.Rows {
		if row.Profile != "" {
			fmt.Fprintf(&b, "\n%s: a goal is missed; the top of the profile:\n%s\n", row.name(), row.Profile)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r benchReport) markdown(w io.Writer) error {
	var b strings.Builder
	b.WriteString(strings.Join(r.lead(), "\n") + "\n\n")
	for i, l := range r.table() {
		b.WriteString("| " + strings.Join(l, " | ") + " |\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(l)) + "|\n")
		}
	}
	for _, row := range r.Rows {
		if row.Profile != "" {
			fmt.Fprintf(&b, "\n%s: a goal is missed; the top of the profile:\n\n```\n%s\n```\n", row.name(), row.Profile)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// short is a duration in three digits.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return digits(float64(d)/float64(time.Microsecond)) + " µs"
	case d < time.Second:
		return digits(float64(d)/float64(time.Millisecond)) + " ms"
	}
	return digits(d.Seconds()) + " s"
}

func memory(n int64) string {
	if n < 1e9 {
		return digits(float64(n)/1e6) + " MB"
	}
	return digits(float64(n)/1e9) + " GB"
}

func times(r float64) string { return digits(r) + "×" }

// digits writes a number with two digits after the point below 10, four below 0.1, and one
// below 100, without zeros at the end.
func digits(v float64) string {
	places := 0
	switch {
	case v < 0.0995:
		places = 4
	case v < 9.995:
		places = 2
	case v < 99.95:
		places = 1
	}
	s := strconv.FormatFloat(v, 'f', places, 64)
	if places > 0 {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// thousands writes 10000 as 10,000.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
