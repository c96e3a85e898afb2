package local_test

import (
	"testing"

	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
)

// A task that was ended together with its machine may be repeated for free; one that failed by itself counts.
func TestTasksThatWereCutOff(t *testing.T) {
	for name, c := range map[string]struct {
		is   state.Status
		want bool
	}{
		"its machine was restarted": {state.Status{Phase: state.Failed, Message: local.Restarted}, true},
		"tenon-run was killed":      {state.Status{Phase: state.Failed, Message: local.RunnerKilled}, true},
		"its shim was killed":       {state.Status{Phase: state.Failed, Message: local.ShimKilled}, true},
		"it lacks an output":        {state.Status{Phase: state.Failed, Message: "output model: it does not exist"}, false},
		"its disk is full":          {state.Status{Phase: state.Failed, Message: "ended without an exit status: no space left on the disk of /runs"}, false},
		"it was too slow":           {state.Status{Phase: state.Failed, Message: "it took longer than its timeout"}, false},
		"its program has failed":    {state.Status{Phase: state.Failed, ExitCode: 1}, false},
		"it was killed":             {state.Status{Phase: state.Failed, ExitCode: 137, Signal: "SIGKILL", Message: local.Restarted}, false},
		"it has succeeded":          {state.Status{Phase: state.Succeeded}, false},
	} {
		if got := local.CutOff(c.is); got != c.want {
			t.Errorf("%s: cut off: %t", name, got)
		}
	}
}
