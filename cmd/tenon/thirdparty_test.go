package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"cuelang.org/go/mod/modconfig"
	"cuelang.org/go/mod/modregistry"
	"cuelang.org/go/mod/module"
	"cuelang.org/go/mod/modzip"

	"github.com/tenon-ml/tenon/internal/test/registrytest"
	"github.com/tenon-ml/tenon/planner/state"
)

// A guest is the system of docs/components.md, with the module of that page, which is
// published to a registry.
type guest struct {
	*system
	module string // its folder
	env    []string
}

// newGuest writes both from the page.
func newGuest(t *testing.T, registry string) *guest {
	t.Helper()
	s := newSystem(t, nil)
	g := &guest{system: s, module: filepath.Join(s.dir, "lake")}
	t.Cleanup(s.remove)
	s.program = "tenon"
	g.env = []string{"CUE_REGISTRY=" + registry, "CUE_CACHE_DIR=" + filepath.Join(s.dir, "cue"), "TENON_CACHE=" + sharedCache(t)}
	page, err := os.ReadFile("../../docs/components.md")
	s.check(err)
	blocks := regexp.MustCompile("(?m)^```[a-z]+\n(?://|#) file: (.*)\n((?s:.*?))^```$").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 10 {
		t.Fatalf("the page has only %d files", len(blocks))
	}
	for _, b := range blocks {
		if filepath.Base(b[1]) != "local-module.cue" {
			s.write(b[1], b[2])
		}
	}
	lock, err := os.ReadFile("testdata/thirdparty/requirements.lock")
	s.check(err)
	s.write("lake/yaml/requirements.lock", string(lock))
	s.write("lake/yaml/test_yaml.py", "assert False, 'a test is no code'\n")
	var rows strings.Builder
	for i := range 40 {
		fmt.Fprintf(&rows, "- {id: %d, weight: %d.0, usage: %d.5}\n", i, 900+7*i, 4+i/9)
	}
	s.write("cars/cars.yaml", rows.String())
	s.dir = filepath.Join(s.dir, "cars")
	return g
}

// publish publishes the module as `cue mod publish` does.
func (g *guest) publish(version string) {
	g.t.Helper()
	v := module.MustNewVersion("acme.example/lake@v0", version)
	var zip bytes.Buffer
	g.check(modzip.CreateFromDir(&zip, v, g.module))
	resolver, err := modconfig.NewResolver(&modconfig.Config{Env: append(os.Environ(), g.env...), ClientType: "tenon-test"})
	g.check(err)
	client := modregistry.NewClientWithResolver(resolver)
	g.check(client.PutModule(g.t.Context(), v, bytes.NewReader(zip.Bytes()), int64(zip.Len())))
}

// cached returns the path of a module's file in CUE's cache.
func (g *guest) cached(name string) string {
	g.t.Helper()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(g.dir), "cue/mod/extract/acme.example/lake@*", name))
	if err != nil || len(found) != 1 {
		g.t.Fatalf("the cache holds %v: %v", found, err)
	}
	return found[0]
}

// forget removes CUE's cache of modules.
func (g *guest) forget() {
	g.t.Helper()
	dir := filepath.Join(filepath.Dir(g.dir), "cue")
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(p, 0o755)
		}
		return err
	})
	g.check(os.RemoveAll(dir))
}

