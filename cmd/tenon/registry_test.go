package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/internal/test/containerdtest"
	"github.com/tenon-ml/tenon/internal/test/registrytest"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// A lab is a system with one step, in an image of a registry that requires credentials.
type lab struct {
	*system
	containers *containerdtest.Daemon
	registry   *registrytest.Registry
	target     string
	env        []string
	tool       []byte // the program in the images
}

func newLab(t *testing.T) *lab {
	d, target, env := startContainers(t)
	l := &lab{system: newSystem(t, nil), containers: d, registry: registrytest.Start(t, registrytest.Options{User: "ann", Password: "s3cret", TLS: true})}
	t.Cleanup(l.remove)
	l.program = "tenon"
	l.target = target(fmt.Sprintf("hosts: %q", filepath.Join(l.dir, "hosts")))
	l.env = append(env, "TENON_CACHE="+filepath.Join(l.dir, "cache"), "DOCKER_CONFIG="+filepath.Join(l.dir, "ann"))
	l.write("hosts/"+l.registry.Host+"/ca.crt", string(l.registry.CA))
	for who, secret := range map[string]string{"ann": "s3cret", "bob": "wr0ng"} {
		l.write(who+"/config.json", fmt.Sprintf(`{"auths": {%q: {"username": "ann", "password": %q}}}`, l.registry.Host, secret))
	}
	built := filepath.Join(l.dir, "tool")
	if err := executortest.BuildStatic(built, "./testdata/tool"); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.tool, err = os.ReadFile(built); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) ref(name string) string { return l.registry.Host + "/" + name }

// push pushes an image with the given version text, and returns its reference by digest.
func (l *lab) push(name, version string) string {
	l.t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct{ name, text string }{{"etc/x", ""}, {"tool", string(l.tool)}, {"version", version}} {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o755, Size: int64(len(f.text))})
		if _, werr := w.Write([]byte(f.text)); err != nil || werr != nil {
			l.t.Fatal(errors.Join(err, werr))
		}
	}
	if err := w.Close(); err != nil {
		l.t.Fatal(err)
	}
	l.write("root.tar", b.String())
	s := image.New(image.Options{
		Dir: l.t.TempDir(), Hosts: filepath.Join(l.dir, "hosts"),
		Credentials: func(string) (string, string, error) { return "ann", "s3cret", nil },
	})
	made, err := s.Import(l.t.Context(), filepath.Join(l.dir, "root.tar"), "tool:1")
	if err != nil {
		l.t.Fatal(err)
	}
	img, err := s.Open(l.t.Context(), made)
	if err != nil {
		l.t.Fatal(err)
	}
	pinned, err := s.Push(l.t.Context(), img, l.ref(name))
	if err != nil {
		l.t.Fatal(err)
	}
	return pinned
}

// drop removes a repository from the registry.
func (l *lab) drop(repository string) {
	if err := os.RemoveAll(filepath.Join(l.registry.Dir, "docker/registry/v2/repositories", repository)); err != nil {
		l.t.Fatal(err)
	}
}

// uses gives the step another image.
func (l *lab) uses(ref string) {
	l.write("system.cue", fmt.Sprintf(`package lab

import (
	"tenon.dev/step"
	"tenon.dev/tenon"
)

tenon.#System
name:   "lab"
target: "here"
targets: here: %s
steps: tool: step.#Command & {
	image: %q
	command: ["/tool"]
	outputs: out: kind: "file"
}
`, l.target, ref))
}

func (l *lab) as(who string) []string {
	return append(l.env, "DOCKER_CONFIG="+filepath.Join(l.dir, who))
}

// must runs tenon, and checks its output.
func (l *lab) must(args string, wants ...string) string {
	l.t.Helper()
	out, err := l.tenon(strings.Fields(args), l.env...)
	if err != nil {
		l.t.Fatalf("tenon %s: %v\n%s", args, err, out)
	}
	l.has(out, wants...)
	return out
}

// refused runs tenon, which should fail.
func (l *lab) refused(env []string, args string, wants ...string) {
	l.t.Helper()
	out, err := l.tenon(strings.Fields(args), env...)
	if err == nil {
		l.t.Errorf("tenon %s is not refused\n%s", args, out)
	}
	l.has(out, wants...)
}

