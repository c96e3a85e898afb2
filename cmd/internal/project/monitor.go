package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// A Monitor is a deployed monitor with its last measurement.
type Monitor struct {
	Unit    string      `json:"unit"` // "monitors/inputs"
	Monitor *ir.Monitor `json:"monitor"`
	// Last is the newest measurement, or nil. Its report is left out.
	Last *state.Measurement `json:"last,omitempty"`
	Due  time.Time          `json:"due"` // when it is measured next; the zero time is at once
}

// Monitors returns what is measured of deployments, sorted.
func (w *Workspace) Monitors(ctx context.Context) ([]Monitor, error) {
	s, err := w.deployed(ctx)
	if err != nil {
		return nil, err
	}
	all := []Monitor{}
	for _, id := range s.having(isMonitor) {
		m := Monitor{Unit: id, Monitor: s.units[id].Monitor}
		last, err := w.store.Measurements(ctx, id, time.Time{}, 1)
		if err != nil {
			return nil, err
		}
		if len(last) > 0 {
			m.Last = &last[0]
			m.Due, m.Last.Report = m.Last.At.Add(m.Monitor.Every), nil
		}
		all = append(all, m)
	}
	return all, nil
}

func isMonitor(u *ir.Unit) bool { return u.Monitor != nil }

// monitor returns the monitor of a name, or the only one without a name.
func (s *snapshot) monitor(name string) (*ir.Unit, error) {
	return s.one("monitors", name, isMonitor, "monitors: inputs: monitor.#Drift")
}

