package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func specOf(t *testing.T, task executors.Task, ofImage ...string) *specs.Spec {
	t.Helper()
	e := New(Options{Runner: "/opt/tenon-run", Env: []string{"https_proxy=http://proxy:1", "PATH=/mine", "AWS_SECRET_ACCESS_KEY=mine"}})
	doc, mounts := inside(task)
	ctx := namespaces.WithNamespace(context.Background(), defaultNamespace)
	s, err := oci.GenerateSpec(ctx, nil, &containers.Container{ID: containerID(task)}, e.specification(task, doc, mounts, ofImage, nil))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func exampleJob() executors.Task {
	return executors.Task{
		Unit: ir.Unit{ID: "steps/clean/run", Kind: ir.Job, Code: ir.Code{Runtime: ir.Command, Command: []string{"clean", "--all"}},
			Outputs: []ir.Output{{Port: "out", Kind: ir.File}}},
		Name: "steps-clean-run-0011-1", Dir: "/state/runs/steps-clean-run-0011-1", Code: "/state/code/00",
		Inputs: map[string]step.Port{"flights": {Kind: ir.Table, Path: "/state/artifacts/aa/bb"}},
		Files:  map[string][]string{"data/*.csv": {"/home/data/a.csv", "/home/data/b.csv"}},
	}
}

func exampleService() executors.Task {
	return executors.Task{
		Unit: ir.Unit{ID: "deployments/api/serve", Kind: ir.Service,
			Code:     ir.Code{Runtime: ir.Python, Command: []string{"serve.py"}, Lock: "sha256:00", Files: []ir.CodeFile{{Path: "serve.py"}}},
			Endpoint: &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/ready"},
			Needs:    ir.Resources{MilliCPU: 1500, Memory: 2 << 30, PIDs: 64},
			Secrets:  []ir.Secret{{Name: "PASSWORD"}, {Name: "TOKEN", As: ir.AsFile}},
		},
		Name: "deployments-api-serve-0011-1", Dir: "/state/runs/deployments-api-serve-0011-1", Code: "/state/code/00", Lock: "/state/code/00.lock",
		Env: map[string]string{"PASSWORD": "correct-horse", "TOKEN": "battery-staple"},
	}
}

// The whole specification of a container. TENON_UPDATE=1 rewrites it.
func TestSpecification(t *testing.T) {
	for name, task := range map[string]executors.Task{"job": exampleJob(), "service": exampleService()} {
		t.Run(name, func(t *testing.T) {
			s := specOf(t, task, "PATH=/image/bin", "LANG=de_DE.UTF-8")
			got, err := json.MarshalIndent(withoutMachine(t, s), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			executortest.Golden(t, filepath.Join("testdata", name+".json"), got)
			for _, secret := range task.Env {
				if strings.Contains(string(got), secret) {
					t.Error("it holds a secret")
				}
			}
		})
	}
}

// withoutMachine removes from a specification what differs from machine to machine.
func withoutMachine(t *testing.T, s *specs.Spec) *specs.Spec {
	t.Helper()
	profile := seccomp.DefaultProfile(s)
	if diff := cmp.Diff(profile, s.Linux.Seccomp); diff != "" {
		t.Errorf("the profile of system calls is not containerd's own for these capabilities:\n%s", diff)
	}
	s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: profile.DefaultAction}
	if m := s.Linux.Resources.Memory; m != nil && m.Swap == nil {
		m.Swap = m.Limit
	}
	memory := New(Options{}).memory()
	for i, m := range s.Mounts {
		s.Mounts[i].Source = strings.Replace(m.Source, memory+"/tenon-", "/memory/tenon-", 1)
	}
	s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return strings.HasPrefix(m.Source, "/etc/") })
	return s
}

func TestNetworks(t *testing.T) {
	endpoint := []ir.Input{{Port: "api", Kind: ir.EndpointOf}}
	for name, c := range map[string]struct {
		unit ir.Unit
		open bool
	}{
		"a job that says nothing":       {ir.Unit{Kind: ir.Job}, false},
		"a job that says none":          {ir.Unit{Kind: ir.Job, Network: ir.NetworkNone}, false},
		"a job that asks for it":        {ir.Unit{Kind: ir.Job, Network: ir.NetworkOpen}, true},
		"a job that reads an endpoint":  {ir.Unit{Kind: ir.Job, Inputs: endpoint}, true},
		"a job that reads another port": {ir.Unit{Kind: ir.Job, Inputs: []ir.Input{{Port: "api", Kind: ir.Table}}}, false},
		"a service that listens":        {ir.Unit{Kind: ir.Service, Endpoint: &ir.Endpoint{Port: 8080}}, true},
		"a service that does not":       {ir.Unit{Kind: ir.Service}, false},
	} {
		s := specOf(t, executors.Task{Unit: c.unit, Name: "x", Dir: "/run"})
		own := slices.ContainsFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
		proxy := slices.Contains(s.Process.Env, "https_proxy=http://proxy:1")
		resolves := slices.ContainsFunc(s.Mounts, func(m specs.Mount) bool { return m.Source == "/etc/hosts" })
		if own == c.open || proxy != c.open || resolves != c.open {
			t.Errorf("%s: a network of its own: %v, the machine's proxy: %v, names: %v", name, own, proxy, resolves)
		}
	}
}