func (l *lab) has(out string, wants ...string) {
	l.t.Helper()
	for _, want := range wants {
		if !strings.Contains(out, want) {
			l.t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// wrote checks what the step wrote.
func (l *lab) wrote(want string) {
	l.t.Helper()
	var shown struct{ Artifacts map[string]string }
	if err := json.Unmarshal([]byte(l.must("show steps/tool --json")), &shown); err != nil {
		l.t.Fatal(err)
	}
	if got, err := os.ReadFile(shown.Artifacts["out"]); err != nil || string(got) != want {
		l.t.Errorf("it wrote %q, %v, want %q", got, err, want)
	}
}

// digestOf returns the part of a reference's digest that is shown.
func digestOf(pinned string) string {
	_, digest, _ := strings.Cut(pinned, "@")
	return artifact.Short(digest)
}

// A plan pins image names, and the pinned images run, even if a name refers to another
// image by then or the registry is not reachable.
func TestImagesOfARegistry(t *testing.T) {
	l := newLab(t)
	ref := l.ref("acme/tool:1")
	first := l.push("acme/tool:1", "one")
	l.uses(ref)

	// The error for a user without access includes the remedy.
	for _, command := range []string{"plan", "apply --yes"} {
		l.refused(l.as("bob"), command, "the image of steps/tool", "rejects the stored credentials", "docker login "+l.registry.Host)
	}
	var plan struct{ Images map[string]string }
	if err := json.Unmarshal([]byte(l.must("plan --json")), &plan); err != nil || len(plan.Images) != 1 || plan.Images[ref] != first {
		t.Errorf("the plan has the images %v, %v, want %s", plan.Images, err, first)
	}
	l.refused(l.as("bob"), "apply --yes", "load the image", "rejects the stored credentials", "docker login "+l.registry.Host) // for a layer
	l.must("apply --yes", "1 ran")
	l.wrote("one")
	l.must("show steps/tool", ref+"  "+digestOf(first))
	l.must("image list", ref)

	// A name is resolved once, and again if the user requests it.
	if out, err := l.tenon([]string{"plan", "--detailed-exitcode"}, l.as("bob")...); err != nil {
		t.Errorf("there is something to do, or to ask: %v\n%s", err, out)
	}
	l.refused(l.as("bob"), "plan --pull", "rejects the stored credentials")
	l.must("plan --rerun steps/tool --out saved.plan")
	second := l.push("acme/tool:1", "two")
	l.must("plan --detailed-exitcode", "Nothing to do")
	moved := "image " + ref + ": " + digestOf(first) + " -> " + digestOf(second)
	l.must("plan --pull", "1 to run", moved)
	l.must("plan", "1 to run", moved)

	// A saved plan has its own images.
	l.refused(l.env, "apply --yes --pull saved.plan", "--pull with tenon plan")
	l.must("apply --yes saved.plan", "1 ran")
	l.wrote("one")
	l.must("apply --yes --pull", moved, "1 ran")
	l.wrote("two")
	l.must("show steps/tool", ref+"  "+digestOf(second))
	l.must("rollback @2 --yes")
	l.wrote("one")
	l.must("apply --yes", "1 reused")
	l.wrote("two")

	// A mirror replaces a host that does not exist.
	l.write("hosts/registry.invalid/hosts.toml", fmt.Sprintf("server = \"https://registry.invalid\"\n[host.\"https://%s\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = %q\n",
		l.registry.Host, filepath.Join(l.dir, "hosts", l.registry.Host, "ca.crt")))
	l.uses("registry.invalid/acme/tool:1")
	l.must("apply --yes", `image: `+ref+` -> registry.invalid/acme/tool:1`, "1 ran")
	l.wrote("two")

	// The image was removed before it was fetched.
	gone := l.push("acme/gone:1", "three")
	l.uses(l.ref("acme/gone:1"))
	l.must("plan --out gone.plan", "1 to run")
	l.drop("acme/gone")
	l.refused(l.env, "apply --yes gone.plan", "image "+gone+" no longer exists", "--pull")
	l.refused(l.env, "apply --yes --pull", "image "+l.ref("acme/gone:1")+" does not exist", "tenon image import")
	l.wrote("two")

	// The image was removed from the registry, but is cached here.
	l.uses(ref)
	l.drop("acme/tool")
	l.registry.Stop()
	l.must("apply --yes --rerun steps/tool", "1 ran")
	l.wrote("two")
	l.refused(l.env, "plan --pull", "cannot reach "+l.registry.Host, "hosts.toml")

	// At the end nothing of it is left.
	if left := l.images(l.age()); len(left) < 2 {
		t.Errorf("containerd has the images %v", left)
	}
	l.must("gc --cache --yes", "images")
	if left := l.images(nil); len(left) > 0 {
		t.Errorf("containerd has still the images %v", left)
	}
}

// images returns the images of containerd, after changing each.
func (l *lab) images(change func(*images.Image)) (names []string) {
	c, err := l.containers.Client()
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	ctx := namespaces.WithNamespace(l.t.Context(), l.containers.Namespace)
	all, err := c.ImageService().List(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, img := range all {
		names = append(names, img.Name)
		if change != nil {
			change(&img)
			if _, err := c.ImageService().Update(ctx, img); err != nil {
				l.t.Fatal(err)
			}
		}
	}
	return names
}

// age makes images look unused for so long that they are garbage.
func (l *lab) age() func(*images.Image) {
	return func(img *images.Image) {
		for name, value := range img.Labels {
			if _, err := time.Parse(time.RFC3339, value); err == nil {
				img.Labels[name] = time.Now().Add(-2 * 30 * 24 * time.Hour).UTC().Format(time.RFC3339)
			}
		}
	}
}
