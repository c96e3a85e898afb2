package containerd

import (
	"cmp"
	"context"
	"maps"
	"os"
	"slices"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/gpu"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// nobody is the user that programs run as if tenon runs as root. By convention of
// rootless images, no image and no machine has a user with this number.
const nobody = 65532

// defaultPIDs is the limit of processes and threads of a unit that sets none.
const defaultPIDs = 4096

// hostname is the host name of every container.
const hostname = "tenon"

// hosts is /etc/hosts of a container without a network. Not every image has its own.
const hosts = "127.0.0.1 localhost " + hostname + "\n::1 localhost ip6-localhost ip6-loopback\n"

// owner returns the user that a program runs as.
func owner() (uid, gid int) {
	if os.Getuid() != 0 {
		return os.Getuid(), os.Getgid()
	}
	return nobody, nobody
}

// specification describes the container to the runtime. It holds no secret, because
// containerd stores it.
func (e *Executor) specification(t executors.Task, doc step.Step, mounts []specs.Mount, ofImage, socket []string) oci.SpecOpts {
	return oci.Compose(
		oci.WithDefaultSpec(),
		oci.WithoutRunMount,
		func(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
			uid, gid := owner()
			s.Root.Readonly = true
			s.Hostname = hostname
			s.Process = &specs.Process{
				User: specs.User{UID: uint32(uid), GID: uint32(gid)}, Cwd: "/",
				Args: command(t, doc, len(t.Env) > 0, socket), Env: environ(t, ofImage, e.opts.Env, open(t.Unit)),
				NoNewPrivileges: true, Capabilities: &specs.LinuxCapabilities{},
				// No core dump: it would write the memory, secrets included, to a disk.
				Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE"}},
			}
			s.Mounts = append(s.Mounts, mounts...)
			s.Mounts = append(s.Mounts, bind(e.opts.Runner, runnerPath, "ro"))
			if len(t.Env) > 0 {
				s.Mounts = append(s.Mounts, bind(e.secretsDir(containerID(t)), secretsDir, "ro"))
			}
			sharedMemory(s, t.Unit.Needs.Memory)
			limit(s.Linux.Resources, t.Unit.Needs, countsSwap())
			if open(t.Unit) {
				s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
				for _, file := range []string{"/etc/resolv.conf", "/etc/hosts"} {
					if _, err := os.Stat(file); err == nil {
						s.Mounts = append(s.Mounts, bind(file, file, "ro"))
					}
				}
			} else {
				s.Mounts = append(s.Mounts, bind(hostsPath(t.Dir), "/etc/hosts", "ro"))
			}
			s.Linux.Seccomp = seccomp.DefaultProfile(s) // after the capabilities, on which it depends
			return nil
		},
		func(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
			return gpu.Inject(s, t.Devices, e.opts.CDI)
		},
	)
}

// sharedMemory sets /dev/shm to half of the memory: libraries that load data in
// parallel pass it there.
func sharedMemory(s *specs.Spec, memory int64) {
	for i, m := range s.Mounts {
		if m.Destination == "/dev/shm" {
			s.Mounts[i].Options = slices.DeleteFunc(m.Options, func(o string) bool { return len(o) > 5 && o[:5] == "size=" })
			if memory > 0 {
				s.Mounts[i].Options = append(s.Mounts[i].Options, size(memory/2))
			}
		}
	}
}

// limit sets what the container may use. The runtime translates it to the control
// groups of the kernel.
func limit(r *specs.LinuxResources, needs ir.Resources, swap bool) {
	pids := cmp.Or(needs.PIDs, defaultPIDs)
	r.Pids = &specs.LinuxPids{Limit: &pids}
	if needs.Memory > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &needs.Memory}
		if swap {
			r.Memory.Swap = &needs.Memory // memory and swap together: no swap
		}
	}
	if needs.MilliCPU > 0 {
		q, period := quota(needs.MilliCPU)
		shares := uint64(max(2, needs.MilliCPU*1024/1000))
		r.CPU = &specs.LinuxCPU{Quota: &q, Period: &period, Shares: &shares}
	}
}

// countsSwap reports whether the kernel can limit swap.
func countsSwap() bool {
	if cgroups.Mode() == cgroups.Unified {
		return true
	}
	_, err := os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	return err == nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
