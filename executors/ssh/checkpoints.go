package ssh

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/tenon-ml/tenon/executors"
)

// hostFile is in the folder of this machine for the checkpoints of a run. It names the host that has them.
const hostFile = "host"

// resumable moves the host that has the checkpoints of a task to the front of a list.
func resumable(hosts []Host, t executors.Task) []Host {
	if t.Checkpoints == nil {
		return hosts
	}
	b, err := os.ReadFile(filepath.Join(t.Checkpoints.Path, hostFile))
	i := slices.IndexFunc(hosts, func(h Host) bool { return h.id() == string(b) })
	if err != nil || i < 0 {
		return hosts
	}
	first := hosts[i]
	return slices.Insert(slices.Delete(hosts, i, i+1), 0, first)
}

// checkpointsOn notes which host has the checkpoints of a task. The task runs there, whether this is possible or not.
func (e *Executor) checkpointsOn(h Host, t executors.Task) {
	if t.Checkpoints == nil {
		return
	}
	err := os.WriteFile(filepath.Join(t.Checkpoints.Path, hostFile), []byte(h.id()), 0o600)
	if err != nil && e.opts.Warn != nil {
		e.opts.Warn(fmt.Errorf("%s runs on host %s, but no note says that this has its checkpoints, so that a retry may begin again on another host: %w", t.Unit.ID, h, err))
	}
}
