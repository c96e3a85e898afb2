package project_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/planner/state"
)

// serving makes a state with one service in an environment, and its route.
func serving(t *testing.T, where, dir, env string, route *state.Route) {
	t.Helper()
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := state.OpenIn(ctx, where, env)
	check(err)
	check(s.Bind(ctx, dir))
	l, err := s.Lock(ctx, state.Holder{}, state.LockOptions{})
	check(err)
	u := &ir.Unit{ID: "deployments/api", Entity: "deployments/api", Kind: ir.Service, Component: "c", Digest: "sha256:def"}
	n, err := l.BeginRevision(ctx, state.Revision{System: "demo"})
	check(err)
	r := state.Run{Key: "k", Unit: u.ID, Definition: u.Digest, Attempt: 1, Revision: n, Started: time.Now()}
	r.ID, err = l.Begin(ctx, r)
	check(err)
	r.Outcome, r.Finished = state.Done, time.Now()
	check(l.Finish(ctx, r, u, &state.Current{Unit: u.ID, Kind: u.Kind, Definition: u.Digest, Key: "k", Revision: n, Since: r.Finished, Handle: &state.Handle{Executor: "process", ID: "api"}}))
	check(l.SetRoute(ctx, u.ID, route))
	check(l.EndRevision(ctx, n, state.Done, ""))
	check(l.Release(ctx))
	check(s.Close())
}

// A release of any environment has to end or pause first: who follows it would decide by the
// former state.
func TestAStateDoesNotMoveDuringARelease(t *testing.T) {
	two := []state.RouteVersion{{Name: "late v1", Key: "a", Weight: 90}, {Name: "late v2", Key: "b", Weight: 10}}
	for _, tt := range []struct {
		name  string
		route *state.Route
		want  string
	}{
		{"in progress", &state.Route{Versions: two}, "the release of deployments/api is in progress"},
		{"rejected", &state.Route{Versions: two, Paused: true, Rejected: &state.Rejected{Key: "b"}}, "the release of deployments/api is in progress"},
		{"paused", &state.Route{Versions: two, Paused: true}, ""},
		{"over", &state.Route{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			folder := filepath.Join(dir, ".tenon")
			serving(t, folder, folder, "prod", tt.route)
			_, err := project.New(project.Settings{Dir: dir}).MoveState(t.Context(), "postgres://tenon@127.0.0.1:1/postgres", project.MoveStateOptions{})
			want := tt.want
			if want == "" {
				want = "connection refused" // it got as far as the database
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

// In a folder, a state would take services of another machine for dead, and start them a
// second time.
func TestAStateMovesWhereItsServicesRun(t *testing.T) {
	server := postgrestest.Start(t)
	for _, tt := range []struct {
		phase state.Phase
		want  string
	}{
		{state.Failed, "deployments/api does not run here"},
		{state.Absent, "deployments/api does not run here"},
		{state.Ready, ""},
	} {
		t.Run(string(tt.phase), func(t *testing.T) {
			dir, url := t.TempDir(), server.URL()
			serving(t, url, filepath.Join(dir, ".tenon"), "", nil)
			p := project.New(project.Settings{Dir: dir, State: url, Faults: project.Faults{Executor: func(x executors.Executor) executors.Executor { return seenAs{x, tt.phase} }}})
			_, err := p.MoveState(t.Context(), filepath.Join(dir, ".tenon"), project.MoveStateOptions{})
			if got := err == nil; got != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// seenAs is an executor that sees everything in one phase.
type seenAs struct {
	executors.Executor
	phase state.Phase
}

func (s seenAs) Inspect(context.Context, state.Handle) (state.Status, error) {
	return state.Status{Phase: s.phase}, nil
}
