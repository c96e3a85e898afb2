package containerd

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

func TestFilesThatOutliveAContainerAreRefused(t *testing.T) {
	u := ir.Unit{ID: "deployments/api", Entity: "deployments/api", Kind: ir.Service, Code: ir.Code{Runtime: ir.Command, Command: []string{"serve"}}}
	if faults := new(Executor).Check(u); len(faults) > 0 {
		t.Fatalf("without log there are the faults %v", faults)
	}
	u.Keeps = "log"
	faults := new(Executor).Check(u)
	if len(faults) != 1 || faults[0].Field != "log" || !strings.Contains(faults[0].Message, "outlive") {
		t.Errorf("the faults are %v", faults)
	}
}
