package compiler_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/prices"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// Every archive in testdata holds a system and the compiler's output: `errors`, as a user
// sees them, or `ir.json`. Lines of the comment that begin with "tag: " are tags. Those that begin with "parquet: " have a path and a query, whose rows are written
// to a Parquet file there. Files in the folder classes are the indexes of the user's packages.
// TENON_UPDATE=1 rewrites the expectations.
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(path), "testdata/"), ".txtar")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			golden(t, path)
		})
	}
}

const moduleFile = `module: "acme.example/system@v0"
language: version: "v0.17.0"
deps: "tenon.dev@v0": {v: "v0.1.0", default: true}
`

func golden(t *testing.T, path string) {
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
	kept := []txtar.File{}
	want := map[string]string{}
	for _, f := range a.Files {
		if f.Name == "errors" || f.Name == "ir.json" {
			want[f.Name] = string(f.Data)
			continue
		}
		kept = append(kept, f)
		write(t, filepath.Join(dir, filepath.FromSlash(f.Name)), f.Data)
	}
	var tags []string
	for line := range strings.Lines(string(a.Comment)) {
		if made, ok := strings.CutPrefix(strings.TrimSpace(line), "parquet: "); ok {
			file, query, _ := strings.Cut(made, " ")
			parquetFile(t, filepath.Join(dir, file), query)
		}
		if tag, ok := strings.CutPrefix(strings.TrimSpace(line), "tag: "); ok {
			tags = append(tags, tag)
		}
	}
	got := compile(t, dir, tags)
	if os.Getenv("TENON_UPDATE") != "" {
		a.Files = kept
		for _, name := range []string{"errors", "ir.json"} {
			if text, ok := got[name]; ok {
				a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(text)})
			}
		}
		write(t, path, txtar.Format(a))
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("TENON_UPDATE=1 accepts what it says now (-want +got):\n%s", diff)
	}
}

// compile returns the compiler's output for a folder, by the golden's name.
func compile(t *testing.T, dir string, tags []string) map[string]string {
	t.Helper()
	result, source, err := load(dir, tags)
	var faults diag.List
	if errors.As(err, &faults) {
		var b bytes.Buffer
		if err := diag.Print(&b, faults, source, diag.Style{}); err != nil {
			t.Fatal(err)
		}
		return map[string]string{"errors": strings.ReplaceAll(b.String(), dir, "$DIR")}
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(result.System, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"ir.json": string(b) + "\n"}
}

// sql types the queries of all tests.
var sql = new(engine.Engine)

func load(dir string, tags []string) (*compiler.Result, func(string) []byte, error) {
	sys, err := lang.Load(dir, lang.Options{Tags: tags, Env: os.Environ()})
	if err != nil {
		return nil, func(f string) []byte { b, _ := os.ReadFile(filepath.Join(dir, f)); return b }, err
	}
	r, err := compiler.Compile(context.Background(), sys, compiler.Options{
		Describe: sql.Describe, Bind: sql.Bind, Heads: sql.Heads, Files: planner.Files,
		Executors: map[string]func(ir.Target, ir.Unit) []ir.Fault{"process": bare, "kubernetes": nil}, Default: "process",
		Lock: func(_ context.Context, requirements []string) ([]byte, error) {
			return []byte(strings.Join(requirements, "\n") + "\n"), nil
		},
		Prices: func() (*prices.File, error) { return prices.Open(sys.Dir) },
		Classes: func(lock []byte, module string) []byte {
			b, _ := os.ReadFile(filepath.Join(dir, "classes", module+".txt"))
			return b
		},
		Modules: func([]byte) []string {
			b, _ := os.ReadFile(filepath.Join(dir, "classes", "modules.txt"))
			return strings.Split(strings.TrimSpace(string(b)), "\n")
		},
	})
	return r, sys.Source, err
}

// bare is an executor without images.
func bare(_ ir.Target, u ir.Unit) []ir.Fault {
	var faults []ir.Fault
	if u.Code.Image != "" {
		faults = append(faults, ir.Fault{Field: "image", Message: "it does not run containers", Hint: "choose a target that runs containers, or remove image"})
	}
	return faults
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// refuses compiles a system of these files, and requires that it has the one fault want, or
// none if want is empty.
func refuses(t *testing.T, files map[string]string, want string) {
	t.Helper()
	refusesIn(t, t.TempDir(), files, want)
}

// refusesIn is refuses in a folder that already has some files.
func refusesIn(t *testing.T, dir string, files map[string]string, want string) {
	t.Helper()
	write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
	for name, text := range files {
		write(t, filepath.Join(dir, name), []byte(text))
	}
	_, source, err := load(dir, nil)
	var faults diag.List
	switch {
	case err == nil && want == "":
	case err == nil:
		t.Errorf("it is accepted, want %q", want)
	case !errors.As(err, &faults):
		t.Fatal(err)
	case len(faults) != 1 || faults[0].Message != want:
		var b strings.Builder
		_ = diag.Print(&b, faults, source, diag.Style{})
		t.Errorf("want %q, got\n%s", want, b.String())
	}
}
