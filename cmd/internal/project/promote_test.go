package project

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A version that was rejected in an environment is not proven there, although its definition is
// deployed: the champion has the same one, and another model.
func TestARejectedVersionIsNotPromoted(t *testing.T) {
	p := &planner.Plan{
		System: &ir.System{Units: []ir.Unit{{ID: "deployments/api", Kind: ir.Service, Digest: "d"}}},
		Items:  []planner.Item{{Unit: "deployments/api", Kind: ir.Service, Action: planner.None}},
	}
	current := map[string]state.Current{"deployments/api": {Unit: "deployments/api", Kind: ir.Service, Definition: "d"}}
	if got := notDeployed(p, current); len(got) > 0 {
		t.Errorf("not deployed: %q", got)
	}
	p.Items[0].Rejected = "late v4 was rejected in revision 7: 3 of 3 requests failed"
	if got, want := notDeployed(p, current), []string{"deployments/api: " + p.Items[0].Rejected}; !slices.Equal(got, want) {
		t.Errorf("not deployed: %q, want %q", got, want)
	}
}

// What a release in an environment still tries is not proven there, nor is a version that was
// rejected and may be tried again: its key is not the champion's.
func TestAVersionThatIsTriedIsNotPromoted(t *testing.T) {
	p := &planner.Plan{
		System: &ir.System{Units: []ir.Unit{{ID: "deployments/api", Kind: ir.Service, Digest: "d"}}},
		Items:  []planner.Item{{Unit: "deployments/api", Kind: ir.Service, Action: planner.Update, Key: "b", Reasons: []planner.Reason{{What: "input model"}}}},
	}
	c := state.Current{Unit: "deployments/api", Kind: ir.Service, Definition: "d", Key: "a"}
	current := map[string]state.Current{c.Unit: c}
	if got, want := notDeployed(p, current), []string{"deployments/api: input model"}; !slices.Equal(got, want) {
		t.Errorf("not deployed: %q, want %q", got, want)
	}
	c.Key, c.Route = "b", &state.Route{Versions: []state.RouteVersion{{Name: "late v3", Key: "a", Weight: 90}, {Name: "late v4", Key: "b", Weight: 10}}}
	current[c.Unit] = c
	if got := notDeployed(p, current); len(got) > 0 {
		t.Errorf("not deployed: %q", got)
	}
	if got, want := notChampion(current), []string{"deployments/api: the release of late v4 is in progress: it answers 10 % of the requests"}; !slices.Equal(got, want) {
		t.Errorf("no champion: %q, want %q", got, want)
	}
}

// A collection works on all environments, whichever one the user has chosen.
func TestACollectionNeedsNoEnvironment(t *testing.T) {
	dir := t.TempDir()
	s, err := state.OpenIn(t.Context(), filepath.Join(dir, ".tenon"), "dev")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p := New(Settings{Dir: dir, Env: "prod"})
	called := false
	if err := p.WithAll(t.Context(), func(w *Workspace) error { called = w.Env() == ""; return nil }); err != nil || !called {
		t.Errorf("called %v, %v", called, err)
	}
	if err := p.WithApplied(t.Context(), func(*Workspace) error { return nil }); err == nil {
		t.Error("an environment that does not exist is there")
	}
}
