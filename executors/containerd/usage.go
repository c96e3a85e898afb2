package containerd

import (
	"path"
	"strings"
	"time"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"

	"github.com/tenon-ml/tenon/planner/state"
)

// cgroupPath returns the control group of a container, the same in every hierarchy.
func (e *Executor) cgroupPath(id string) string { return path.Join("/", e.opts.Namespace, id) }

// usage returns what the container has used so far, and whether the kernel killed a
// process in it because it ran out of memory, as far as the kernel reports. The control
// group exists until the task is removed.
func (e *Executor) usage(id string) (u state.Usage, outOfMemory bool) {
	if cgroups.Mode() == cgroups.Unified {
		group, err := cgroup2.Load(e.cgroupPath(id))
		if err != nil {
			return u, false
		}
		m, err := group.Stat()
		if err != nil {
			return u, false
		}
		u.CPU = time.Duration(m.GetCPU().GetUsageUsec()) * time.Microsecond
		u.PeakMem = int64(m.GetMemory().GetMaxUsage())
		for _, io := range m.GetIo().GetUsage() {
			u.ReadBytes += int64(io.GetRbytes())
			u.WriteBytes += int64(io.GetWbytes())
		}
		return u, m.GetMemoryEvents().GetOomKill() > 0
	}
	group, err := cgroup1.Load(cgroup1.StaticPath(e.cgroupPath(id)))
	if err != nil {
		return u, false
	}
	m, err := group.Stat(cgroup1.IgnoreNotExist)
	if err != nil {
		return u, false
	}
	u.CPU = time.Duration(m.GetCPU().GetUsage().GetTotal())
	u.PeakMem = int64(m.GetMemory().GetUsage().GetMax())
	for _, io := range m.GetBlkio().GetIoServiceBytesRecursive() {
		switch strings.ToLower(io.GetOp()) {
		case "read":
			u.ReadBytes += int64(io.GetValue())
		case "write":
			u.WriteBytes += int64(io.GetValue())
		}
	}
	return u, m.GetMemoryOomControl().GetOomKill() > 0
}

// processes returns the processes that the kernel still counts for a container. If its
// shim was killed, containerd may have forgotten a task that is still alive.
func (e *Executor) processes(id string) []int {
	var pids []int
	if cgroups.Mode() == cgroups.Unified {
		group, err := cgroup2.Load(e.cgroupPath(id))
		if err != nil {
			return nil
		}
		found, err := group.Procs(true)
		if err != nil {
			return nil // it has ended meanwhile
		}
		for _, pid := range found {
			pids = append(pids, int(pid))
		}
		return pids
	}
	group, err := cgroup1.Load(cgroup1.StaticPath(e.cgroupPath(id)))
	if err != nil {
		return nil
	}
	found, err := group.Processes(cgroup1.Devices, true)
	if err != nil {
		return nil
	}
	for _, p := range found {
		pids = append(pids, p.Pid)
	}
	return pids
}
