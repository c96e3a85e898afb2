package examples_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A loop over the flights of the last quarter of 2013: with recorded versions of the model, and with
// trainings on what was known at each moment. Nothing is recorded of it.
func TestLoopsAreSimulatedOnFlights(t *testing.T) {
	s := newSystem(t, "testdata/simulation")
	script, err := os.ReadFile("flights/nycflights.py")
	if err != nil {
		t.Fatal(err)
	}
	s.write("nycflights.py", string(script))
	s.edit("system.cue", "8080", fmt.Sprint(freePort(t)))
	s.must("apply", "--yes")
	history := s.must("history", "--json")

	simulate := func(to string, more ...string) string {
		return s.must(append([]string{"simulate", "--from", "2013-10-01", "--to", to, "--requests", "features.departures"}, more...)...)
	}
	s.golden("recorded.txt", simulate("2013-11-12"))

	// A split at a fixed time would train the same model each time.
	s.edit("system.cue", `split.#ByTime & {column: "time_hour", after: "2013-09-01"}`, "split.#Random & {fraction: 0.2}")
	s.golden("trained.txt", simulate("2013-12-31", "--train"))

	if now := s.must("history", "--json"); now != history {
		t.Errorf("the history has changed:\n%s", now)
	}
	contains(t, s.must("monitor", "show", "truth"), "It has not been measured")
	if loops := s.must("loops"); !idle.MatchString(loops) {
		t.Errorf("the loop has a record:\n%s", loops)
	}
}

var (
	idle     = regexp.MustCompile(`(?m)^loops/late +models/late +- +waits `)
	progress = regexp.MustCompile(`(?m)^(models/late answers|training models/late|making the Python).*\n`)
	measured = regexp.MustCompile(`(?m)^(training (?:took|cost) .*\S) {2,}\S.*$`)
)

// repeatable is what a simulation prints, without how long trainings took on this machine.
func repeatable(text string) string {
	text = progress.ReplaceAllString(text, "")
	return measured.ReplaceAllString(text, "$1  ...")
}

// golden compares a report with a file, which TENON_UPDATE=1 writes.
func (s *system) golden(file, text string) {
	s.t.Helper()
	path := filepath.Join("testdata", "simulation", "want", file)
	got := repeatable(text)
	if os.Getenv("TENON_UPDATE") != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if got != string(want) {
		s.t.Errorf("%s:\n%s\nwant:\n%s", file, got, strings.TrimSpace(string(want)))
	}
}