// The runtime translates these for both versions of control groups: CPU quota and
// shares into cpu.max and cpu.weight, memory and swap together into memory.max and
// memory.swap.max, processes into pids.max.
func TestLimits(t *testing.T) {
	pids := func(n int64) *specs.LinuxPids { return &specs.LinuxPids{Limit: &n} }
	memory := func(n, swap int64) *specs.LinuxMemory {
		if swap == 0 {
			return &specs.LinuxMemory{Limit: &n}
		}
		return &specs.LinuxMemory{Limit: &n, Swap: &swap}
	}
	cpu := func(quota int64, shares uint64) *specs.LinuxCPU {
		period := uint64(100_000)
		return &specs.LinuxCPU{Quota: &quota, Period: &period, Shares: &shares}
	}
	for name, c := range map[string]struct {
		needs ir.Resources
		swap  bool
		want  specs.LinuxResources
	}{
		"nothing":              {ir.Resources{}, true, specs.LinuxResources{Pids: pids(4096)}},
		"half a core":          {ir.Resources{MilliCPU: 500}, true, specs.LinuxResources{Pids: pids(4096), CPU: cpu(50_000, 512)}},
		"many cores":           {ir.Resources{MilliCPU: 64_000}, true, specs.LinuxResources{Pids: pids(4096), CPU: cpu(6_400_000, 65_536)}},
		"the least of a core":  {ir.Resources{MilliCPU: 1}, true, specs.LinuxResources{Pids: pids(4096), CPU: cpu(1000, 2)}},
		"memory":               {ir.Resources{Memory: 1 << 30}, true, specs.LinuxResources{Pids: pids(4096), Memory: memory(1<<30, 1<<30)}},
		"memory without swap":  {ir.Resources{Memory: 1 << 30}, false, specs.LinuxResources{Pids: pids(4096), Memory: memory(1<<30, 0)}},
		"processes":            {ir.Resources{PIDs: 8}, true, specs.LinuxResources{Pids: pids(8)}},
		"disk, which is asked": {ir.Resources{Disk: 1 << 30}, true, specs.LinuxResources{Pids: pids(4096)}},
	} {
		var got specs.LinuxResources
		limit(&got, c.needs, c.swap)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestSharedMemory(t *testing.T) {
	for memory, want := range map[int64]string{0: "", 64 << 20: "size=33554432"} {
		s := specOf(t, executors.Task{Unit: ir.Unit{Needs: ir.Resources{Memory: memory}}, Name: "x", Dir: "/run"})
		i := slices.IndexFunc(s.Mounts, func(m specs.Mount) bool { return m.Destination == "/dev/shm" })
		sizes := slices.DeleteFunc(slices.Clone(s.Mounts[i].Options), func(o string) bool { return !strings.HasPrefix(o, "size=") })
		if got := strings.Join(sizes, " "); got != want {
			t.Errorf("with %d of memory /dev/shm has %q, want %q", memory, got, want)
		}
	}
}

func TestFoldersOfSecrets(t *testing.T) {
	base := t.TempDir()
	for name, c := range map[string]struct {
		make func(dir string) error
		fine bool
	}{
		"none yet":         {func(string) error { return nil }, true},
		"its own":          {func(dir string) error { return os.Mkdir(dir, 0o700) }, true},
		"open to others":   {func(dir string) error { return os.Mkdir(dir, 0o755) }, false},
		"somebody else's":  {func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 1234, 1234)) }, false},
		"a link elsewhere": {func(dir string) error { return os.Symlink(base, dir) }, false},
		"a file":           {func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, false},
	} {
		dir := filepath.Join(base, name)
		if err := c.make(dir); err != nil {
			t.Fatal(err)
		}
		if err := ownFolder(dir); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}
