package local_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local"
)

// Checkpoints are refused where an attempt could not resume, or not soundly.
func TestUnitsThatCannotKeepCheckpoints(t *testing.T) {
	for want, u := range map[string]ir.Unit{
		"":               {Kind: ir.Job},
		"does not end":   {Kind: ir.Service},
		"max_age allows": {Kind: ir.Job, MaxAge: time.Hour},
		"several nodes":  {Kind: ir.Job, Needs: ir.Resources{Nodes: 2}},
	} {
		u.Checkpoints = 2
		got := ""
		for _, f := range local.CheckProgram(u) {
			if f.Field == "checkpoints" {
				got += f.Message
			}
		}
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
}