func (g *guest) must(args ...string) string {
	g.t.Helper()
	out, err := g.tenon(args, g.env...)
	if err != nil {
		g.t.Fatalf("tenon %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused returns the error of a command that must fail.
func (g *guest) refused(args ...string) string {
	g.t.Helper()
	out, err := g.tenon(args, g.env...)
	if err == nil {
		g.t.Fatalf("tenon %s is not refused:\n%s", strings.Join(args, " "), out)
	}
	return out
}

func (g *guest) says(out string, wanted ...string) {
	g.t.Helper()
	for _, w := range wanted {
		if !strings.Contains(out, w) {
			g.t.Errorf("it does not say %q:\n%s", w, out)
		}
	}
}

// digest returns the digest of an artifact.
func (g *guest) digest(unit, port string) string {
	g.t.Helper()
	var shown struct {
		Run struct {
			Outputs map[string]struct{ Digest string }
		}
	}
	g.check(json.Unmarshal([]byte(g.must("show", unit, "--json")), &shown))
	return shown.Run.Outputs[port].Digest
}

// lockedModules returns the pins of tenon.lock.
func (g *guest) lockedModules() map[string]string {
	g.t.Helper()
	var doc struct {
		Version int
		Modules map[string]string
	}
	b, err := os.ReadFile(filepath.Join(g.dir, "tenon.lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	g.check(err)
	g.check(json.Unmarshal(b, &doc))
	if doc.Version != 2 {
		g.t.Errorf("tenon.lock has version %d", doc.Version)
	}
	return doc.Modules
}

func (g *guest) replaceIn(path, old, new string) {
	g.t.Helper()
	b, err := os.ReadFile(path)
	g.check(err)
	if !bytes.Contains(b, []byte(old)) {
		g.t.Fatalf("%s does not hold %q", path, old)
	}
	g.check(os.Chmod(path, 0o644))
	g.check(os.WriteFile(path, bytes.Replace(b, []byte(old), []byte(new), 1), 0o644))
}

// A published module provides a source, a trainer and a step, and a system uses them like
// those of the library, on local processes.
func TestAPublishedModule(t *testing.T) {
	registry := registrytest.Start(t, registrytest.Options{})
	g := newGuest(t, registry.Host)
	g.publish("v0.1.0")
	first := g.must("apply", "--yes")
	g.says(first, "wrote tenon.lock", "5 ran, 1 created")
	pins := g.lockedModules()
	if len(pins) != 1 || !strings.HasPrefix(pins["acme.example/lake@v0.1.0"], "sha256:") {
		t.Errorf("tenon.lock pins %v", pins)
	}
	g.says(g.must("plan"), "Nothing to do")
	g.says(g.must("graph"), `models/usage\nacme.example/lake.ridge`)
	table, checksum := g.digest("sources/cars", "out"), g.digest("steps/checksum", "out")

	// Its code is in the IR, file by file, without tests and other files.
	var doc struct {
		Units []struct {
			ID, Component string
			Code          struct {
				Files []struct{ Path string }
				Lock  string
			}
		}
	}
	g.check(json.Unmarshal([]byte(g.must("compile", "--json")), &doc))
	files := map[string]string{}
	for _, u := range doc.Units {
		for _, f := range u.Code.Files {
			files[u.ID] += f.Path + " "
		}
	}
	for unit, want := range map[string]string{
		"sources/cars": "_tenon/main.py _tenon/tenon_checkpoint.py _tenon/tenon_column.py _tenon/tenon_step.py _tenon/tenon_table.py ", "steps/checksum": "_tenon/checksum.sh ",
		"models/usage/train": "_tenon/main.py _tenon/tenon_checkpoint.py _tenon/tenon_column.py _tenon/tenon_flavours.py _tenon/tenon_model.py _tenon/tenon_onnx.py _tenon/tenon_pipeline.py _tenon/tenon_sklearn.py _tenon/tenon_step.py _tenon/tenon_table.py _tenon/tenon_weights.py ",
	} {
		if files[unit] != want {
			t.Errorf("the code of %s is %s, want %s", unit, files[unit], want)
		}
	}

	// The compiled system is cached, but a change in CUE's cache is noticed.
	g.replaceIn(g.cached("checksum/checksum.sh"), "sha256sum", "md5sum")
	g.says(g.refused("plan"), "does not match its digest in tenon.lock")
	g.replaceIn(g.cached("checksum/checksum.sh"), "md5sum", "sha256sum")
	g.says(g.must("plan"), "Nothing to do")

	// A change beside the code changes nothing. A change of code runs the unit again; its
	// output is the same, so nothing else runs.
	g.replaceIn(filepath.Join(g.module, "yaml/test_yaml.py"), "no code", "none")
	g.publish("v0.1.1")
	g.replaceIn(filepath.Join(g.dir, "cue.mod/module.cue"), "v0.1.0", "v0.1.1")
	g.says(g.must("plan"), "Nothing to do")
	if pins := g.lockedModules(); len(pins) != 1 || pins["acme.example/lake@v0.1.1"] == "" {
		t.Errorf("after the upgrade tenon.lock pins %v", pins)
	}
	g.replaceIn(filepath.Join(g.module, "yaml/main.py"), `"""Rows`, `"""All rows`)
	g.publish("v0.1.2")
	g.replaceIn(filepath.Join(g.dir, "cue.mod/module.cue"), "v0.1.1", "v0.1.2")
	g.says(g.must("plan"), "sources/cars", "code")
	g.must("plan", "--out", "saved.plan")

	// The plan contains the code: the registry may be down, and the cache empty.
	registry.Stop()
	g.forget()
	g.says(g.must("apply", "--yes", "saved.plan"), "1 ran")
	if got := g.digest("sources/cars", "out"); got != table {
		t.Errorf("the table is %s, and was %s", got, table)
	}
	g.says(g.refused("plan"), "acme.example/lake", "cue.mod/module.cue")
	g.must("rollback", "--yes")
	if got := g.digest("steps/checksum", "out"); got != checksum {
		t.Errorf("the checksum is %s, and was %s", got, checksum)
	}
	var revisions []state.Revision
	g.check(json.Unmarshal([]byte(g.must("history", "--json")), &revisions))
	if len(revisions) != 3 {
		t.Errorf("revisions: %+v", revisions)
	}
}

// A module that differs from the pinned one is refused, wherever it was changed.
func TestAModuleThatIsNotThePinnedOne(t *testing.T) {
	registry := registrytest.Start(t, registrytest.Options{})
	g := newGuest(t, registry.Host)
	g.publish("v0.1.0")
	g.must("compile")
	before, err := os.ReadFile(filepath.Join(g.dir, "tenon.lock"))
	g.check(err)

	g.replaceIn(g.cached("yaml/main.py"), "safe_load", "unsafe_load")
	refusal := g.refused("compile")
	g.says(refusal, "module acme.example/lake@v0.1.0 does not match its digest in tenon.lock", "cue.mod/module.cue:4:2", "wanted: sha256:", "remove its line")

	// It was published again with other content.
	g.forget()
	g.replaceIn(filepath.Join(g.module, "yaml/main.py"), "safe_load", "unsafe_load")
	g.publish("v0.1.0")
	g.says(g.refused("plan"), "does not match its digest in tenon.lock")
	after, err := os.ReadFile(filepath.Join(g.dir, "tenon.lock"))
	g.check(err)
	if !bytes.Equal(before, after) {
		t.Errorf("tenon.lock changed:\n%s", after)
	}

	// A folder that replaces it is not pinned, and the pin stays for users without the
	// replacement.
	g.write("cue.mod/local-module.cue", "deps: {\n\t\"acme.example/lake@v0\": replaceWith: \"../lake\"\n\t\"tenon.dev@v0\": default: true\n}\n")
	g.must("compile")
	g.check(os.Remove(filepath.Join(g.dir, "cue.mod/local-module.cue")))

	// A system that no longer needs it loses the pin.
	g.write("cue.mod/module.cue", "module: \"example.com/cars@v0\"\nlanguage: version: \"v0.17.0\"\ndeps: \"tenon.dev@v0\": {v: \"v0.1.0\", default: true}\n")
	g.write("cars.cue", "package cars\n\nimport (\n\t\"tenon.dev/col\"\n\t\"tenon.dev/source\"\n\t\"tenon.dev/tenon\"\n)\n\ntenon.#System\nname: \"cars\"\nsources: cars: source.#CSV & {path: \"cars.csv\", schema: id: col.#Int64}\n")
	g.must("compile")
	if pins := g.lockedModules(); len(pins) != 0 {
		t.Errorf("tenon.lock still pins %v", pins)
	}
}

// The error for a module that cannot be fetched shows the place that imports it.
func TestAModuleThatCannotBeFetched(t *testing.T) {
	registry := registrytest.Start(t, registrytest.Options{})
	g := newGuest(t, registry.Host)
	g.says(g.refused("compile"), "acme.example/lake@v0.1.0", "cue.mod/module.cue", registry.Host)
	registry.Stop()
	g.says(g.refused("compile"), "acme.example/lake@v0.1.0", "cue.mod/module.cue", registry.Host)
}

// The same system in containers gives the same bytes.
func TestAPublishedModuleInContainers(t *testing.T) {
	_, target, env := startContainers(t)
	registry := registrytest.Start(t, registrytest.Options{})
	g := newGuest(t, registry.Host)
	g.publish("v0.1.0")
	g.must("apply", "--yes")
	want := map[string]string{}
	for _, unit := range []string{"sources/cars out", "models/usage/train model", "steps/checksum out"} {
		id, port, _ := strings.Cut(unit, " ")
		want[unit] = g.digest(id, port)
	}
	g.must("destroy", "--yes")
	g.check(os.RemoveAll(filepath.Join(g.dir, ".tenon")))

	g.env = append(g.env, env...)
	g.write("target.cue", "package cars\n\nimport \"tenon.dev/tenon\"\n\ntarget: \"here\"\ntargets: here: "+target(fmt.Sprintf("base: %q", madeImage))+"\n")
	g.says(g.must("apply", "--yes"), "5 ran, 1 created")
	for unit, digest := range want {
		id, port, _ := strings.Cut(unit, " ")
		if got := g.digest(id, port); got != digest {
			t.Errorf("%s is %s in a container, and %s without", unit, got, digest)
		}
	}
	g.must("destroy", "--yes")
}
