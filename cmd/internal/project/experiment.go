package project

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
)

// settles is how long a change of weights takes until every replica has it. What is answered before may
// have the assignment of the step before.
const settles = 5 * time.Second

// inStep finds the two versions that an experiment compares, and the window of the present step of their
// release. If there is nothing to compare, it returns a report that says why.
func (w *Workspace) inStep(ctx context.Context, s *snapshot, q *window.Question) (*measure.Report, error) {
	service := s.units[q.Monitor.Deployment]
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	nothing := func(v measure.Verdict, format string, args ...any) (*measure.Report, error) {
		return &measure.Report{Figures: []measure.Figure{}, Verdict: v, Reason: fmt.Sprintf(format, args...)}, nil
	}
	route := current[q.Monitor.Deployment].Route
	if service == nil || !route.Releasing() {
		q.Begin = q.End
		return nothing(measure.OK, "nothing to compare: no release of %s is in progress", q.Monitor.Deployment)
	}
	x := q.Monitor.Experiment
	q.Begin = route.Since.Add(settles)
	if q.End = q.Now.Add(-q.Monitor.Delay()); q.End.Before(q.Begin) {
		q.End = q.Begin
	}
	challenger, champion := route.Challenger(), route.Champion()
	switch {
	case q.Now.Before(route.Since):
		return nothing(measure.Unknown, "undecided: this step of the release began later, at %s", route.Since.UTC().Format(time.RFC3339))
	case challenger.Weight <= 0:
		return nothing(measure.OK, "nothing to compare: %s answers no requests in this step", challenger.Name)
	case challenger.Weight >= 100:
		return nothing(measure.OK, "nothing to compare: %s answers all requests in this step", challenger.Name)
	}
	v := &window.Versions{Share: float64(challenger.Weight) / 100, Over: !q.Now.Before(route.Since.Add(x.Horizon))}
	if v.Champion, err = w.modelOf(ctx, service, *champion); err == nil {
		v.Challenger, err = w.modelOf(ctx, service, *challenger)
	}
	if err != nil {
		return nil, err
	}
	if v.Champion == v.Challenger {
		return nothing(measure.Unknown, "%s and %s have the same model, by which the log of requests names versions: decide with tenon release next or abort", champion.Name, challenger.Name)
	}
	q.Versions = v
	return nil, nil
}

// challenger returns the digest of the model of the challenger of a service, or "" if no release of it is in progress.
func (w *Workspace) challenger(ctx context.Context, service *ir.Unit) (string, error) {
	current, err := w.store.Current(ctx)
	if route := current[service.ID].Route; err == nil && route.Releasing() {
		return w.modelOf(ctx, service, *route.Challenger())
	}
	return "", err
}

// modelOf returns the digest of the model of a version of a service.
func (w *Workspace) modelOf(ctx context.Context, service *ir.Unit, v state.RouteVersion) (string, error) {
	run, err := w.store.RunFor(ctx, service.ID, v.Key)
	if v.Run > 0 {
		run, err = w.store.Run(ctx, v.Run)
	}
	if err != nil {
		return "", fmt.Errorf("find the model of %s: %w", v.Name, err)
	}
	i := slices.IndexFunc(service.Inputs, func(in ir.Input) bool { return in.Kind == ir.Model })
	if i < 0 || run.Inputs[service.Inputs[i].Port] == "" {
		return "", fmt.Errorf("find the model of %s: its run does not have it", v.Name)
	}
	return run.Inputs[service.Inputs[i].Port], nil
}

// An ExperimentPlan is what an experiment would find.
type ExperimentPlan struct {
	Unit    string      `json:"unit"`
	Begin   time.Time   `json:"begin"` // of the requests that it is based on
	End     time.Time   `json:"end"`
	Monitor *ir.Monitor `json:"monitor"`
	Notes   []string    `json:"notes,omitempty"`
	*measure.Plan
}

// PlanExperiment says how long an experiment would take and what it would find, from the requests of some
// time before now.
func (w *Workspace) PlanExperiment(ctx context.Context, name string, over time.Duration, now time.Time) (*ExperimentPlan, error) {
	s, err := w.deployed(ctx)
	if err != nil {
		return nil, err
	}
	isExperiment := func(u *ir.Unit) bool { return u.Monitor != nil && u.Monitor.Experiment != nil }
	u, err := s.one("monitors", name, isExperiment, "monitors: test: monitor.#Experiment")
	if err != nil {
		return nil, err
	}
	end := now.Add(-u.Monitor.Delay())
	q := window.Question{Monitor: *u.Monitor, Begin: end.Add(-over), End: end, Now: now}
	answer, err := w.answer(ctx, s, u, &q)
	if err != nil {
		return nil, fmt.Errorf("plan %s: %w", u.ID, err)
	}
	if answer.Plan == nil {
		return nil, fmt.Errorf("plan %s: %w", u.ID, errNoAnswer)
	}
	return &ExperimentPlan{Unit: u.ID, Begin: q.Begin, End: q.End, Monitor: u.Monitor, Notes: answer.Notes, Plan: answer.Plan}, nil
}

var errNoAnswer = errors.New("tenon-duck gave no answer")
