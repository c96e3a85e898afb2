package kubernetes

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/planner/state"
)

// A service moves with its target to another namespace or cluster, and stays where only the name of the place is another.
func TestAServiceMovesWithItsTarget(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	text := `apiVersion: v1
kind: Config
current-context: eu
clusters:
- {name: eu, cluster: {server: "https://eu.example:6443"}}
- {name: us, cluster: {server: "https://us.example:6443"}}
users:
- {name: me, user: {token: t}}
contexts:
- {name: eu, context: {cluster: eu, user: me, namespace: ml}}
- {name: renamed, context: {cluster: eu, user: me, namespace: ml}}
- {name: us, context: {cluster: us, user: me, namespace: ml}}
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	made := &cloud.Cluster{Name: "made"}
	for name, c := range map[string]struct {
		was   Place
		now   Settings
		moves [2]string
	}{
		"the same":                         {Place{Context: "eu", Namespace: "ml"}, Settings{}, [2]string{}},
		"another namespace":                {Place{Context: "eu", Namespace: "dev"}, Settings{}, [2]string{"namespace dev of eu", "namespace ml of eu"}},
		"another cluster":                  {Place{Context: "eu", Namespace: "ml"}, Settings{Context: "us"}, [2]string{"namespace ml of eu", "namespace ml of us"}},
		"another name of the same cluster": {Place{Context: "eu", Namespace: "ml"}, Settings{Context: "renamed"}, [2]string{}},
		"a context that is gone":           {Place{Context: "gone", Namespace: "ml"}, Settings{}, [2]string{}},
		"seen from within the cluster":     {Place{Context: "eu", Namespace: "ml"}, Settings{Context: "inside", Namespace: "ml"}, [2]string{}},
		"to a cluster that tenon made":     {Place{Context: "eu", Namespace: "ml"}, Settings{Cluster: made, Namespace: "ml"}, [2]string{"namespace ml of eu", "namespace ml of made"}},
		"back from it":                     {Place{Cluster: "made", Namespace: "ml"}, Settings{}, [2]string{"namespace ml of made", "namespace ml of eu"}},
		"a cluster that tenon made stays":  {Place{Cluster: "made", Namespace: "ml"}, Settings{Cluster: made, Namespace: "ml"}, [2]string{}},
	} {
		data, err := json.Marshal(taskState{Place: c.was, Name: "api-1"})
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Settings: c.now, Kubeconfig: path}
		if c.now.Context == "inside" {
			o.Home = c.now.Context
		}
		before, after := New(o).Placed(nil, state.Handle{Executor: Name, ID: "api-1", Data: data})
		if got := [2]string{before, after}; got != c.moves {
			t.Errorf("%s: %q, want %q", name, got, c.moves)
		}
	}
}
