package componenttest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/cmd/internal/componenttest"
	"github.com/tenon-ml/tenon/cmd/internal/scaffold"
)

// results runs the suite on everything below a folder.
func results(t *testing.T, dir string) []componenttest.Result {
	t.Helper()
	components, err := componenttest.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []componenttest.Result
	err = componenttest.Run(t.Context(), components, settings(t), 1, func(r componenttest.Result) { all = append(all, r) })
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// The output of the scaffold passes unchanged, as a component of another module.
func TestScaffold(t *testing.T) {
	for kind := range scaffold.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "acme")
			w, err := scaffold.Component(scaffold.Request{Dir: dir, Package: "lake", Name: "by_" + string(kind), Kind: kind})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results(t, dir) {
				if r.Name != w.Component || r.Name != "example.com/acme/lake.by_"+string(kind) {
					t.Errorf("it is %s, and %s was written", r.Name, w.Component)
				}
				for _, c := range r.Checks {
					if c.Status == componenttest.Failed {
						t.Errorf("%s: %s", c.Name, c.Detail)
					}
				}
			}
			if _, err := scaffold.Component(scaffold.Request{Dir: dir, Package: "lake", Name: "by_" + string(kind), Kind: kind}); err == nil {
				t.Error("it was written over")
			}
		})
	}
}

// A step that writes a file, and takes a secret.
const faultyDefinition = `package lake

import (
	"tenon.dev/step"
	"tenon.dev/tenon"
)

#Faulty: {
	step.#Base
	component: "example.com/acme/lake.faulty"
	in!: table!: tenon.#Table
	outputs: out: kind: "file"
}

components: faulty: tenon.#Component & {
	section: "steps"
	declares: ["outputs"]
	unit: {
		runtime: "python"
		environment: shared: "step"
		packages: "packages"
		code: ["files"]
		secrets: "secrets"
		seed: "seed"
	}
}
`

const faultySystem = `package example

import (
	"tenon.dev/col"
	"tenon.dev/source"
	"tenon.dev/tenon"

	"example.com/acme/lake"
)

tenon.#System
name: "example"
sources: rows: source.#CSV & {path: "rows.csv", schema: n: col.#Int64}
steps: faulty: lake.#Faulty & {
	in: table: sources.rows.out
	secrets: TOKEN: secret: env: "FAULTY_TOKEN"
	files: ["bad"]
}
`

const faultyMain = `
import os, sys, time, socket, signal
import tenon_step
from tenon_step import Step, StepError

def main(step: Step) -> None:
    out = step.output("out").path
    if (step.code / "bad").read_text().strip() == "yes":
        raise StepError("bad: it says yes")
    step.progress(1, 1)
    FAULT
    if not out.exists():
        out.write_text("the same")

tenon_step.run(main)
`

// The suite finds each fault that it checks for, and no other.
func TestFaultsAreFound(t *testing.T) {
	for _, tt := range []struct{ name, does, check, says string }{
		{"none", "pass", "", ""},
		{"no output", "sys.exit(0)", "schema", "output out is missing"},
		{"other bytes", "out.write_text(str(time.time_ns()))", "same bytes", "out is sha256:"},
		{"network", `socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))`, "network", "without a network"},
		{"progress", `open(step.doc["progress"], "a").write("{\"don\": 1}\n")`, "progress", "line 2"},
		{"progress goes back", "step.progress(0.5, 1)", "progress", "after 1"},
		{"secret in the log", `print(os.environ["TOKEN"])`, "secrets", "a secret is in log"},
		{"secret in an output", `out.write_text("the token is " + os.environ["TOKEN"])`, "secrets", "a secret is in"},
		{"traceback on no rows", "step.arrow('table').to_pylist()[0]", "empty tables", "traceback"},
		{"status 3 on one row", "step.arrow('table').num_rows == 1 and sys.exit(3)", "one row", "it exits with 3"},
		{"does not end", "signal.signal(signal.SIGTERM, signal.SIG_IGN); (step.code / 'bad').read_text().strip() == 'on' and time.sleep(60)", "cancellation", "to end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name, content := range map[string]string{
				"cue.mod/module.cue":                  "module: \"example.com/acme@v0\"\nlanguage: version: \"v0.17.0\"\ndeps: \"tenon.dev@v0\": {v: \"v0.1.0\", default: true}\n",
				"lake/faulty.cue":                     faultyDefinition,
				"lake/faulty/main.py":                 strings.ReplaceAll(faultyMain, "FAULT", tt.does),
				"lake/faulty/example/system.cue":      faultySystem,
				"lake/faulty/example/rows.csv":        "n\n1\n2\n",
				"lake/faulty/example/bad":             "no\n",
				"lake/faulty/example/cases/bad.txtar": "-- bad --\nyes\n-- want --\nrefused error: bad: it says yes\n",
				"lake/faulty/example/cases/on.txtar":  "-- bad --\non\n-- want --\nruns on\n",
			} {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, r := range results(t, dir) {
				found := false
				for _, c := range r.Checks {
					switch {
					case c.Name == tt.check && c.Status == componenttest.Skipped:
						found = true
					case c.Name == tt.check:
						found = c.Status == componenttest.Failed && strings.Contains(c.Detail, tt.says)
						if !found {
							t.Errorf("%s is %s: %s", c.Name, c.Status, c.Detail)
						}
					case c.Status == componenttest.Failed:
						t.Errorf("%s failed, too: %s", c.Name, c.Detail)
					}
				}
				if !found && tt.check != "" {
					t.Errorf("there is no check %s: %+v", tt.check, r.Checks)
				}
			}
		})
	}
}

// A component without an example, or without a case of bad input, does not pass.
func TestMissingExampleIsAFault(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "acme")
	w, err := scaffold.Component(scaffold.Request{Dir: dir, Package: "lake", Name: "words", Kind: "source"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(w.Folder, componenttest.Example)); err != nil {
		t.Fatal(err)
	}
	for _, r := range results(t, dir) {
		if r.OK() || !strings.Contains(r.Checks[0].Detail, "there is no") {
			t.Errorf("%+v", r.Checks)
		}
	}
	if _, err := componenttest.Find(t.TempDir()); err == nil {
		t.Error("an empty folder has components")
	}
}
