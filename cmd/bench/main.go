package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/lang"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt ends it at once
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// A scale is how much is measured.
type scale struct {
	compile, plan []int         // entities
	applied       int           // up to which size a plan's state is made by an apply
	steps         []int         // of one apply
	containers    int           // run two at a time
	jobs          []int         // of a cluster
	few, many     int           // recorded units of a state
	keys          int           // of a table of features
	drift         int           // rows of tables that are compared
	moves, calm   int           // of services, with and without kills
	columns       int           // that a controller measures
	watch         time.Duration // that a controller runs
	loops         int           // that a controller lets decide
	time          time.Duration // for the repetitions of a row
}

var (
	full  = scale{compile: []int{100, 1000, 10_000}, plan: []int{1000, 10_000}, applied: 1000, steps: []int{200, 1000}, containers: 100, jobs: []int{1, 10, 50}, few: 100, many: 100_000, keys: 1_000_000, drift: 1_000_000, moves: 100, calm: 20, columns: 1000, watch: 150 * time.Second, loops: 1000, time: 20 * time.Second}
	quick = scale{compile: []int{100, 1000}, plan: []int{1000}, applied: 100, steps: []int{20, 100}, containers: 10, jobs: []int{1, 10}, few: 100, many: 10_000, keys: 10_000, drift: 10_000, moves: 5, calm: 3, columns: 200, watch: 70 * time.Second, loops: 100, time: 2 * time.Second}
)

// A bench is one run of the program.
type bench struct {
	scale
	dir      string // of everything it makes; removed at the end
	env      []string
	only     *regexp.Regexp
	progress io.Writer
	rows     []tableRow

	tenon, cue, ninja, timer string // programs
	profiled                 string // a tenon that writes profiles, once it is built
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	if len(args) == 3 && args[0] == writerArg {
		return writeBatch(ctx, args[1], args[2], stdout)
	}
	if len(args) == 2 && args[0] == containersArg {
		return runContainers(ctx, args[1], stdout)
	}
	if len(args) == 4 && args[0] == graphArg {
		return runGraph(args[1], args[2], args[3], stdout)
	}
	if len(args) == 3 && args[0] == sdkJobArg {
		return runSDKJob(ctx, args[1], args[2], stdout)
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	var b bench
	f.StringVar(&b.tenon, "tenon", "bin/tenon", "the tenon to measure")
	only := f.String("only", "", "measure the rows whose names match this `REGEXP`, such as 'plan.* 1000$'")
	fast := f.Bool("quick", false, "fewer repetitions, and nothing large: for work on the benchmark itself")
	parent := f.String("dir", "", "make the files in this `FOLDER` (default: that for temporary files)")
	asJSON := f.Bool("json", false, "print JSON")
	asMarkdown := f.Bool("markdown", false, "print Markdown")
	if err := f.Parse(args); err != nil {
		return err
	}
	if b.only, err = regexp.Compile(*only); err != nil {
		return err
	}
	b.scale, b.progress = full, stderr
	if *fast {
		b.scale = quick
	}
	if err := b.find(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(*parent, "tenon-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.RemoveAll(b.dir)) }()
	cueCache := filepath.Join(b.dir, "cue")
	b.env = append(os.Environ(), "CUE_CACHE_DIR="+cueCache, "TENON_CACHE="+b.path("cache"), "TENON_DUCK="+filepath.Join(filepath.Dir(b.tenon), "tenon-duck"), "TENON_SERVE="+filepath.Join(filepath.Dir(b.tenon), "tenon-serve"), "TENON_RUN="+filepath.Join(filepath.Dir(b.tenon), "tenon-run"), "NO_COLOR=1", "TERM=dumb")
	if err := lang.Seed(ctx, cueCache); err != nil {
		return err
	}
	r := benchReport{Machine: b.machine(ctx), Quick: *fast}
	for _, part := range []func(context.Context) error{b.measureCompile, b.measureInfrastructure, b.measureCloud, b.measurePlan, b.measurePromotion, b.measureSteps, b.measureEnvironments, b.measureServing, b.measureGraphs, b.measureEvents, b.measureMoves, b.measureFigures, b.measureFeatures, b.measureDrift, b.measureController, b.measureContainers, b.measureCluster, b.measureWrite} {
		if err := part(ctx); err != nil {
			return cmp.Or(context.Cause(ctx), err)
		}
	}
	r.Rows, r.Machine.LoadAfter = b.rows, load()
	switch {
	case *asJSON:
		return r.json(stdout)
	case *asMarkdown:
		return r.markdown(stdout)
	}
	return r.text(stdout)
}

// find finds the programs.
func (b *bench) find() (err error) {
	if b.tenon, err = filepath.Abs(b.tenon); err != nil {
		return err
	}
	if _, err := os.Stat(b.tenon); err != nil {
		return fmt.Errorf("%w: make build makes it", err)
	}
	for _, p := range []struct {
		name string
		path *string
	}{{"cue", &b.cue}, {"ninja", &b.ninja}, {"time", &b.timer}} {
		if *p.path, err = exec.LookPath(p.name); err != nil {
			return fmt.Errorf("%w: .ci/tools bench installs it", err)
		}
	}
	return nil
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func title(name string, size int) string { return fmt.Sprintf("%s %d", name, size) }

func (b *bench) wants(name string, size int) bool { return b.only.MatchString(title(name, size)) }

func (b *bench) say(name string, size int) { fmt.Fprintf(b.progress, "%s ...\n", title(name, size)) }

// machine says what was measured, with what and where.
func (b *bench) machine(ctx context.Context) machineInfo {
	m := machineInfo{CPU: "unknown", Cores: runtime.NumCPU(), Time: time.Now(), LoadBefore: load()}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if found := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(info); found != nil {
			m.CPU = string(found[1])
		}
	}
	first := func(program string, args ...string) string {
		out, err := exec.CommandContext(ctx, program, args...).Output()
		if err != nil {
			return "unknown"
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return line
	}
	m.Tenon, m.Cue, m.Ninja = first(b.tenon, "version"), first(b.cue, "version"), "ninja "+first(b.ninja, "--version")
	return m
}

// load is how many processes ran or wanted to, in the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	minute, _, _ := strings.Cut(string(text), " ")
	return minute
}
