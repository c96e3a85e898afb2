package kubernetes_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// A program finds a token of the cluster only if its unit declares one.
func TestATokenThatIsDeclared(t *testing.T) {
	p := newPlace(t)
	e := p.executor(t)
	for name, want := range map[string]string{"declared": `[""]`, "undeclared": `["no such file or directory"]`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			task := job(t, name, "attack", `[["read", "/var/run/secrets/kubernetes.io/serviceaccount/token"]]`)
			task.Unit.Kubernetes = &ir.Placement{ServiceAccount: "default", Token: name == "declared"}
			if st := wait(t, e, apply(t, e, task))(); st.Phase != state.Succeeded {
				t.Fatalf("status %+v", st)
			}
			got, err := os.ReadFile(filepath.Join(task.Dir, "out", "out", "attacks.json"))
			ok(t, err)
			if string(got) != want {
				t.Errorf("to read it gave %s, want %s", got, want)
			}
		})
	}
}
