package compiler_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/lang"
)

// hosts is a system with a component in a package of its own module.
const hosts = `
-- cue.mod/module.cue --
module: "acme.example/system@v0"
language: version: "v0.17.0"
deps: "tenon.dev@v0": {v: "v0.1.0", default: true}
-- system.cue --
package system

import (
	"acme.example/system/lake"
	"tenon.dev/col"
	"tenon.dev/tenon"
)

tenon.#System
name: "system"
sources: rows: lake.#Rows & {path: "rows.txt", schema: id: col.#Int64}
-- lake/lake.cue --
package lake

import (
	"tenon.dev/source"
	"tenon.dev/tenon"
)

#Rows: {
	source.#Base
	component: "acme.example/system/lake.rows"
	path!: string
}

components: rows: tenon.#Component & {
	section: "sources"
	unit: {runtime: "python", environment: shared: "step", files: ["path"]}
}
-- lake/rows/main.py --
import json, tenon_step
from sub import helper
-- lake/rows/sub/helper.py --
-- lake/rows/sub/data.bin --
-- lake/rows/README.md --
-- lake/rows/test_main.py --
-- lake/rows/testdata/rows.txt --
-- lake/rows/.hidden --
-- lake/rows/requirements.in --
`

// host writes the system, and compiles it after an edit.
func host(t *testing.T, edit func(dir string) error) (*compiler.Result, error) {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(hosts)).Files {
		write(t, filepath.Join(dir, filepath.FromSlash(f.Name)), f.Data)
	}
	if edit != nil {
		if err := edit(dir); err != nil {
			t.Fatal(err)
		}
	}
	sys, err := lang.Load(dir, lang.Options{Env: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	return compiler.Compile(t.Context(), sys, compiler.Options{Default: "process", Executors: map[string]func(ir.Target, ir.Unit) []ir.Fault{"process": nil}})
}

func TestTheCodeOfAComponentIsItsFolderAndWhatItImports(t *testing.T) {
	r, err := host(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, f := range r.System.Units[0].Code.Files {
		if r.Blobs[f.Digest] == nil {
			t.Errorf("%s is no blob", f.Path)
		}
		files = append(files, f.Path)
	}
	if want := []string{"_tenon/main.py", "_tenon/sub/data.bin", "_tenon/sub/helper.py", "_tenon/tenon_checkpoint.py", "_tenon/tenon_column.py", "_tenon/tenon_step.py", "_tenon/tenon_table.py"}; !slices.Equal(files, want) {
		t.Errorf("its code is %v, want %v", files, want)
	}
	before := r.System.Units[0].Digest
	for name, changes := range map[string]bool{
		"main.py": true, "sub/data.bin": true, "sub/new.sh": true,
		"README.md": false, "test_main.py": false, "testdata/rows.txt": false, ".hidden": false, "requirements.in": false,
	} {
		r, err := host(t, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "lake/rows", name), []byte("# changed\n"), 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
		if changed := r.System.Units[0].Digest != before; changed != changes {
			t.Errorf("%s changes the digest: %v, want %v", name, changed, changes)
		}
	}
}

func TestALinkAmongTheCodeOfAComponentIsRefused(t *testing.T) {
	outside := t.TempDir()
	write(t, filepath.Join(outside, "main.py"), []byte("import tenon_step\n"))
	replace := func(name, to string) func(string) error {
		return func(dir string) error {
			path := filepath.Join(dir, "lake", name)
			return errors.Join(os.RemoveAll(path), os.Symlink(to, path))
		}
	}
	for name, edit := range map[string]func(string) error{
		"has a link in its code, from rows/main.py to " + outside: replace("rows/main.py", filepath.Join(outside, "main.py")),
		"has a link in its code, from rows/sub to " + outside:     replace("rows/sub", outside),
		"has a link in its code, from rows/sub to ../../lake":     replace("rows/sub", "../../lake"),
		`has a link or a file "rows" where the folder`:            replace("rows", outside),
	} {
		_, err := host(t, edit)
		var faults diag.List
		if !errors.As(err, &faults) || len(faults) != 1 || !strings.Contains(faults[0].Message, name) {
			t.Errorf("it says %v, want %q", err, name)
		} else if at := faults[0].Spans[0].Pos; at.File != "lake/lake.cue" || at.Line != 14 {
			t.Errorf("%s: it points at %v", name, at)
		}
	}
}

// A system may define a component in its own package.
func TestAComponentInThePackageOfTheSystem(t *testing.T) {
	r, err := host(t, func(dir string) error {
		write(t, filepath.Join(dir, "more.cue"), []byte(`package system

import (
	"tenon.dev/col"
	"tenon.dev/source"
	"tenon.dev/tenon"
)

#Own: {source.#Base, component: "acme.example/system.own", n!: int}
components: own: tenon.#Component & {section: "sources", unit: {runtime: "python", environment: shared: "step", params: ["n"]}}
sources: own: #Own & {n: 3, schema: id: col.#Int64}
`))
		write(t, filepath.Join(dir, "own/main.py"), []byte("import tenon_step\n"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if u := r.System.Unit("sources/own"); u == nil || u.Component != "acme.example/system.own" || string(u.Params) != `{"n":3}` {
		t.Errorf("it is %+v", u)
	}
}

// Two packages of one folder, or two versions of one, cannot both be the package of a
// component.
func TestTwoPackagesInAFolder(t *testing.T) {
	_, err := host(t, func(dir string) error {
		write(t, filepath.Join(dir, "lake/other.cue"), []byte("package other\n\nx: 1\n"))
		system, err := os.ReadFile(filepath.Join(dir, "system.cue"))
		if err != nil {
			return err
		}
		text := strings.Replace(string(system), `"acme.example/system/lake"`, "\"acme.example/system/lake\"\n\t\"acme.example/system/lake:other\"", 1)
		return os.WriteFile(filepath.Join(dir, "system.cue"), []byte(text+"_x: other.x\n"), 0o644)
	})
	var faults diag.List
	if !errors.As(err, &faults) || !strings.Contains(faults[0].Found, "has two packages that are imported") {
		t.Errorf("it says %+v", err)
	}
}

// Two versions of a package cannot both be the component of that name.
func TestAPackageInTwoVersions(t *testing.T) {
	_, err := host(t, func(dir string) error {
		lake, err := os.ReadFile(filepath.Join(dir, "lake/lake.cue"))
		if err != nil {
			return err
		}
		deps := "deps: {\n\t\"tenon.dev@v0\": {v: \"v0.1.0\", default: true}\n"
		local := "deps: {\n\t\"tenon.dev@v0\": default: true\n"
		for _, v := range []string{"v0", "v1"} {
			write(t, filepath.Join(dir, v, "cue.mod/module.cue"), []byte("module: \"acme.example/lake@"+v+"\"\nlanguage: version: \"v0.17.0\"\ndeps: \"tenon.dev@v0\": {v: \"v0.1.0\", default: true}\n"))
			write(t, filepath.Join(dir, v, "lake.cue"), []byte(strings.ReplaceAll(string(lake), "acme.example/system/lake", "acme.example/lake")))
			write(t, filepath.Join(dir, v, "rows/main.py"), []byte("import tenon_step\n"))
			deps += "\t\"acme.example/lake@" + v + "\": v: \"" + v + ".1.0\"\n"
			local += "\t\"acme.example/lake@" + v + "\": replaceWith: \"./" + v + "\"\n"
		}
		write(t, filepath.Join(dir, "cue.mod/module.cue"), []byte("module: \"acme.example/system@v0\"\nlanguage: version: \"v0.17.0\"\n"+deps+"}\n"))
		write(t, filepath.Join(dir, "cue.mod/local-module.cue"), []byte(local+"}\n"))
		system, err := os.ReadFile(filepath.Join(dir, "system.cue"))
		if err != nil {
			return err
		}
		text := strings.Replace(string(system), `"acme.example/system/lake"`, "\"acme.example/lake@v0\"\n\tnewer \"acme.example/lake@v1\"", 1)
		text += "sources: more: newer.#Rows & {path: \"more.txt\", schema: id: col.#Int64}\n"
		return os.WriteFile(filepath.Join(dir, "system.cue"), []byte(text), 0o644)
	})
	var faults diag.List
	if !errors.As(err, &faults) || !strings.Contains(faults[0].Found, "acme.example/lake is imported in two versions, v") {
		t.Errorf("it says %+v", err)
	}
}
