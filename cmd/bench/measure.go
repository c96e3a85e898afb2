package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A command is what is run and measured, again and again.
type command struct {
	dir  string
	args []string // the program first
	env  []string // in addition to the bench's own
	// prepare makes the run like the one before. It is not measured.
	prepare func() error
	// warm says that a run profits from one before by the same program, and that
	// this is meant to be so.
	warm bool
	// check looks at the output: a run that did something else does not count.
	check func(out string) error
	// took reads the time off the output, where it is not that of the process.
	took func(out string) (time.Duration, error)
}

// A sample is one run of a command.
type sample struct {
	wall, cpu time.Duration
	peak      int64
	out       string
}

// run runs a command once.
//
// It is started by time(1), which is small: what the kernel counts as the peak
// memory of a process holds that of the process which started it.
func (b *bench) run(ctx context.Context, c command) (s sample, err error) {
	if c.prepare != nil {
		if err := c.prepare(); err != nil {
			return s, err
		}
	}
	out, err := os.Create(b.path("out"))
	if err != nil {
		return s, err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, b.timer, slices.Concat([]string{"-q", "-f", "%M", "-o", b.path("peak")}, c.args)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, slices.Concat(b.env, c.env), out, out
	// A group of its own, so that an interrupt reaches what time(1) has started,
	// once.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var end *time.Timer
	cmd.Cancel = func() error {
		end = time.AfterFunc(grace, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	}
	start := time.Now()
	failed := cmd.Run()
	s.wall = time.Since(start)
	if end != nil {
		end.Stop()
	}
	if ctx.Err() != nil {
		return s, context.Cause(ctx)
	}
	text, err := os.ReadFile(b.path("out"))
	if err != nil {
		return s, err
	}
	s.out = string(text)
	if failed != nil {
		return s, &failure{strings.Join(c.args, " "), failed, tail(s.out)}
	}
	if c.check != nil {
		if err := c.check(s.out); err != nil {
			return s, &failure{strings.Join(c.args, " "), err, tail(s.out)}
		}
	}
	if c.took != nil {
		if s.wall, err = c.took(s.out); err != nil {
			return s, err
		}
	}
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	s.peak, err = readPeak(b.path("peak"))
	return s, err
}

// grace is how long what is interrupted may go on: a compilation does not look
// for interrupts.
const grace = 5 * time.Second

// readPeak reads what time(1) wrote: kilobytes.
func readPeak(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	kb, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return kb << 10, err
}

// A failure is a command that did not do what is measured.
type failure struct {
	command string
	err     error
	output  string
}

func (f *failure) Error() string { return fmt.Sprintf("%s: %v\n%s", f.command, f.err, f.output) }
func (f *failure) Unwrap() error { return f.err }

func tail(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// has is a check that the output contains a text.
func has(text string) func(string) error {
	return func(out string) error {
		if !strings.Contains(out, text) {
			return fmt.Errorf("the output does not say %q", text)
		}
		return nil
	}
}

// hasTimes is a check that the output contains a text a number of times.
func hasTimes(text string, n int) func(string) error {
	return func(out string) error {
		if got := strings.Count(out, text); got != n {
			return fmt.Errorf("the output says %q %d times, want %d", text, got, n)
		}
		return nil
	}
}

// silent is a check that there is no output.
func silent(out string) error {
	if out != "" {
		return errors.New("it says something")
	}
	return nil
}

// maxRuns is how often the quickest commands are run.
const maxRuns = 25

// leastRuns is how often commands on so many entities are run at least. The
// large ones take minutes.
func leastRuns(n int) int {
	if n > 1000 {
		return 1
	}
	return 3
}

// versus runs two commands alternately, at least so many times each and for as
// long as a row may take, and returns the medians.
func (b *bench) versus(ctx context.Context, least int, one, other command) (m, n timing, err error) {
	var ones, others []sample
	start := time.Now()
	for len(ones) < least || len(ones) < maxRuns && time.Since(start) < b.time {
		s, err := b.run(ctx, one)
		if err != nil {
			return m, n, err
		}
		o, err := b.run(ctx, other)
		if err != nil {
			return m, n, err
		}
		ones, others = append(ones, s), append(others, o)
	}
	return medians(ones), medians(others), nil
}

func medians(all []sample) timing {
	return timing{
		Wall: median(all, func(s sample) time.Duration { return s.wall }),
		CPU:  median(all, func(s sample) time.Duration { return s.cpu }),
		Peak: median(all, func(s sample) int64 { return s.peak }),
		Runs: len(all),
	}
}

// median is the middle value, or the mean of the two in the middle.
func median[N time.Duration | int64](all []sample, of func(sample) N) N {
	values := make([]N, len(all))
	for i, s := range all {
		values[i] = of(s)
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
