package project

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
)

// keptSystem is a package with files in two folders, a package that it imports, the
// user's code, a component in its own package, and one in a module that a folder
// replaces.
const keptSystem = `
-- cue.mod/module.cue --
module: "acme.example/system@v0"
language: version: "v0.17.0"
deps: {
	"acme.example/lake@v0": v: "v0.1.0"
	"tenon.dev@v0": {v: "v0.1.0", default: true}
}
-- cue.mod/local-module.cue --
deps: {
	"acme.example/lake@v0": replaceWith: "%s"
	"tenon.dev@v0": default: true
}
-- above.cue --
package people

import "tenon.dev/tenon"

tenon.#System
name: "people"
env: *"dev" | "prod" @tag(env)
-- columns/columns.cue --
package columns

import "tenon.dev/col"

people: {id: col.#Int64, age: col.#Int64}
-- system/system.cue --
package people

import (
	"acme.example/lake"
	"acme.example/system/columns"
	"acme.example/system/own"
	"tenon.dev/feature"
	"tenon.dev/source"
)

sources: people: source.#CSV & {path: "people.csv", schema: columns.people}
sources: rows: own.#Rows & {schema: columns.people}
sources: far: lake.#Rows & {schema: columns.people}
features: old: feature.#Python & {
	in: people: sources.people.out
	script: "old.py"
	files: ["lib"]
	schema: columns.people
}
-- own/own.cue --
package own

import (
	"tenon.dev/source"
	"tenon.dev/tenon"
)

#Rows: {source.#Base, component: "acme.example/system/own.rows"}
components: rows: tenon.#Component & {section: "sources", unit: {runtime: "python", environment: shared: "step"}}
-- own/rows/main.py --
import tenon_step
-- system/people.csv --
id,age
-- system/old.py --
def transform(people): return people
-- system/lib/a.py --
A = 1
-- system/lib/deep/b.py --
B = 1
-- system/tenon.lock --
{"version": 1, "python": []}
`

// keptLake is the other module.
const keptLake = `
-- cue.mod/module.cue --
module: "acme.example/lake@v0"
language: version: "v0.17.0"
deps: "tenon.dev@v0": {v: "v0.1.0", default: true}
-- lake.cue --
package lake

import (
	"tenon.dev/source"
	"tenon.dev/tenon"
)

#Rows: {source.#Base, component: "acme.example/lake.rows"}
components: rows: tenon.#Component & {section: "sources", unit: {runtime: "python", environment: shared: "step"}}
-- rows/main.py --
import tenon_step
`

// lakeOf returns the folder of the other module.
func lakeOf(root string) string { return root + "-lake" }

