package containerd

import (
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// A service in a container keeps files in a folder of the machine, but cannot start DuckDB.
func TestWhatAServiceKeepsIsMounted(t *testing.T) {
	u := ir.Unit{ID: "deployments/api", Entity: "deployments/api", Kind: ir.Service, Code: ir.Code{Runtime: ir.Command, Command: []string{"serve"}}, Keeps: "log"}
	if faults := new(Executor).Check(u); len(faults) > 0 {
		t.Errorf("with log there are the faults %v", faults)
	}
	doc, mounts := inside(executors.Task{Unit: u, Dir: "/state/runs/api", Kept: "/state/kept/deployments/api"})
	if want := "/state/kept/deployments/api -> /tenon/kept rw"; doc.Kept != "/tenon/kept" || !slices.Contains(listed(mounts), want) {
		t.Errorf("the folder is %s, and the mounts are %q", doc.Kept, listed(mounts))
	}
	u.Code.DuckDB = "parity"
	faults := new(Executor).Check(u)
	if len(faults) != 1 || faults[0].Field != "parity" || !strings.Contains(faults[0].Message, "has no DuckDB") {
		t.Errorf("the faults are %v", faults)
	}
}

// An image has one Python environment. A service whose features have another one is refused.
func TestASecondEnvironmentIsRefused(t *testing.T) {
	u := ir.Unit{ID: "deployments/api", Entity: "deployments/api", Kind: ir.Service, Code: ir.Code{Runtime: ir.Command, Command: []string{"serve"}, Environments: []string{"sha256:x"}}}
	faults := new(Executor).Check(u)
	if len(faults) != 1 || faults[0].Field != "request" || !strings.Contains(faults[0].Message, "one Python environment") {
		t.Errorf("the faults are %v", faults)
	}
}
