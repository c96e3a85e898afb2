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

// cgroupPath is the control group of a container in every hierarchy.
func (e *Executor) cgroupPath(id string) string { return path.Join("/", e.opts.Namespace, id) }

// usage is what the container has used so far, as far as the kernel tells. The
// control group is there until the task is removed.
func (e *Executor) usage(r record) state.Usage {
	var u state.Usage
	if cgroups.Mode() == cgroups.Unified {
		group, err := cgroup2.Load(e.cgroupPath(r.ID))
		if err != nil {
			return u
		}
		m, err := group.Stat()
		if err != nil {
			return u
		}
		u.CPU = time.Duration(m.GetCPU().GetUsageUsec()) * time.Microsecond
		u.PeakMem = int64(m.GetMemory().GetMaxUsage())
		for _, io := range m.GetIo().GetUsage() {
			u.ReadBytes += int64(io.GetRbytes())
			u.WriteBytes += int64(io.GetWbytes())
		}
		return u
	}
	group, err := cgroup1.Load(cgroup1.StaticPath(e.cgroupPath(r.ID)))
	if err != nil {
		return u
	}
	m, err := group.Stat(cgroup1.IgnoreNotExist)
	if err != nil {
		return u
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
	return u
}

// outOfMemory reports whether the kernel killed in the container for want of
// memory.
func (e *Executor) outOfMemory(r record) bool {
	if cgroups.Mode() == cgroups.Unified {
		group, err := cgroup2.Load(e.cgroupPath(r.ID))
		if err != nil {
			return false
		}
		m, err := group.Stat()
		return err == nil && m.GetMemoryEvents().GetOomKill() > 0
	}
	group, err := cgroup1.Load(cgroup1.StaticPath(e.cgroupPath(r.ID)))
	if err != nil {
		return false
	}
	m, err := group.Stat(cgroup1.IgnoreNotExist)
	return err == nil && m.GetMemoryOomControl().GetOomKill() > 0
}

// processes are those of a container that the kernel still counts: containerd may
// know of a task no more although it is not dead yet, if its shim was killed.
func (e *Executor) processes(id string) []int {
	var pids []int
	if cgroups.Mode() == cgroups.Unified {
		group, err := cgroup2.Load(e.cgroupPath(id))
		if err != nil {
			return nil
		}
		found, err := group.Procs(true)
		if err != nil {
			return nil // it went meanwhile
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
