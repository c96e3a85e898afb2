package containerd

import (
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A service in a container keeps files in a folder of the machine.
func TestWhatAServiceKeepsIsMounted(t *testing.T) {
	u := ir.Unit{ID: "deployments/api", Entity: "deployments/api", Kind: ir.Service, Code: ir.Code{Runtime: ir.Command, Command: []string{"serve"}}, Keeps: "log"}
	if faults := new(Executor).Check(u); len(faults) > 0 {
		t.Errorf("with log there are the faults %v", faults)
	}
	doc, mounts := inside(executors.Task{Unit: u, Dir: "/state/runs/api", Kept: "/state/kept/deployments/api"})
	if want := "/state/kept/deployments/api -> /tenon/kept rw"; doc.Kept != "/tenon/kept" || !slices.Contains(listed(mounts), want) {
		t.Errorf("the folder is %s, and the mounts are %q", doc.Kept, listed(mounts))
	}
}

// A service that checks its requests finds tenon-duck in its image.
func TestAServiceMayStartDuckDB(t *testing.T) {
	u := ir.Unit{ID: "deployments/api", Entity: "deployments/api", Kind: ir.Service, Code: ir.Code{Runtime: ir.Command, Command: []string{"serve"}, DuckDB: "parity"}}
	if faults := new(Executor).Check(u); len(faults) > 0 {
		t.Errorf("there are the faults %v", faults)
	}
	if env := environ(executors.Task{Unit: u}, nil, nil, false); !slices.Contains(env, "TENON_DUCK=/tenon/bin/tenon-duck") {
		t.Errorf("its environment is %q", env)
	}
}

// A service finds the interpreter of each environment, and so does each version beside it.
func TestEnvironmentsInOneImage(t *testing.T) {
	code := ir.Code{Runtime: ir.Plane, Command: []string{"_tenon/w.py"}, Lock: "sha256:0a", Environments: []string{"sha256:feature"}}
	u := ir.Unit{ID: "deployments/api", Entity: "deployments/api", Kind: ir.Service, Code: code}
	if faults := new(Executor).Check(u); len(faults) > 0 {
		t.Errorf("there are the faults %v", faults)
	}
	other := u
	other.Code.Lock, other.Code.Environments = "sha256:0b", []string{"sha256:0123456789abcdef0123"}
	doc, _ := inside(executors.Task{Unit: u, Dir: "/run", Route: new(step.Route), Beside: map[string]executors.Task{"v1": {Unit: other, Dir: "/run"}}})
	if got := doc.Interpreters["sha256:feature"]; got != "/opt/tenon/env-feature/bin/python" {
		t.Errorf("that of the feature is %q", got)
	}
	beside := doc.Beside["v1"]
	if got := beside.Interpreters["sha256:0123456789abcdef0123"]; got != "/opt/tenon/env-0123456789abcdef/bin/python" {
		t.Errorf("beside it, that of the feature is %q", got)
	}
	if want := []string{"/opt/tenon/env-0b/bin/python", "_tenon/w.py"}; !slices.Equal(beside.Args, want) {
		t.Errorf("the version beside it gets %q, want %q", beside.Args, want)
	}
}
