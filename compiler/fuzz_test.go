package compiler_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tenon-ml/tenon/internal/diag"
)

// Whatever the file of a system contains, it compiles or gives faults, each with a
// message and with places that exist.
func FuzzCompile(f *testing.F) {
	archives, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(archives) == 0 {
		f.Fatalf("no archives: %v", err)
	}
	for i, path := range archives {
		if i%4 > 0 {
			continue // TestGolden already compiles them
		}
		a, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			if strings.HasSuffix(file.Name, ".cue") && !strings.Contains(file.Name, "/") {
				f.Add(string(file.Data))
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4000 || deep(text) {
			return // some CUE takes arbitrarily long
		}
		dir := t.TempDir()
		write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
		write(t, filepath.Join(dir, "system.cue"), []byte(text))
		result, source, err := load(dir, nil)
		var faults diag.List
		switch {
		case err == nil && result.System.Name == "":
			t.Error("it compiles to a system without a name")
		case err == nil:
		case !errors.As(err, &faults):
			t.Errorf("no fault of the user: %v", err)
		case len(faults) == 0:
			t.Error("an error without faults")
		}
		for _, d := range faults {
			if strings.TrimSpace(d.Message) == "" {
				t.Errorf("a fault without a message: %+v", d)
			}
			for _, s := range d.Spans {
				if s.Line == 0 || !utf8.ValidString(text) {
					continue // the whole file, or columns that CUE computed
				}
				lines := strings.Split(string(source(s.File)), "\n")
				// CUE's end of a file is one position past the last byte.
				if s.Line < 1 || s.Line > len(lines) || s.Col < 1 || s.Col > len(lines[s.Line-1])+2 {
					t.Errorf("%q points at %s, which does not exist", d.Message, s.Pos)
				}
			}
		}
	})
}

// deep reports whether the text slows CUE down on purpose: nested, or multiplied by
// comprehensions, disjunctions and repetitions.
func deep(text string) bool {
	depth, most := 0, 0
	for _, r := range text {
		switch r {
		case '{', '[', '(':
			depth++
			most = max(most, depth)
		case '}', ']', ')':
			depth--
		}
	}
	return most > 20 || strings.Count(text, "for ") > 2 || strings.Count(text, "|") > 20 || strings.Contains(text, "list.R") || strings.Contains(text, "strings.R")
}
