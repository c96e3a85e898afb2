package gpu_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/gpu"
)

// smi prints what nvidia-smi printed on the machine of an archive.
const smi = `#!/bin/sh
case "$1" in
--query-gpu=index,uuid,name,memory.total) cat table ;;
-L) cat list ;;
*) exit 1 ;;
esac
exit $(cat code 2>/dev/null)
`

// Every archive in testdata is a machine: the output of nvidia-smi, the CDI
// specifications, and the devices that must be found. TENON_UPDATE=1 rewrites them.
func TestDiscover(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			o, want := machine(t, a)
			found, err := gpu.Discover(t.Context(), o)
			got := describe(found)
			if err != nil {
				got = strings.ReplaceAll(err.Error(), filepath.Dir(o.NvidiaSMI), "$DIR") + "\n"
			}
			if os.Getenv("TENON_UPDATE") != "" {
				a.Files[len(a.Files)-1].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// machine unpacks an archive. The last file holds the expected devices.
func machine(t *testing.T, a *txtar.Archive) (gpu.Options, string) {
	t.Helper()
	dir := t.TempDir()
	o := gpu.Options{CDIDirs: []string{filepath.Join(dir, "cdi")}, NvidiaSMI: filepath.Join(dir, "nvidia-smi")}
	last := len(a.Files) - 1
	if a.Files[last].Name != "found" {
		t.Fatalf("the last file is %s", a.Files[last].Name)
	}
	write(t, o.NvidiaSMI, strings.ReplaceAll(smi, "cat ", "cat "+dir+"/"))
	for _, f := range a.Files[:last] {
		write(t, filepath.Join(dir, f.Name), string(f.Data))
	}
	return o, string(a.Files[last].Data)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func describe(found []executors.GPU) string {
	var b strings.Builder
	for _, g := range found {
		fmt.Fprintf(&b, "%s (%s) %q %s\n", g.Name, g.ID, g.Model, ir.FormatSize(g.Memory))
		for _, s := range g.Slices {
			fmt.Fprintf(&b, "  %s (%s) %s\n", s.Name, s.ID, s.Part)
		}
	}
	return b.String()
}

func TestAMachineWithoutGPUsIsNoError(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	found, err := gpu.Discover(t.Context(), gpu.Options{CDIDirs: []string{filepath.Join(t.TempDir(), "cdi")}})
	if len(found) > 0 || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestMatch(t *testing.T) {
	device := func(name, model string, memory int64, slices ...string) executors.GPU {
		g := executors.GPU{Device: executors.Device{Name: "x/gpu=" + name}, Model: model, Memory: memory << 30}
		for i, s := range slices {
			g.Slices = append(g.Slices, executors.Device{Name: fmt.Sprintf("x/gpu=%s:%d", name, i), Part: s})
		}
		return g
	}
	pool := func(name string, r ir.Resources, slices ...ir.Slice) ir.Pool {
		r.GPUMemory <<= 30
		return ir.Pool{Name: name, Resources: r, Slices: slices}
	}
	big, old := device("0", "NVIDIA H100 80GB HBM3", 79), device("1", "NVIDIA A100-SXM4-40GB", 39)
	cut := device("2", "NVIDIA A100-SXM4-80GB", 79, "1g.10gb", "1g.10gb", "3g.40gb")
	unknown := device("10", "", 0)
	all := []executors.GPU{big, old, cut, unknown}
	for _, c := range []struct {
		name  string
		pools []ir.Pool
		want  string
	}{
		{"no pool has any", []ir.Pool{pool("p", ir.Resources{})}, "machine: 0 1 10"},
		{"by model", []ir.Pool{pool("p", ir.Resources{GPU: 1, GPUModel: "A100-40GB"}), pool("q", ir.Resources{GPU: 1, GPUModel: "h100"})}, "p: 1, q: 0"},
		{"by memory, the smallest", []ir.Pool{pool("p", ir.Resources{GPU: 1, GPUMemory: 30}), pool("q", ir.Resources{GPU: 1, GPUMemory: 70})}, "p: 1, q: 0"},
		{"what asks for less gets what is left", []ir.Pool{pool("a", ir.Resources{GPU: 2}), pool("q", ir.Resources{GPU: 1, GPUModel: "H100"})}, "a: 1 10, q: 0"},
		{"by slices", []ir.Pool{pool("p", ir.Resources{GPU: 1}, ir.Slice{Name: "1g.10gb", Count: 2})}, "p: 2"},
		{"more than there are", []ir.Pool{pool("p", ir.Resources{GPU: 2, GPUModel: "H200", GPUMemory: 80})},
			"pool p declares 2 GPUs H200 of 80GiB, but this machine has 1 of them; found x/gpu=0 NVIDIA H100 80GB HBM3 of 79GiB; " +
				"x/gpu=1 NVIDIA A100-SXM4-40GB of 39GiB; x/gpu=2 NVIDIA A100-SXM4-80GB of 79GiB in 3 slices; x/gpu=10"},
		{"slices that are not there", []ir.Pool{pool("p", ir.Resources{GPU: 1}, ir.Slice{Name: "1g.10gb", Count: 3})},
			"pool p declares 1 GPU, each in 3 slices 1g.10gb, but this machine has 0 of them; found x/gpu=0 NVIDIA H100 80GB HBM3 of 79GiB; " +
				"x/gpu=1 NVIDIA A100-SXM4-40GB of 39GiB; x/gpu=2 NVIDIA A100-SXM4-80GB of 79GiB in 3 slices; x/gpu=10"},
	} {
		m, err := gpu.Match(c.pools, all)
		got := said(c.pools, m)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s:\n%s, want\n%s", c.name, got, c.want)
		}
	}
	if _, err := gpu.Match([]ir.Pool{pool("p", ir.Resources{GPU: 1})}, nil); err == nil || !strings.HasSuffix(err.Error(), "neither CDI specifications nor nvidia-smi report any GPU") {
		t.Errorf("on a machine without any: %v", err)
	}
}

func said(pools []ir.Pool, m map[string][]executors.GPU) string {
	var all []string
	for _, p := range append([]ir.Pool{{Name: executors.MachinePool}}, pools...) {
		if gpus, ok := m[p.Name]; ok {
			text := p.Name + ":"
			for _, g := range gpus {
				text += strings.TrimPrefix(g.Name, "x/gpu=") + " "
			}
			all = append(all, strings.Replace(strings.TrimSpace(text), ":", ": ", 1))
		}
	}
	return strings.Join(all, ", ")
}

func TestInjectGivesAContainerItsDevices(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x.yaml"), `cdiVersion: 0.6.0
kind: x.example/gpu
containerEdits:
  env: [COMMON=1]
devices:
- name: "0"
  containerEdits:
    deviceNodes: [{path: /dev/gpu0, hostPath: /dev/null}]
- name: "1"
  containerEdits:
    deviceNodes: [{path: /dev/gpu1, hostPath: /dev/null}]
`)
	device := executors.Device{Name: "x.example/gpu=1", Part: "1/2"}
	var spec specs.Spec
	if err := gpu.Inject(&spec, []executors.Device{device, device}, []string{dir}); err != nil {
		t.Fatal(err)
	}
	if d := spec.Linux.Devices; len(d) != 1 || d[0].Path != "/dev/gpu1" || d[0].Major != 1 || d[0].Minor != 3 || spec.Process.Env[0] != "COMMON=1" {
		t.Errorf("the container gets %+v and %v", d, spec.Process.Env)
	}
	err := gpu.Inject(&spec, []executors.Device{{Name: "x.example/gpu=2"}}, []string{dir})
	if err == nil || !strings.HasPrefix(err.Error(), "no CDI specification has x.example/gpu=2: ") {
		t.Errorf("a device that does not exist: %v", err)
	}
}
