package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A version of the model may answer the recorded requests.
type version struct {
	number  int // in the simulation, from 1; 0 until it answers
	of      string
	digest  string
	in      *Workspace        // that has it
	inputs  map[string]string // digests of what it was trained on, by "UNIT PORT" of the producer
	until   time.Time         // of the last row that it was trained on, or when it was registered if rows have no time
	answers string            // path of its predictions, once they are made
	training
}

// A training is what one took, and why it failed, if it did.
type training struct {
	took   time.Duration
	cost   money.Amount
	failed string
}

// reference returns the path of the rows that a version was trained on.
func (v *version) reference(ctx context.Context, in ir.Input) (string, error) {
	return v.in.table(ctx, in, v.inputs[in.Unit+" "+in.From])
}

// take copies the recorded requests.
func (s *simulation) take(ctx context.Context) error {
	t := window.Take{Requests: filepath.Join(s.dir, "requests.parquet"), Rows: filepath.Join(s.dir, "rows.parquet")}
	var longest, after time.Duration
	for _, u := range s.watching() {
		m := u.Monitor
		longest = max(longest, m.Window+m.Delay())
		for _, c := range loggedBy(m) {
			if !slices.Contains(t.Logged, c) {
				t.Logged = append(t.Logged, c)
			}
		}
	}
	if s.judge != nil { // what an alert turned out to be is only known later
		after = s.judge.Monitor.Window
	}
	t.Begin, t.End = s.o.From.Add(-longest), s.o.To.Add(after)
	trainer, out := s.trainer()
	if trainer == nil {
		return s.refused("%s has no unit that trains it", s.loop.Loop.Model)
	}
	for _, c := range out.Signature.Input {
		t.Inputs = append(t.Inputs, c.Name)
	}
	var err error
	if s.o.Requests == "" {
		err = s.fromLog(ctx, &t)
	} else {
		err = s.fromTable(ctx, &t)
	}
	if err != nil {
		return err
	}
	taken, err := s.duck.prepare(window.Preparation{Take: &t})
	if err != nil {
		return fmt.Errorf("read the requests of %s: %w", s.recorded, err)
	}
	s.out.Notes = append(s.out.Notes, taken.Notes...)
	s.requests, s.rows, s.first = t.Requests, t.Rows, t.Begin
	if taken.Rows > 0 {
		s.out.Rows, err = s.count(s.o.From, s.o.To)
	}
	switch {
	case err != nil:
		return err
	case s.out.Rows == 0 && taken.Rows == 0:
		return &RequestError{fmt.Errorf("%s has no requests from %s to %s", s.recorded, date(t.Begin), date(s.o.To))}
	case s.out.Rows == 0:
		return &RequestError{fmt.Errorf("%s has no requests from %s to %s, only from %s to %s", s.recorded, date(s.o.From), date(s.o.To), date(taken.First), date(taken.Last))}
	case taken.First.After(s.o.From.Add(24 * time.Hour)):
		s.out.Notes = append(s.out.Notes, fmt.Sprintf("%s begins at %s", s.recorded, date(taken.First)))
	}
	return os.Mkdir(s.log(), 0o755)
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// count returns how many requests are recorded between two times.
func (s *simulation) count(from, to time.Time) (int64, error) {
	n, err := s.duck.prepare(window.Preparation{Cut: &window.Cut{Table: s.requests, Time: requests.Time, Since: from, Before: to}})
	if err != nil {
		return 0, err
	}
	return n.Rows, nil
}

// loggedBy returns the columns of the log that a monitor reads.
func loggedBy(m *ir.Monitor) []ir.Logged {
	all := slices.Clone(m.By)
	if m.Drift != nil {
		for _, c := range m.Drift.Columns {
			all = append(all, c.Logged)
		}
	}
	if m.Quality != nil {
		all = append(all, m.Quality.Join...)
	}
	return all
}

// fromLog takes requests from the request log of the deployment.
func (s *simulation) fromLog(ctx context.Context, t *window.Take) (err error) {
	s.recorded = "the request log of " + s.service
	u := s.deployed.units[s.service]
	if u == nil || !logsRequests(u) {
		return s.refused("%s has no request log, because it is not deployed with one: name a table whose rows are requests, with --requests", s.service)
	}
	t.Log, err = s.requestLog(ctx, u, t.Begin)
	return err
}

// fromTable takes the rows of a table as requests.
func (s *simulation) fromTable(ctx context.Context, t *window.Take) error {
	id, units, err := s.deployed.named(s.o.Requests)
	if err != nil {
		return &RequestError{err}
	}
	var of *ir.Unit
	var out *ir.Output
	for _, name := range units {
		for i, o := range s.deployed.units[name].Outputs {
			if o.Kind == ir.Table {
				if out != nil {
					return &RequestError{fmt.Errorf("%s has several tables: name one unit with a single table", id)}
				}
				of, out = s.deployed.units[name], &s.deployed.units[name].Outputs[i]
			}
		}
	}
	if out == nil {
		return &RequestError{fmt.Errorf("%s is not a table, so its rows are no requests", id)}
	}
	s.recorded = id
	if out.Timestamp == "" {
		return &RequestError{fmt.Errorf("the rows of %s have no times: declare its column with the time of a request as timestamp, and apply it", id)}
	}
	t.Time = out.Timestamp
	if missing := t.Missing(out.Schema); len(missing) > 0 {
		return &RequestError{fmt.Errorf("the rows of %s are no requests to %s: they have no %s", id, s.service, strings.Join(missing, ", "))}
	}
	if slices.ContainsFunc(t.Logged, func(c ir.Logged) bool { return c.Log == requests.RequestID }) {
		if len(out.Keys) != 1 {
			return &RequestError{fmt.Errorf("the rows of %s have no id: labels are joined by request_id, and a single column has to be its key", id)}
		}
		t.ID = out.Keys[0]
	}
	run, ok := s.deployed.runs[of.ID]
	if !ok {
		return fmt.Errorf("the run of %s is no longer recorded: run tenon apply", of.ID)
	}
	t.Table, err = s.table(ctx, ir.Input{Unit: of.ID, From: out.Port}, run.Outputs[out.Port].Digest)
	return err
}

// trainer returns the unit that trains the model, and its output.
func (s *simulation) trainer() (*ir.Unit, *ir.Output) {
	for i := range s.system.Units {
		u := &s.system.Units[i]
		if u.Entity != s.loop.Loop.Model || u.Kind != ir.Job {
			continue
		}
		for j, o := range u.Outputs {
			if o.Kind == ir.Model {
				return u, &u.Outputs[j]
			}
		}
	}
	return nil, nil
}

// registry returns the unit that registers the model.
func (s *simulation) registry() string {
	for _, u := range s.system.Units {
		if u.Entity == s.loop.Loop.Model && u.Kind == ir.Record && slices.ContainsFunc(u.Outputs, func(o ir.Output) bool { return o.Kind == ir.Model }) {
			return u.ID
		}
	}
	return s.loop.Loop.Model
}

// champion returns the version that is in service at the beginning.
func (s *simulation) champion(ctx context.Context) (*version, error) {
	if err := s.recordedVersions(ctx); err != nil {
		return nil, err
	}
	for _, v := range s.known {
		if v.until.Before(s.o.From) {
			return v, s.answer(ctx, v)
		}
	}
	if !s.o.Train {
		why := "there is none"
		if n := len(s.known); n > 0 {
			why = fmt.Sprintf("even %s knows what was known at %s", s.known[n-1].of, date(s.known[n-1].until))
		}
		return nil, s.refused("no recorded version of %s was trained only on rows from before %s: %s. Train one on what was known then, with --train", s.loop.Loop.Model, date(s.o.From), why)
	}
	v, done, err := s.obtain(ctx, s.o.From)
	if err == nil && v == nil {
		err = fmt.Errorf("the version that is in service at the beginning cannot be trained: %s", done.failed)
	}
	return v, err
}

// recordedVersions lists the versions of the registry, the newest first.
func (s *simulation) recordedVersions(ctx context.Context) error {
	trainer, out := s.trainer()
	all, err := s.store.ModelVersions(ctx, s.loop.Loop.Model)
	if err != nil {
		return err
	}
	runs, err := s.store.Runs(ctx, trainer.ID, 0)
	if err != nil {
		return err
	}
	for _, m := range all {
		i := slices.IndexFunc(runs, func(r state.Run) bool { return r.Outputs[out.Port].Digest == m.Digest })
		if i < 0 || !s.artifacts.Has(m.Digest) {
			s.out.Notes = append(s.out.Notes, fmt.Sprintf("version %d of %s is left out: its training or its model is no longer recorded", m.Version, m.Model))
			continue
		}
		v := &version{of: fmt.Sprintf("version %d of the registry", m.Version), digest: m.Digest, in: s.Workspace, inputs: map[string]string{}, until: m.Created}
		if v.training, err = s.jobs(ctx, s.Workspace, runs[i].Revision); err != nil {
			return err
		}
		var last time.Time // of all tables
		for _, in := range trainer.Inputs {
			v.inputs[in.Unit+" "+in.From] = runs[i].Inputs[in.Port]
			if in.Kind != ir.Table || in.Timestamp == "" {
				continue
			}
			path, err := s.table(ctx, in, runs[i].Inputs[in.Port])
			if err != nil {
				s.out.Notes = append(s.out.Notes, fmt.Sprintf("version %d of %s is left out: %v", m.Version, m.Model, err))
				v = nil
				break
			}
			rows, err := s.duck.prepare(window.Preparation{Cut: &window.Cut{Table: path, Time: in.Timestamp}})
			if err != nil {
				return err
			}
			if rows.Last.After(last) {
				last, v.until = rows.Last, rows.Last
			}
		}
		if v != nil {
			s.known = append(s.known, v)
		}
	}
	return nil
}

// obtain returns what a training at a time gives: no version if it fails, or if the version is not recorded.
func (s *simulation) obtain(ctx context.Context, now time.Time) (v *version, done training, err error) {
	if s.o.Train {
		if v, done, err = s.train(ctx, now); v != nil && err == nil {
			v = s.equal(v)
			err = s.answer(ctx, v)
		}
		return v, done, err
	}
	for _, v := range s.known {
		if !v.until.Add(s.delay).After(now) && !s.wasServed(v) {
			return v, v.training, s.answer(ctx, v)
		}
	}
	return nil, s.known[0].training, nil
}

// equal returns the version that is the same model, if there is one.
func (s *simulation) equal(v *version) *version {
	all := slices.Clone(s.known)
	for _, r := range s.revisions {
		if r.version != nil {
			all = append(all, r.version)
		}
	}
	if i := slices.IndexFunc(all, func(o *version) bool { return o.digest == v.digest && o.answers != "" }); i >= 0 {
		return all[i]
	}
	return v
}

// wasServed reports whether a version answers, did so before, or was made before one that does.
func (s *simulation) wasServed(v *version) bool {
	return v.number > 0 || !v.until.After(s.inService().until)
}

// answer predicts all recorded requests with a version.
func (s *simulation) answer(ctx context.Context, v *version) error {
	if v.answers != "" {
		return nil
	}
	if err := v.in.check(ctx, &Exported{Digest: v.digest}); err != nil {
		return fmt.Errorf("read the model, %s: %w", v.of, err)
	}
	q := question{entity: s.loop.Loop.Model, model: step.Port{Kind: ir.Model, Path: v.in.artifacts.Path(v.digest), Digest: v.digest}, data: s.rows}
	q.copied = ir.Schema{{Name: window.Number, Type: "int64"}}
	b, err := os.ReadFile(filepath.Join(q.model.Path, "signature.json"))
	if err == nil {
		err = json.Unmarshal(b, &q.signature)
	}
	if err != nil {
		return fmt.Errorf("read the signature of the model, %s: %w", v.of, err)
	}
	q.probabilities = q.signature.Task == "classification"
	found, err := v.in.exportable(ctx, 0)
	if err != nil {
		return err
	}
	env, err := v.in.environment(ctx, found, &Exported{Unit: s.registry(), Kind: string(ir.Model), Digest: v.digest})
	if err != nil {
		return err
	}
	python, err := s.interpreter(ctx, env)
	if err != nil {
		return err
	}
	s.set.notify(Notice{Text: fmt.Sprintf("%s answers the requests: %s", s.loop.Loop.Model, v.of)})
	to := filepath.Join(s.dir, fmt.Sprintf("answers-%s.parquet", strings.NewReplacer(":", "-").Replace(v.digest)))
	if err := q.table(ctx, s.set.Environ, python, to); err != nil {
		return fmt.Errorf("%s: %w", v.of, err)
	}
	v.answers = to
	return nil
}

// serve begins the part of the log that is answered as from now on.
func (s *simulation) serve(now time.Time) error {
	switch {
	case s.spans == 0:
		s.spans++
	case now.After(s.spanFrom): // what was written up to the end is cut off
		if err := s.write(s.spanAnswers, s.spanFrom, now, s.span()); err != nil {
			return err
		}
		s.spans, s.spanFrom = s.spans+1, now
	}
	s.spanAnswers = []window.Answers{{Path: s.inService().answers, Weight: 100}}
	if s.route != nil {
		s.spanAnswers = nil
		for _, v := range s.route.Versions {
			s.spanAnswers = append(s.spanAnswers, window.Answers{Path: s.revisions[v.Revision-1].version.answers, Weight: v.Weight})
		}
	}
	return s.write(s.spanAnswers, s.spanFrom, s.o.To, s.span())
}

// span is the last file of the log.
func (s *simulation) span() string {
	return filepath.Join(s.log(), fmt.Sprintf("requests-%06d.parquet", s.spans))
}

func (s *simulation) write(answers []window.Answers, begin, end time.Time, to string) error {
	_, err := s.duck.prepare(window.Preparation{Serve: &window.Serve{Requests: s.requests, Answers: answers, Begin: begin, End: end, To: to}})
	if err != nil {
		return fmt.Errorf("write the simulated log: %w", err)
	}
	return nil
}

// alone returns the folder of the log as if one version had answered all requests.
func (s *simulation) alone(v *version) (string, error) {
	dir := filepath.Join(s.dir, fmt.Sprintf("alone-%d", v.number))
	if err := os.Mkdir(dir, 0o755); err != nil {
		if errors.Is(err, os.ErrExist) {
			err = nil
		}
		return dir, err
	}
	return dir, s.write([]window.Answers{{Path: v.answers, Weight: 100}}, s.first, s.o.To.Add(farAfter), filepath.Join(dir, "requests.parquet"))
}

// farAfter is after the last request that was taken.
const farAfter = 1000 * 24 * time.Hour
