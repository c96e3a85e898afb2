package project

import (
	"context"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/slo/rules"
)

// measuredService finds what a question about objectives is about: the requests that the version which answers
// now has answered, or, in a step of a release, those that the new version has answered in that step.
func (w *Workspace) measuredService(ctx context.Context, service *ir.Unit, q *window.Question) error {
	current, err := w.store.Current(ctx)
	if err != nil {
		return err
	}
	revisions, err := w.store.Revisions(ctx, 0)
	if err != nil {
		return err
	}
	burns := rules.Burns(q.Monitor.Window)
	q.Begin = q.End.Add(-duration.Parse(burns[len(burns)-1].Long))
	// A time in the past may be one of an earlier version, of which nothing is known here.
	if version, since := answers(current[service.ID], revisions); since.Before(q.End) && (version != "" || since.After(q.Begin)) {
		q.Version, q.Begin = version, since
	}
	first := q.End.Add(-q.Monitor.Window)
	if q.Begin.Before(first) {
		first = q.Begin
	}
	q.Log, err = w.brought(ctx, service, requests.Audit(w.kept(service)), first)
	return gap(q, err)
}

// answers returns since when the version of a service that is judged has answered as it does now. It has a name
// if that is the new version in a step of a release.
func answers(c state.Current, revisions []state.Revision) (version string, since time.Time) {
	revision := c.Revision
	switch r := c.Route; {
	case r.Releasing() && r.Challenger().Weight > 0: // a shadow answers nothing
		return r.Challenger().Name, r.Since
	case r.Releasing() || r.Ending():
		revision = r.Champion().Revision
	}
	return "", answersSince(c.Since, revision, revisions)
}
