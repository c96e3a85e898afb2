package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A figure is what a benchmark of a package prints, with its goal. Where that is about what something
// costs in addition, there is a benchmark without it.
type figure struct {
	name, of      string
	pkg           string // of this module
	bench         string // its function
	with, without string // sub-benchmarks; without may be "", and with too
	unit          string
	scale         time.Duration // of the unit
	goal          time.Duration
}

var figures = []figure{
	{name: "features of a flight in SQL", of: "row", pkg: "./stdlib/serve/plane/rowsql", bench: "BenchmarkFlights", with: "/all", unit: "ns/op", scale: 1, goal: 5 * time.Microsecond},
	{name: "route to a model in another process, p50", of: "request", pkg: "./stdlib/serve/plane/worker", bench: "BenchmarkRoundTrip", unit: "p50-ns", scale: 1, goal: 200 * time.Microsecond},
	{name: "TLS, token, limit and audit log, CPU", of: "request", pkg: "./stdlib/serve/plane", bench: "BenchmarkEdge", with: "/edge", without: "/plain", unit: "us-cpu/op", scale: time.Microsecond, goal: 15 * time.Microsecond},
}

const figureRuns = 5

// measureFigures measures parts of the plane, as benchmarks of their packages.
func (b *bench) measureFigures(ctx context.Context) error {
	for _, f := range figures {
		if !b.wants(f.name, 1) {
			continue
		}
		b.say(f.name, 1)
		out, err := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench=^"+f.bench+"$", "-count="+strconv.Itoa(figureRuns), f.pkg).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", f.bench, err, tail(string(out)))
		}
		with := f.read(string(out), f.with)
		beside, other := "its goal", []sample{{wall: f.goal}}
		if f.without != "" {
			beside, other = "without", f.read(string(out), f.without)
		}
		if len(with) == 0 || len(other) == 0 {
			return fmt.Errorf("%s prints no %s:\n%s", f.bench, f.unit, tail(string(out)))
		}
		took, without := medians(with), medians(other)
		cost := took.Wall
		if f.without != "" {
			cost -= without.Wall
		}
		b.rows = append(b.rows, tableRow{Case: f.name, Size: 1, Of: f.of, Tenon: took, Beside: beside, Other: &without, Goals: []goal{
			{Want: "at most " + short(f.goal), Got: short(cost), Met: cost <= f.goal},
		}})
	}
	return nil
}

// read returns the values of a sub-benchmark in the output of go test.
func (f figure) read(out, sub string) (values []sample) {
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		name := fields[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 { // the number of processors
			name = name[:i]
		}
		if name != f.bench+sub {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil && fields[i+1] == f.unit {
				values = append(values, sample{wall: time.Duration(v * float64(f.scale))})
			}
		}
	}
	return values
}
