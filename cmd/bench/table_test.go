package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var report = benchReport{
	Machine: machineInfo{Time: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), CPU: "Abacus", Cores: 2, LoadBefore: "0.10", LoadAfter: "1.20", Tenon: "tenon 1", Cue: "cue 2", Ninja: "ninja 3"},
	Rows: []tableRow{
		row("compile", 100, timing{Wall: 1200 * time.Millisecond, CPU: time.Second, Peak: 120e6, Runs: 9}, timing{Wall: time.Second, CPU: 900 * time.Millisecond, Peak: 60e6}),
		row("compile", 10_000, timing{Wall: 40 * time.Second, CPU: 50 * time.Second, Peak: 4.5e9, Runs: 1}, timing{Wall: 20 * time.Second, CPU: 22 * time.Second, Peak: 3e9}),
		{Case: "plan, changed", Size: 1000, Of: "units", Tenon: timing{Wall: 45600 * time.Microsecond, CPU: 999 * time.Microsecond, Peak: 5e6, Runs: 25},
			Beside: "ninja -n", Other: &timing{Wall: 9 * time.Millisecond, CPU: 8 * time.Millisecond, Peak: 5e6}},
	},
}

func row(name string, size int, tenon, other timing) tableRow {
	r := tableRow{Case: name, Size: size, Of: "entities", Tenon: tenon, Beside: "cue vet -c", Other: &other,
		Goals: []goal{wallGoal(tenon, 2*time.Second), ratioGoal(tenon, other, 1.25)}}
	if r.missed() {
		r.Profile = "flat\n40s"
	}
	return r
}

func TestText(t *testing.T) {
	const want = `
Abacus, 2 cores, load 0.10 before and 1.20 after, 2026-01-31.
tenon 1, cue 2, ninja 3.
Medians of cold processes, run alternately. Of two values the first is tenon's.

case                        tenon    compared with     ratio  goal                met          CPU time        peak memory     runs
compile, 100 entities       1.2 s    cue vet -c: 1 s   1.2×   at most 2 s, 1.25×  yes          1 s, 900 ms     120 MB, 60 MB   9
compile, 10,000 entities    40 s     cue vet -c: 20 s  2×     at most 2 s, 1.25×  no: 40 s, 2×  50 s, 22 s      4.5 GB, 3 GB    1
plan, changed, 1,000 units  45.6 ms  ninja -n: 9 ms    5.07×  none                             999 µs, 8 ms    5 MB, 5 MB      25

compile, 10,000 entities: a goal is missed; the top of the profile:
flat
40s
`
	var b strings.Builder
	ok(t, report.text(&b))
	// How wide the columns are is left to the eye.
	if diff := cmp.Diff(squeeze(want[1:]), squeeze(b.String())); diff != "" {
		t.Error(diff)
	}
}

func TestMarkdown(t *testing.T) {
	const want = `
Abacus, 2 cores, load 0.10 before and 1.20 after, 2026-01-31.
tenon 1, cue 2, ninja 3.
Medians of cold processes, run alternately. Of two values the first is tenon's.
This is the quick version: few repetitions, and nothing large.

| case | tenon | compared with | ratio | goal | met | CPU time | peak memory | runs |
|---|---|---|---|---|---|---|---|---|
| compile, 10,000 entities | 40 s | cue vet -c: 20 s | 2× | at most 2 s, 1.25× | no: 40 s, 2× | 50 s, 22 s | 4.5 GB, 3 GB | 1 |

compile, 10,000 entities: a goal is missed; the top of the profile:

~~~
flat
40s
~~~
`
	r := report
	r.Quick, r.Rows = true, r.Rows[1:2]
	var b strings.Builder
	ok(t, r.markdown(&b))
	if diff := cmp.Diff(want[1:], strings.ReplaceAll(b.String(), "```", "~~~")); diff != "" {
		t.Error(diff)
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 µs", 1500: "1.5 µs", 999_999: "1000 µs", 8_349_000: "8.35 ms", 50 * time.Millisecond: "50 ms", 65*time.Second + 660*time.Millisecond: "65.7 s",
	} {
		if got := short(d); got != want {
			t.Errorf("%d ns is %q, want %q", d, got, want)
		}
	}
}

// Of pprof's output, the table stays, and how much of the time it is of.
func TestEntries(t *testing.T) {
	const out = `File: tenon
Time: 2026-01-31 12:00:00 UTC
Duration: 2s, Total samples = 1s (50%)
Showing top 1 nodes out of 9
      flat  flat%   sum%        cum   cum%
      1s   100%   100%      1s   100%  github.com/tenon-ml/tenon/lang.Load
`
	const want = `Duration: 2s, Total samples = 1s (50%)
      flat  flat%   sum%        cum   cum%
      1s   100%   100%      1s   100%  lang.Load`
	if got := entries(out); got != want {
		t.Errorf("the entries are\n%s", got)
	}
}

func squeeze(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.Join(strings.Fields(l), " ")
	}
	return strings.Join(lines, "\n")
}
