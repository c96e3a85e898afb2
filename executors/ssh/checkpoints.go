package ssh

import (
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

// checkpointsOn notes which host has the checkpoints of a task.
func checkpointsOn(h Host, t executors.Task) error {
	if t.Checkpoints == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(t.Checkpoints.Path, hostFile), []byte(h.id()), 0o600)
}
