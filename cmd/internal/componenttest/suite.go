package componenttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// prompt limits how long a program may take to end after it is asked to.
const prompt = 5 * time.Second

// Run tests components, at most parallel at once, and passes on each result as soon as it
// is known. The settings are those of the engine, but the suite sets folder, state and
// faults itself. Failures of a component are in its result; an error means that the suite
// itself could not continue. Before, it destroys what runs left behind that were killed.
func Run(ctx context.Context, all []Component, s project.Settings, parallel int, show func(Result)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := clearLeft(ctx, s); err != nil && s.Notify != nil {
		s.Notify(project.Notice{Text: err.Error(), Warning: true})
	}
	var wg sync.WaitGroup
	var showing sync.Mutex
	free := make(chan struct{}, max(1, parallel))
	for _, c := range all {
		free <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-free }()
			r, err := test(ctx, c, s)
			if err != nil {
				cancel(fmt.Errorf("test %s: %w", c.Name, err))
				return
			}
			showing.Lock()
			defer showing.Unlock()
			show(r)
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// A suite is the test of one component.
type suite struct {
	*lab
	Result
	dir   string // of the unmodified example
	cases []testCase
	first *outcome
}

func test(ctx context.Context, c Component, settings project.Settings) (r Result, err error) {
	began := time.Now()
	defer func() { r.Took = time.Since(began) }()
	r = Result{Component: c}
	if err := c.embedded(); err != nil {
		r.add(checkSchema, Failed, "%v", err)
		return r, nil
	}
	if _, err := os.Stat(filepath.Join(c.Folder, Example, "system.cue")); err != nil {
		r.add(checkSchema, Failed, "there is no %s: a small system that uses the component", filepath.Join(c.Folder, Example, "system.cue"))
		return r, nil
	}
	l, err := newLab(ctx, c, settings)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.remove()) }()
	s := &suite{lab: l, Result: r}
	err = s.run(ctx)
	return s.Result, err
}

