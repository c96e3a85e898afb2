package project

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/bundle"
	"github.com/tenon-ml/tenon/planner/state"
)

// A deployment of an environment with a name has that as a parameter, for its metrics.
func TestADeploymentOfAnEnvironmentIsExported(t *testing.T) {
	x := &exporting{replayed: &replayed{snapshot: &snapshot{}}, unit: &ir.Unit{ID: "deployments/api", Entity: "deployments/api"}}
	for params, want := range map[string]string{
		`{"deployment": "api", "system": "shop", "env": "prod"}`: "",
		`{"deployment": "api", "tls": {}}`:                       `deployments/api cannot be exported: "tls" means nothing on another machine`,
	} {
		x.unit.Params = json.RawMessage(params)
		if err := x.refused(bundle.Portable); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %q", params, err, want)
		}
	}
	x.unit.Params = json.RawMessage(`{"deployment": "api", "tls": {}, "auth": {}, "parity": 0.5, "queries": []}`)
	if err := x.refused(slices.Concat(bundle.Portable, beside)); err != nil {
		t.Errorf("as a graph: %v", err)
	}
}

// The selftest of a bundle shows no private values, also if the service keeps no log of requests.
func TestABundleKnowsThePrivateColumns(t *testing.T) {
	x := &exporting{replayed: &replayed{snapshot: &snapshot{}}, unit: &ir.Unit{ID: "deployments/api", Entity: "deployments/api", Params: json.RawMessage(`{"deployment":"api"}`)}}
	for private, want := range map[string]string{
		`{"request":{},"private":["birth","decade"]}`: `{"deployment":"api","private":["birth","decade"]}`,
		`{"request":{}}`: `{"deployment":"api"}`,
	} {
		x.units = map[string]*ir.Unit{"deployments/api/parity": {Params: json.RawMessage(private)}}
		if got, err := x.params(); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v, want %s", private, got, err, want)
		}
	}
}

// While two versions answer, neither is the one that is deployed.
func TestAServiceThatIsReleasedIsNotExported(t *testing.T) {
	ctx := t.Context()
	s, err := state.Open(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := s.Lock(ctx, state.Holder{}, state.LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release(ctx) //nolint:errcheck // the folder is removed
	u := &ir.Unit{ID: "deployments/api", Kind: ir.Service}
	w := &Workspace{store: s}
	for _, tt := range []struct {
		route *state.Route
		want  string
	}{
		{nil, ""},
		{&state.Route{Serial: 1, Versions: []state.RouteVersion{{Name: "late v1", Weight: 99}, {Name: "late v2", Weight: 1}}}, "late v1 and late v2 of deployments/api are being released"},
		{&state.Route{Serial: 3, Rejected: &state.Rejected{Name: "late v2"}}, ""},
	} {
		if err := l.MakeCurrent(ctx, u, state.Current{Unit: u.ID, Kind: u.Kind, Route: tt.route}); err != nil {
			t.Fatal(err)
		}
		if err := w.decided(ctx, u.ID); (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.route, err, tt.want)
		}
	}
}
