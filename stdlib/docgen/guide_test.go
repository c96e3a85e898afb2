package docgen_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/onnx/onnxtest"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
)

// sql types the queries of all tests.
var sql = new(engine.Engine)

// What the guide shows is so. A block that begins with "file: NAME" is a whole
// file of the system that the guide builds, which compiles, also as every
// environment that a file is for. One that begins with "refused: TEXT" is refused with that
// text when it is added to the system. Any other block of CUE compiles when it
// is added. An error is what the compiler says in one of its goldens.
func TestGuide(t *testing.T) {
	for name, least := range map[string]struct {
		of            string // the page with the files
		files, pieces int
	}{"language.md": {"language.md", 2, 5}, "serving.md": {"serving.md", 1, 1}, "edge.md": {"serving.md", 1, 2}} {
		t.Run(name, func(t *testing.T) {
			page := shown(t, name)
			if least.of != name {
				for _, m := range fence.FindAllString(string(shown(t, least.of)), -1) {
					if strings.Contains(m, "\n// file: ") {
						page = append(page, "\n\n"+m+"\n"...)
					}
				}
			}
			guide(t, page, least.files, least.pieces)
		})
	}
}

func shown(t *testing.T, name string) []byte {
	page, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func guide(t *testing.T, page []byte, leastFiles, leastPieces int) {
	files := map[string]string{"cue.mod/module.cue": module}
	tags := []string{""}
	var added []string
	for _, m := range fence.FindAllStringSubmatch(string(page), -1) {
		kind, marker, name, body := m[1], m[2], m[3], m[4]
		switch {
		case marker == "file":
			files[name] = body
			for _, tag := range onTag.FindAllStringSubmatch(body, -1) {
				tags = append(tags, "env="+tag[1])
			}
		case kind == "text":
			isGolden(t, body)
		case kind == "cue":
			added = append(added, m[0])
		}
	}
	if len(files) <= leastFiles || len(added) < leastPieces {
		t.Fatalf("found %d files and %d pieces", len(files), len(added))
	}
	for _, tag := range tags {
		t.Run("whole "+tag, func(t *testing.T) {
			if text := compile(t, files, tag); text != "" {
				t.Error(text)
			}
		})
	}
	for i, block := range added {
		m := fence.FindStringSubmatch(block)
		t.Run(fmt.Sprint("piece ", i), func(t *testing.T) {
			t.Parallel()
			with := map[string]string{"piece.cue": piece(m[4])}
			for name, body := range files {
				with[name] = body
			}
			if script := onScript.FindStringSubmatch(m[4]); script != nil && with[script[1]] == "" {
				with[script[1]] = "from os import * # not shown\n"
			}
			if strings.Contains(m[4], `"churn.onnx"`) {
				with["churn.onnx"] = string(onnxtest.File{
					Inputs:  []onnxtest.Value{onnxtest.Tensor("X", onnxtest.Float, 0, 3), onnxtest.Tensor("plan", onnxtest.String, 0)},
					Outputs: []onnxtest.Value{onnxtest.Tensor("p", onnxtest.Float, 0, 2)},
				}.Bytes())
			}
			switch text := compile(t, with, ""); {
			case m[2] == "refused" && !strings.Contains(text, m[3]):
				t.Errorf("%s\nis not refused with %q, but with %q", m[4], m[3], text)
			case m[2] == "" && text != "":
				t.Errorf("%s\n%s", m[4], text)
			}
		})
	}
}

var (
	fence    = regexp.MustCompile("(?m)^```([a-z]+)\n(?:(?://|#) (file|refused): (.*)\n)?((?s:.*?))^```$")
	onTag    = regexp.MustCompile(`@if\((\w+)\)`)
	onScript = regexp.MustCompile(`script: "(.*)"`)
	library  = regexp.MustCompile(`\b([a-z]+)\.#`)
)

const module = `module: "example.com/churn@v0"
language: version: "v0.17.0"
deps: "tenon.dev@v0": {v: "v0.1.0", default: true}
`

// piece makes a file of a few fields: it adds the package and the imports.
func piece(body string) string {
	head := "package churn\n"
	seen := map[string]bool{}
	for _, m := range library.FindAllStringSubmatch(body, -1) {
		if !seen[m[1]] {
			head += fmt.Sprintf("import %q\n", "tenon.dev/"+m[1])
			seen[m[1]] = true
		}
	}
	return head + body
}

// compile returns what the compiler says against the files.
func compile(t *testing.T, files map[string]string, tag string) string {
	t.Helper()
	return compileIn(t, ".", files, tag)
}

// inFolder writes the files into a folder of the test.
func inFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// compileIn compiles the system in a folder of the files.
func compileIn(t *testing.T, folder string, files map[string]string, tag string) string {
	t.Helper()
	dir := filepath.Join(inFolder(t, files), folder)
	o := lang.Options{Env: os.Environ()}
	if tag != "" {
		o.Tags = []string{tag}
	}
	sys, err := lang.Load(dir, o)
	if err == nil {
		_, err = compiler.Compile(context.Background(), sys, compiler.Options{
			Describe: sql.Describe, Bind: sql.Bind,
			Executors: map[string]func(ir.Target, ir.Unit) []ir.Fault{"process": nil}, Default: "process",
			Lock: func(context.Context, []string) ([]byte, error) { return []byte("locked\n"), nil },
		})
	}
	var faults diag.List
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &faults):
		t.Fatal(err)
	}
	var b bytes.Buffer
	source := func(name string) []byte { return []byte(files[name]) }
	if err := diag.Print(&b, faults, source, diag.Style{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func isGolden(t *testing.T, text string) {
	t.Helper()
	goldens, err := filepath.Glob("../../compiler/testdata/errors/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range goldens {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), text) {
			return
		}
	}
	t.Errorf("the compiler says this in no golden:\n%s", text)
}