// having returns the ids of the units of a kind, sorted.
func (s *snapshot) having(is func(*ir.Unit) bool) []string {
	var all []string
	for id, u := range s.units {
		if is(u) {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}

// one returns the unit of a kind by a name such as "late", "loops.late" or "loops/late", or the only one
// without a name. The section and an example of a declaration describe the kind in errors.
func (s *snapshot) one(section, name string, is func(*ir.Unit) bool, example string) (*ir.Unit, error) {
	all, noun := s.having(is), strings.TrimSuffix(section, "s")
	switch {
	case len(all) == 0:
		return nil, &RequestError{fmt.Errorf("there are no %s in %s: declare one, such as %s", section, s, example)}
	case name == "" && len(all) == 1:
		return s.units[all[0]], nil
	case name == "":
		return nil, &RequestError{fmt.Errorf("name a %s: %s", noun, strings.Join(all, ", "))}
	}
	if u := s.units[section+"/"+name]; u != nil && is(u) {
		return u, nil
	}
	id, _, err := s.named(name)
	if err != nil {
		return nil, err
	}
	if u := s.units[id]; u != nil && is(u) {
		return u, nil
	}
	return nil, &RequestError{fmt.Errorf("%s is not a %s; there are %s", id, noun, strings.Join(all, ", "))}
}

// Measure measures a monitor as of a time, which may be in the past as far as the log goes back, and
// records the measurement. It needs no lock.
func (w *Workspace) Measure(ctx context.Context, name string, now time.Time) (*state.Measurement, error) {
	s, err := w.deployed(ctx)
	if err != nil {
		return nil, err
	}
	u, err := s.monitor(name)
	if err != nil {
		return nil, err
	}
	q := windowAt(u.Monitor, now)
	answer := new(window.Answer)
	if q.Monitor.Experiment != nil {
		answer.Report, err = w.inStep(ctx, s, &q)
	}
	if err == nil && answer.Report == nil {
		if answer, err = w.answer(ctx, s, u, &q); err == nil && answer.Report == nil {
			err = errNoAnswer
		}
	}
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", u.ID, err)
	}
	answer.Notes = append(answer.Notes, q.Gaps...)
	made := measurement(u, q, answer)
	if made.Report, err = json.Marshal(answer); err != nil {
		return nil, err
	}
	made.Number, err = w.store.AddMeasurement(ctx, made)
	return &made, err
}

// answer measures what a question asks, and completes the question.
func (w *Workspace) answer(ctx context.Context, s *snapshot, u *ir.Unit, q *window.Question) (*window.Answer, error) {
	if f := u.Monitor.Freshness; f != nil && f.Column == nil {
		return changed(s, u, q)
	}
	if u.Monitor.Cost != nil {
		return w.spent(ctx, q)
	}
	if w.measurer != nil {
		if err := w.measured(ctx, s, u, q); err != nil {
			return nil, err
		}
		return w.measurer.measure(ctx, w, q)
	}
	a := new(window.Answer)
	return a, w.askWindow(ctx, s, u, q, a)
}

// changed measures when the files of a table changed last: a run that reads what an earlier one has read is that one.
func changed(s *snapshot, u *ir.Unit, q *window.Question) (*window.Answer, error) {
	in := u.Inputs[0]
	run, ok := s.runs[in.Unit]
	if !ok {
		return nil, fmt.Errorf("%s is not deployed: run tenon apply", in.Unit)
	}
	return &window.Answer{Report: measure.Freshness("change", run.Outputs[in.From].Rows, run.Started, q.Now, u.Monitor.Freshness.Max)}, nil
}

// windowAt asks for what a monitor measures at a time.
func windowAt(m *ir.Monitor, now time.Time) window.Question {
	end := now.Add(-m.Delay())
	return window.Question{Monitor: *m, Begin: end.Add(-m.Window), End: end, Now: now}
}

// measurement returns what a monitor measured, without the report.
func measurement(u *ir.Unit, q window.Question, a *window.Answer) state.Measurement {
	reason := strings.Join(slices.DeleteFunc(append([]string{a.Reason}, q.Gaps...), func(s string) bool { return s == "" }), "; ")
	return state.Measurement{Monitor: u.ID, Begin: q.Begin, End: q.End, At: q.Now, Verdict: string(a.Verdict), Reason: reason}
}

// gap notes in a question which part of a log does not answer, if an error says that.
func gap(q *window.Question, err error) error {
	var partial *executors.PartialError
	if !errors.As(err, &partial) {
		return err
	}
	q.Gaps = append(q.Gaps, "without the log of "+strings.Join(partial.Lacks, ", ")+", which does not answer")
	return nil
}

// askWindow asks tenon-duck about a window, and decodes the answer.
func (w *Workspace) askWindow(ctx context.Context, s *snapshot, u *ir.Unit, q *window.Question, answer any) error {
	if err := w.measured(ctx, s, u, q); err != nil {
		return err
	}
	duck, err := w.set.SQL.Program(ctx)
	if err != nil {
		return err
	}
	return w.ask(ctx, duck, "monitor", u, q, func(line []byte) error { return json.Unmarshal(line, answer) })
}

// measured finds what a question is about: the log of the deployment, and the reference rows or the
// labels.
func (w *Workspace) measured(ctx context.Context, s *snapshot, u *ir.Unit, q *window.Question) error {
	if f := q.Monitor.Freshness; f != nil {
		in := u.Inputs[0]
		var err error
		q.Reference, err = w.table(ctx, in, s.runs[in.Unit].Outputs[in.From].Digest)
		return err
	}
	service := s.units[q.Monitor.Deployment]
	if service == nil {
		return fmt.Errorf("%s is not deployed: run tenon apply", q.Monitor.Deployment)
	}
	if q.Monitor.Service != nil {
		return w.measuredService(ctx, service, q)
	}
	var err error
	q.Log, err = w.requestLog(ctx, service, q.Begin)
	if err = gap(q, err); err != nil {
		return err
	}
	if q.Monitor.Experiment == nil { // which compares both versions itself
		if q.Challenger, err = w.challenger(ctx, service); err != nil {
			return err
		}
	}
	if x := q.Monitor.Experiment; x != nil { // the outcomes are those of its metric
		if u = s.units[x.Of]; u == nil {
			return fmt.Errorf("%s is not deployed: run tenon apply", x.Of)
		}
	}
	run, ok := s.runs[u.ID]
	if !ok {
		return errors.New("its run is no longer recorded: run tenon apply")
	}
	if run, err = w.compares(ctx, s, u, service, run); err != nil {
		return err
	}
	for _, in := range u.Inputs {
		switch in.Port {
		case ir.MonitorReference:
			// The rows of the model that is deployed: a newer training may not have been released.
			q.Reference, err = w.table(ctx, in, run.Inputs[in.Port])
		case ir.MonitorModel:
			if !u.Monitor.Drift.Previous {
				q.Model = run.Inputs[in.Port]
			}
		case ir.MonitorLabels:
			// All that are known by now.
			q.Labels, err = w.table(ctx, in, s.runs[in.Unit].Outputs[in.From].Digest)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// table returns the path of the Parquet file of a table.
func (w *Workspace) table(ctx context.Context, in ir.Input, digest string) (string, error) {
	if digest == "" {
		return "", fmt.Errorf("%s of %s is no longer recorded: run tenon apply", in.From, in.Unit)
	}
	if err := w.check(ctx, &Exported{Digest: digest}); err != nil {
		return "", fmt.Errorf("read %s of %s: %w", in.From, in.Unit, err)
	}
	return w.artifacts.Path(digest), nil
}

// A MonitorHistory is a monitor with its measurements, the newest first.
type MonitorHistory struct {
	Unit         string              `json:"unit"`
	Monitor      *ir.Monitor         `json:"monitor"`
	Measurements []state.Measurement `json:"measurements"`
}

// MonitorHistory returns the measurements of a monitor from a time on, at most limit, or all if it
// is 0.
func (w *Workspace) MonitorHistory(ctx context.Context, name string, since time.Time, limit int) (*MonitorHistory, error) {
	s, err := w.deployed(ctx)
	if err != nil {
		return nil, err
	}
	u, err := s.monitor(name)
	if err != nil {
		return nil, err
	}
	return w.history(ctx, u.ID, u.Monitor, since, limit)
}

func (w *Workspace) history(ctx context.Context, unit string, m *ir.Monitor, since time.Time, limit int) (h *MonitorHistory, err error) {
	h = &MonitorHistory{Unit: unit, Monitor: m}
	h.Measurements, err = w.store.Measurements(ctx, unit, since, limit)
	return h, err
}

// ReportOf decodes the report of a measurement.
func ReportOf(m *state.Measurement) (*window.Answer, error) {
	a := new(window.Answer)
	if err := json.Unmarshal(m.Report, a); err != nil {
		return nil, fmt.Errorf("the report of measurement %d of %s: %w", m.Number, m.Monitor, err)
	}
	return a, nil
}