func (s *suite) run(ctx context.Context) error {
	var err error
	if s.cases, err = readCases(filepath.Join(s.Folder, Example)); err != nil {
		s.add(checkCases, Failed, "%v", err)
		return nil
	}
	if s.dir, err = s.system(ctx, nil); err != nil {
		return err
	}
	if !s.schema(ctx) {
		return ctx.Err()
	}
	for _, check := range []func(context.Context){s.bytes, s.progress, s.secrecy, s.bad, s.few, s.cancellation, s.others} {
		if check(ctx); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// fresh returns a trial of the unmodified example.
func (s *suite) fresh() trial { return trial{dir: s.dir} }

// schema applies the example. The engine compares every output with its declaration.
func (s *suite) schema(ctx context.Context) bool {
	t := s.fresh()
	t.meanwhile = s.probe
	o, err := s.try(ctx, t)
	if err == nil {
		err = o.succeeded()
	}
	s.first = o
	var wrote []string
	if err == nil {
		for _, id := range slices.Sorted(maps.Keys(o.runs)) {
			for _, port := range slices.Sorted(maps.Keys(o.runs[id].outputs)) {
				out := o.runs[id].outputs[port]
				if out.kind == ir.Table {
					wrote = append(wrote, fmt.Sprintf("%s: a table of %d rows", port, out.rows))
				} else {
					wrote = append(wrote, fmt.Sprintf("%s: a %s", port, out.kind))
				}
			}
		}
	}
	return s.judge(checkSchema, err, "%s", strings.Join(wrote, ", "))
}

// probe sends a service the requests of the cases that replace no files.
func (s *suite) probe(ctx context.Context, o *outcome) error {
	for _, c := range s.cases {
		if len(c.request) == 0 {
			continue
		}
		if err := c.ask(ctx, s.ports[o.units[0].ID]); err != nil {
			return fmt.Errorf("case %s: %w", c.name, err)
		}
	}
	return nil
}

// kind returns the kind of the component's units.
func (s *suite) kind() ir.Kind { return s.first.units[0].Kind }

// listens reports whether the component is a service with an endpoint.
func (s *suite) listens() bool { return s.first.units[0].Endpoint != nil }

// noProgram adds a check for a component that runs no program, and reports whether it
// did.
func (s *suite) noProgram(check string) bool {
	if s.kind() == ir.Record {
		s.add(check, None, "nothing runs: Tenon writes its record itself")
		return true
	}
	return false
}

// bytes runs the program again, without a network if possible.
func (s *suite) bytes(ctx context.Context) {
	if s.listens() {
		s.add(checkBytes, OK, "each request of the cases has the same answer twice")
		s.add(checkNetwork, Skipped, "a service has to listen")
		return
	}
	t := s.fresh()
	t.isolated = s.kind() != ir.Record
	again, err := s.try(ctx, t)
	if err == nil {
		err = again.succeeded()
	}
	open := slices.ContainsFunc(s.first.units, func(u ir.Unit) bool { return u.Network == ir.NetworkOpen })
	switch {
	case s.kind() == ir.Record:
	case err != nil && !open && again != nil && again.network == nil:
		s.add(checkNetwork, Failed, "without a network, %v", err)
		again, err = s.try(ctx, s.fresh())
		if err == nil {
			err = again.succeeded()
		}
	case open:
		s.add(checkNetwork, OK, "it declares that it uses it")
	case again != nil && again.network != nil:
		s.add(checkNetwork, Skipped, "this user may not take the network away: %v", again.network)
	default:
		s.add(checkNetwork, OK, "it needs none")
	}
	for id, was := range s.first.runs {
		if err != nil {
			break
		}
		for port, out := range was.outputs {
			if now := again.runs[id].outputs[port]; now.digest != out.digest {
				err = errors.Join(err, fmt.Errorf("%s: %s is %s, and then %s", id, port, out.digest, now.digest))
			}
		}
	}
	if err == nil && s.kind() == ir.Service {
		s.add(checkBytes, None, "it leaves no outputs")
	} else {
		s.judge(checkBytes, err, "two runs")
	}
	s.noProgram(checkNetwork)
}

// progress checks the progress that the programs reported.
func (s *suite) progress(context.Context) {
	if s.noProgram(checkProgress) {
		return
	}
	var reported int
	var faults []error
	for _, r := range s.first.runs {
		b, err := os.ReadFile(filepath.Join(r.task.Dir, executors.ProgressFile))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		n, err := checkLines(string(b))
		reported += n
		faults = append(faults, err)
	}
	if reported == 0 && errors.Join(faults...) == nil {
		s.add(checkProgress, OK, "it reports none, which the contract allows")
		return
	}
	s.judge(checkProgress, errors.Join(faults...), "%s", plural(reported, "line"))
}

// checkLines checks the lines of a progress file and counts them.
func checkLines(text string) (n int, err error) {
	last := step.Progress{}
	logged := map[string]int64{}
	for line := range strings.Lines(text) {
		n++
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		p := step.Progress{Done: -1}
		switch err := d.Decode(&p); {
		case err != nil:
			return n, fmt.Errorf("line %d, %s, is no progress: %w", n, strings.TrimSpace(line), err)
		case !strings.HasSuffix(line, "\n"):
			return n, fmt.Errorf("line %d has no end", n)
		case len(p.Values) > 0:
			for name := range p.Values {
				if at, ok := logged[name]; ok && p.Step <= at {
					return n, fmt.Errorf("line %d logs %s at step %d, after step %d", n, name, p.Step, at)
				}
				logged[name] = p.Step
			}
			continue
		case p.Done < 0, p.Waits != "":
			return n, fmt.Errorf("line %d, %s, does not say how much is done", n, strings.TrimSpace(line))
		case p.Total > 0 && p.Done > p.Total:
			return n, fmt.Errorf("line %d says that %g of %g is done", n, p.Done, p.Total)
		case p.Done < last.Done && p.Total == last.Total:
			return n, fmt.Errorf("line %d says that %g is done, after %g", n, p.Done, last.Done)
		}
		last = p
	}
	return n, nil
}

// secrecy searches for the values of secrets in everything that a run leaves, including a
// run with wrong secrets.
func (s *suite) secrecy(ctx context.Context) {
	if s.noProgram(checkSecrets) {
		return
	}
	if !slices.ContainsFunc(s.first.units, func(u ir.Unit) bool { return len(u.Secrets) > 0 }) {
		s.add(checkSecrets, None, "it takes none")
		return
	}
	err := s.leaks(ctx, s.first)
	t := s.fresh()
	t.change = func(_ context.Context, _ runner, t *executors.Task) error {
		wrong := map[string]string{}
		for name, v := range t.Env {
			wrong[name] = "wrong-" + v
		}
		t.Env = wrong
		return nil
	}
	wrong, tryErr := s.try(ctx, t)
	err = errors.Join(err, tryErr)
	if tryErr == nil {
		err = errors.Join(err, s.leaks(ctx, wrong))
		for _, r := range wrong.runs {
			if r.fault != "" {
				_, refused := r.refusal()
				err = errors.Join(err, refused)
			}
		}
	}
	s.judge(checkSecrets, err, "nowhere, also where they are wrong")
}

// leaks searches for secrets in what runs left.
func (s *suite) leaks(ctx context.Context, o *outcome) error {
	var faults []error
	for id, r := range o.runs {
		var values []string
		for _, v := range append(slices.Collect(maps.Values(r.task.Env)), s.secrets...) {
			values = append(values, v, url.QueryEscape(v), url.PathEscape(v), strings.TrimPrefix(v, "wrong-"))
		}
		search := func(where, text string) {
			for _, v := range values {
				if len(v) >= 4 && strings.Contains(text, v) {
					faults = append(faults, fmt.Errorf("%s: a secret is in %s", id, where))
					return
				}
			}
		}
		roots := []string{r.task.Dir}
		for _, out := range r.outputs {
			roots = append(roots, out.path)
		}
		for _, root := range roots {
			err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return err
				}
				b, err := os.ReadFile(path)
				search(filepath.Base(path), string(b))
				return err
			})
			faults = append(faults, err)
		}
		if r.done && r.unit.Kind == ir.Job { // tables are compressed
			text, err := s.rows(ctx, s.dir, id)
			search("a table", text)
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// bad runs the cases of bad input.
func (s *suite) bad(ctx context.Context) {
	s.make(ctx, checkBad, func(c testCase) bool { return c.refuses() },
		fmt.Errorf("no case shows it: add %s with bad input and -- want --", filepath.Join(s.Folder, Example, cases, "NAME.txtar")))
}

// few gives the program empty tables, and tables of one row. A component that reads no
// tables of other entities needs cases for such data.
func (s *suite) few(ctx context.Context) {
	reads := slices.ContainsFunc(s.first.units, func(u ir.Unit) bool {
		return slices.ContainsFunc(u.Inputs, func(i ir.Input) bool { return i.Kind == ir.Table })
	})
	writes := slices.ContainsFunc(s.first.units, func(u ir.Unit) bool {
		return slices.ContainsFunc(u.Outputs, func(o ir.Output) bool { return o.Kind == ir.Table })
	})
	for n, name := range []string{checkEmpty, checkOne} {
		switch {
		case s.kind() == ir.Job && reads:
			s.cut(ctx, name, n)
		case s.kind() == ir.Job && writes:
			s.make(ctx, name, func(c testCase) bool { return c.rows == int64(n) },
				fmt.Errorf("no case shows it: add %s that wants rows %d", filepath.Join(s.Folder, Example, cases, "NAME.txtar"), n))
		default:
			s.add(name, None, "it has no tables")
		}
	}
}

func (s *suite) cut(ctx context.Context, name string, n int) {
	t := s.fresh()
	t.change = cut(n)
	o, err := s.try(ctx, t)
	if err != nil {
		s.judge(name, err, "")
		return
	}
	said := "it gives a result"
	for _, u := range o.units {
		r := o.runs[u.ID]
		if r == nil {
			err = errors.Join(err, fmt.Errorf("%s did not run", u.ID))
		} else if r.fault != "" {
			var refused error
			said, refused = r.refusal()
			err = errors.Join(err, refused)
		}
	}
	s.judge(name, err, "%s", said)
}

// cancellation ends the program while it runs.
func (s *suite) cancellation(ctx context.Context) {
	if s.noProgram(checkCancel) {
		return
	}
	if s.kind() == ir.Service {
		s.stopped(ctx)
		return
	}
	t := s.fresh()
	t.cancels = true
	runsOn := false
	for _, c := range s.cases {
		if c.runsOn {
			runsOn = true
			var err error
			if t.dir, err = s.system(ctx, c.files); err != nil {
				s.judge(checkCancel, err, "")
				return
			}
		}
	}
	for _, r := range s.first.runs {
		t.after = max(t.after, r.took/2)
	}
	if runsOn {
		t.after = max(4*t.after, 200*time.Millisecond) // by then it is certainly running
	}
	// A program that ended before it could be cancelled proves nothing: cancel earlier.
	for tries := 0; ; tries++ {
		o, err := s.try(ctx, t)
		if err == nil && o.fault != "" {
			err = fmt.Errorf("it does not compile:\n%s", o.fault)
		}
		if err != nil {
			s.judge(checkCancel, err, "")
			return
		}
		ended, slowest := 0, time.Duration(0)
		for _, r := range o.runs {
			if r.canceled {
				ended++
				slowest = max(slowest, r.stopping)
			}
		}
		if ended == 0 && tries < 4 {
			t.after /= 4
			continue
		}
		switch {
		case ended == 0:
			s.add(checkCancel, Skipped, "it ends before it can be ended")
		case slowest > prompt:
			s.add(checkCancel, Failed, "it took %v to end", slowest.Round(time.Millisecond))
		default:
			s.judge(checkCancel, s.nothingCounts(ctx, o), "it ended within %v", slowest.Round(time.Millisecond))
		}
		return
	}
}

// nothingCounts returns which cancelled unit counts as done.
func (s *suite) nothingCounts(ctx context.Context, o *outcome) error {
	set := s.settings
	set.Dir = s.dir
	ws, err := project.New(set).Open(ctx)
	if err != nil {
		return err
	}
	defer ws.Close()
	for id, r := range o.runs {
		if !r.canceled {
			continue
		}
		units, err := ws.Units(ctx, id)
		if err != nil {
			continue // nothing of it is recorded
		}
		if units[0].Run != nil && units[0].Run.Outcome != state.Done {
			return fmt.Errorf("%s was ended, and its run counts as %s", id, units[0].Run.Outcome)
		}
	}
	return nil
}

// stopped compares how long the services of the first trial took to end.
func (s *suite) stopped(context.Context) {
	var slowest time.Duration
	for _, r := range s.first.runs {
		slowest = max(slowest, r.stopping)
	}
	if slowest > prompt {
		s.add(checkCancel, Failed, "it took %v to end", slowest.Round(time.Millisecond))
		return
	}
	s.add(checkCancel, OK, "it ended within %v", slowest.Round(time.Millisecond))
}

// others runs the cases that no other check has run.
func (s *suite) others(ctx context.Context) {
	s.make(ctx, checkCases, func(c testCase) bool {
		return !c.refuses() && !c.runsOn && (c.rows < 0 || c.rows > 1) && len(c.request) == 0
	}, nil)
}

// make runs the cases that belong to a check. none is the error if there is no such case,
// or nil.
func (s *suite) make(ctx context.Context, check string, about func(testCase) bool, none error) {
	var made []string
	var faults []error
	for _, c := range s.cases {
		if !about(c) {
			continue
		}
		made = append(made, c.name)
		if len(c.request) > 0 {
			continue // sent to the service of the first trial
		}
		dir, err := s.system(ctx, c.files)
		if err == nil {
			var o *outcome
			if o, err = s.try(ctx, trial{dir: dir}); err == nil {
				err = c.compare(o)
			}
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("case %s: %w", c.name, err))
		}
	}
	if len(made) == 0 {
		if none != nil {
			s.judge(check, none, "")
		}
		return
	}
	s.judge(check, errors.Join(faults...), "%s", strings.Join(made, ", "))
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