// keep compiles a system until its result is cached. kept reports whether the cached
// result is still valid.
func keep(t *testing.T, root string) (dir string, kept func(tags ...string) bool) {
	t.Helper()
	for _, f := range txtar.Parse([]byte(fmt.Sprintf(keptSystem, lakeOf(root)))).Files {
		writeFile(t, filepath.Join(root, f.Name), string(f.Data))
	}
	for _, f := range txtar.Parse([]byte(keptLake)).Files {
		writeFile(t, filepath.Join(lakeOf(root), f.Name), string(f.Data))
	}
	dir = filepath.Join(root, "system")
	if err := os.MkdirAll(filepath.Join(dir, ".tenon"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := quiet(t, dir).Compile(t.Context()); err != nil {
		t.Fatal(err)
	}
	return dir, func(tags ...string) bool {
		e, err := quiet(t, dir, tags...).cached("")
		if err != nil {
			t.Fatal(err)
		}
		return e.Get() != nil
	}
}

// quiet returns a project that must send no notices.
func quiet(t *testing.T, dir string, tags ...string) *Project {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// What is kept is that of another program once this one was not written just now.
	for !fingerprint.LooksOf(self).Settled(time.Now()) {
		time.Sleep(20 * time.Millisecond)
	}
	return New(Settings{
		Dir: dir, Tags: tags, SQL: worker.New(self), Config: all.Config{Tenon: self, Environ: os.Environ()},
		Notify: func(n Notice) { t.Errorf("it says %s", n.Text) },
	})
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCachedResultIsUsedUntilAnInputChanges(t *testing.T) {
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-time.Hour)
	for _, tt := range []struct {
		name string
		edit func(t *testing.T, root string)
		kept bool
	}{
		{"nothing", func(t *testing.T, root string) {}, true},
		{"the data", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "system/people.csv"), "id,age\n1,2\n")
		}, true},
		{"the header of the data", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "system/people.csv"), "age,id\n1,2\n")
		}, false},
		{"a file written again as it was", func(t *testing.T, root string) {
			b, err := os.ReadFile(filepath.Join(root, "system/system.cue"))
			must(t, err)
			writeFile(t, filepath.Join(root, "system/system.cue"), string(b))
		}, true},
		{"the times of a file", func(t *testing.T, root string) {
			must(t, os.Chtimes(filepath.Join(root, "system/old.py"), long, long))
		}, true},
		{"a file that CUE passes over", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "system/_note.cue"), "package note\n")
		}, true},
		{"a package that nobody imports", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "other/other.cue"), "package other\n")
		}, true},
		{"what Python leaves", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "system/lib/__pycache__/a.pyc"), "")
		}, true},
		{"a file of the package", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "system/system.cue"), "package people\n")
		}, false},
		{"a file of the package, with its size and time as before", func(t *testing.T, root string) {
			path := filepath.Join(root, "system/system.cue")
			info, err := os.Stat(path)
			must(t, err)
			b, err := os.ReadFile(path)
			must(t, err)
			writeFile(t, path, strings.Replace(string(b), "old:", "odd:", 1))
			must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
		}, false},
		{"a new file of the package", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "system/more.cue"), "package people\n")
		}, false},
		{"a file less", func(t *testing.T, root string) { must(t, os.Remove(filepath.Join(root, "above.cue"))) }, false},
		{"a file of the package in a folder above", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "above.cue"), "package people\n")
		}, false},
		{"a new file in a folder above", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "more.cue"), "package people\n")
		}, false},
		{"a file of an imported package", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "columns/columns.cue"), "package columns\n")
		}, false},
		{"a new file of an imported package", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "columns/more.cue"), "package columns\n")
		}, false},
		{"the module", func(t *testing.T, root string) {
			f, err := os.OpenFile(filepath.Join(root, "cue.mod/module.cue"), os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("// a note\n")
			must(t, err)
			must(t, f.Close())
		}, false},
		{"a package in the folder of the module", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "cue.mod/pkg/acme.example/x/x.cue"), "package x\n")
		}, false},
		{"a module of its own", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "system/cue.mod/module.cue"), "module: \"acme.example/other@v0\"\n")
		}, false},
		{"a script", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "system/old.py"), "def transform(people): pass\n")
		}, false},
		{"a script that is a link now", func(t *testing.T, root string) {
			path := filepath.Join(root, "system/old.py")
			must(t, os.Rename(path, filepath.Join(root, "old.py")))
			must(t, os.Symlink("../old.py", path))
		}, false},
		{"a script less", func(t *testing.T, root string) { must(t, os.Remove(filepath.Join(root, "system/old.py"))) }, false},
		{"a file of a code folder", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "system/lib/deep/b.py"), "B = 2\n")
		}, false},
		{"a new file in a code folder", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "system/lib/deep/c.py"), "")
		}, false},
		{"a folder in the place of a file", func(t *testing.T, root string) {
			must(t, os.Remove(filepath.Join(root, "system/lib/a.py")))
			must(t, os.Mkdir(filepath.Join(root, "system/lib/a.py"), 0o755))
		}, false},
		{"the code of a component", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "own/rows/main.py"), "import tenon_step, os\n")
		}, false},
		{"a new file of a component", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "own/rows/deep/b.py"), "")
		}, false},
		{"the code of a component that is a link now", func(t *testing.T, root string) {
			path := filepath.Join(root, "own/rows/main.py")
			must(t, os.Rename(path, filepath.Join(root, "own/main.py")))
			must(t, os.Symlink("../main.py", path))
		}, false},
		{"a component less", func(t *testing.T, root string) { must(t, os.RemoveAll(filepath.Join(root, "own/rows"))) }, false},
		{"the definition of a component in another folder", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(lakeOf(root), "lake.cue"), "package lake\n")
		}, false},
		{"a new definition in another folder", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(lakeOf(root), "more.cue"), "package lake\n")
		}, false},
		{"the code of a component in another folder", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(lakeOf(root), "rows/main.py"), "import tenon_step, os\n")
		}, false},
		{"the module in another folder", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(lakeOf(root), "cue.mod/module.cue"), "module: \"acme.example/lake@v0\"\n")
		}, false},
		{"what is beside the module in another folder", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(lakeOf(root), "docs/page.md"), "")
		}, true},
		{"the lock", func(t *testing.T, root string) {
			writeFile(t, filepath.Join(root, "system/tenon.lock"), `{"version": 1}`)
		}, false},
		{"the lock less", func(t *testing.T, root string) { must(t, os.Remove(filepath.Join(root, "system/tenon.lock"))) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "system")
			_, kept := keep(t, root)
			if !kept() {
				t.Fatal("nothing is kept")
			}
			tt.edit(t, root)
			if got := kept(); got != tt.kept {
				t.Errorf("kept: %v, want %v", got, tt.kept)
			}
		})
	}
}

func TestTagsAndTheEnvironmentOfCUEAreKeptApart(t *testing.T) {
	_, kept := keep(t, filepath.Join(t.TempDir(), "system"))
	if kept("env=prod") {
		t.Error("another tag gives the same")
	}
	t.Setenv("CUE_REGISTRY", "registry.example")
	if kept() {
		t.Error("another registry gives the same")
	}
}

func TestResultsThatDependOnMoreThanFilesAreNotCached(t *testing.T) {
	for _, line := range []string{
		`_at: string @tag(at,var=now)`,
		"_host:\n\tstring @tag(host, short=a|b, var=hostname)",
	} {
		dir, _ := keep(t, filepath.Join(t.TempDir(), "system"))
		p := quiet(t, dir)
		writeFile(t, filepath.Join(dir, "more.cue"), "package people\n\n"+line+"\n")
		if _, err := p.Compile(t.Context()); err != nil {
			t.Fatal(err)
		}
		e, err := p.cached("")
		if err != nil {
			t.Fatal(err)
		}
		if e.Get() != nil {
			t.Errorf("%s: it is kept", line)
		}
	}
}

func TestCachedResultEqualsTheCompiledOne(t *testing.T) {
	dir, _ := keep(t, filepath.Join(t.TempDir(), "system"))
	p := quiet(t, dir)
	kept, err := p.Compile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := p.compilation(nil, p.resolve).run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(compiled, kept); diff != "" {
		t.Errorf("(-compiled +kept)\n%s", diff)
	}
}
