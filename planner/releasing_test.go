package planner_test

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// What callers must show is that of the champion, also after its challenger was rejected and the
// process of both still runs.
func TestANewVersionIsComparedWithTheChampion(t *testing.T) {
	api := func(fields string) *ir.System {
		return sys(service("deployments/api", params(fields), func(u *ir.Unit) {
			u.Endpoint = &ir.Endpoint{Port: 1, Replicas: 1}
			u.Release = &ir.Release{Steps: []int{10, 100}, Edge: ir.Edge{Params: []string{"auth"}, Identifies: []string{"auth"}}}
		}))
	}
	const open, closed = `{"n":1}`, `{"n":2,"auth":{}}`
	for name, c := range map[string]struct {
		champion, challenger, third string
		refused                     bool
	}{
		"the rejected version had auth": {open, closed, `{"n":3}`, false},
		"the champion has auth":         {closed, open, `{"n":3}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := world1(t)
			w.apply(w.plan(api(c.challenger)))
			current, err := w.store.Current(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			key := current["deployments/api"].Key
			champion := api(c.champion).Unit("deployments/api")
			route := &state.Route{Serial: 1, Rejected: &state.Rejected{Name: "v2", Key: key}, Versions: []state.RouteVersion{
				{Name: "v1", Key: "1", Unit: champion, Weight: 100}, {Name: "v2", Key: key},
			}}
			if err := w.lease.SetRoute(t.Context(), "deployments/api", route); err != nil {
				t.Fatal(err)
			}
			if _, err := w.try(api(c.third)); (err != nil) != c.refused || err != nil && !strings.Contains(err.Error(), "without auth") {
				t.Errorf("error %v, refused: %t", err, c.refused)
			}
		})
	}
}
