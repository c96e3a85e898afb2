package local

import (
	"slices"

	"github.com/tenon-ml/tenon/planner/state"
)

// Messages of tasks of which nothing says how they ended.
const (
	Restarted    = "ended without an exit status: the machine was restarted"
	RunnerKilled = "ended without an exit status: tenon-run, which started it, was killed"
	ShimKilled   = "unknown exit status: its shim was killed, the machine was restarted, or the task was removed"
)

// CutOff reports whether a task was ended together with what it ran on, as by the stop of its machine. One that failed
// for a reason of its own, such as an output that it lacks or a full disk, was not.
func CutOff(st state.Status) bool {
	return st.Phase == state.Failed && st.ExitCode == 0 && st.Signal == "" && slices.Contains([]string{Restarted, RunnerKilled, ShimKilled}, st.Message)
}
