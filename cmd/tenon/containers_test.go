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
