package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/test/containerdtest"
)

// madeImage is the base image that `make base-image` builds.
const madeImage = "localhost/tenon/python:3.11"

// startContainers starts a containerd for the test. target returns a target in it, with
// additional settings, and env is what tenon needs for it. The test fails if anything is
// left in it at the end.
func startContainers(t *testing.T) (d *containerdtest.Daemon, target func(settings string) string, env []string) {
	t.Helper()
	d, err := containerdtest.Start("/tmp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	target = func(settings string) string {
		return fmt.Sprintf("tenon.#Containerd & {namespace: %q, %s}", d.Namespace, settings)
	}
	return d, target, []string{"CONTAINERD_ADDRESS=" + d.Address}
}

// A container has the devices that were lent to its unit, those that every container has,
// and no other device of the machine.
func TestContainersSeeTheirOwnDevices(t *testing.T) {
	_, target, env := startContainers(t)
	s := newSystem(t, nil)
	defer s.remove()
	env = append(env, "TENON_CACHE="+sharedCache(t), "TENON_CDI="+filepath.Join(s.dir, "cdi"))
	s.write("cdi/lab.yaml", labSpec())
	s.write("devices.sh", "ls /dev | tee \"${TENON_STEP%/step.json}/out/out\"\n")
	s.write("system.cue", fmt.Sprintf(`package lab

import (
	"tenon.dev/step"
	"tenon.dev/tenon"
)

tenon.#System
name:   "lab"
target: "here"

targets: here: %s
resources: lab: tenon.#Pool & {cpu: 64, memory: "64GiB", gpu: {count: 8, model: "X1", memory: "16GiB"}}
steps: {
	[_]: step.#Command & {command: ["sh", "devices.sh"], files: ["devices.sh"], outputs: out: kind: "file"}
	none: params: gpus: 0
	three: {params: gpus: 3, needs: gpu: count: 3}
}
`, target(fmt.Sprintf("base: %q", madeImage))))
	if out, err := s.tenon([]string{"apply", "--yes"}, env...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// The kernel decides whether there is a /dev/core.
	every := []string{"fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"}
	for unit, want := range map[string][]string{"none": every, "three": slices.Sorted(slices.Values(append([]string{"lab0", "lab1", "lab2"}, every...)))} {
		out, err := s.tenon([]string{"logs", "steps/" + unit}, env...)
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		} else if got := slices.DeleteFunc(strings.Fields(out), func(f string) bool { return f == "core" }); !slices.Equal(got, want) {
			t.Errorf("%s sees %v, want %v", unit, got, want)
		}
	}
}

// What a job makes on this machine is current in containers, and the reverse, where the two
// cannot differ: not for a command, which may run any program, and for Python only with
// the same interpreter. A foreign key is checked wherever the table is made.
func TestTargetsShareResults(t *testing.T) {
	_, target, env := startContainers(t)
	s := newSystem(t, nil)
	defer s.remove()
	s.program = "tenon"
	env = append(env, "TENON_CACHE="+sharedCache(t))
	s.write("shops.csv", "id\n1\n2\n")
	s.write("sales.csv", "shop,amount\n1,10\n2,20\n,5\n")
	s.write("double.py", "def transform(t):\n    return t.assign(amount=t.amount * 2)\n")
	s.write("system.cue", fmt.Sprintf(`package lab

import (
	"tenon.dev/col"
	"tenon.dev/feature"
	"tenon.dev/source"
	"tenon.dev/step"
	"tenon.dev/tenon"
)

tenon.#System
name:   "lab"
target: *"local" | string @tag(target)

targets: here: %s
sources: shops: source.#CSV & {path: "shops.csv", schema: id: col.#Int64 & {unique: true}}
sources: sales: source.#CSV & {
	path: "sales.csv"
	references: shop: {table: sources.shops.out, columns: shop: "id"}
	schema: {shop: col.#Int64 & {nullable: true}, amount: col.#Int64}
}
features: double: feature.#Python & {in: t: sources.sales.out, script: "double.py", schema: {shop: col.#Int64 & {nullable: true}, amount: col.#Int64}}
steps: hello: step.#Command & {command: ["sh", "-c", "echo hello > \"${TENON_STEP%%/step.json}/out/out\""], outputs: out: kind: "file"}
`, target(fmt.Sprintf("base: %q", madeImage))))
	says := func(want string, args ...string) {
		t.Helper()
		if out, err := s.tenon(args, env...); err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v, want %q in\n%s", args, err, want, out)
		}
	}
	python := func(args ...string) string {
		t.Helper()
		out, err := s.tenon(append([]string{"plan", "--json"}, args...), env...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		_, rest, _ := strings.Cut(out, `"3.11": "`)
		exact, _, _ := strings.Cut(rest, `"`)
		return exact
	}
	in := []string{"-t", "target=here"}
	here, there := python(), python(in...)
	if !strings.HasPrefix(here, "3.11.") || !strings.HasPrefix(there, "3.11.") {
		t.Fatalf("Python is %q here and %q in the base", here, there)
	}
	says("4 ran", "apply", "--yes")
	moved, back := "1 ran, 3 reused", "4 reused"
	if here != there {
		moved = "2 ran, 2 reused"
		says("python: "+here+" -> "+there, append([]string{"plan"}, in...)...)
	}
	says("base image: none -> "+madeImage, append([]string{"plan"}, in...)...)
	says(moved, append([]string{"apply", "--yes"}, in...)...)
	says("Nothing to do", append([]string{"plan"}, in...)...)
	says(back, "apply", "--yes")

	s.write("sales.csv", "shop,amount\n1,10\n3,20\n")
	out, err := s.tenon(append([]string{"apply", "--yes"}, in...), env...)
	if want := "shop: 1 row refers to no row of sources.shops (id), such as 3 (row 2)"; err == nil || !strings.Contains(out, want) {
		t.Errorf("%v, want %q in\n%s", err, want, out)
	}
}
