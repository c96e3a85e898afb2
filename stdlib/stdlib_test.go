package stdlib_test

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/builtin"
)

// Components that are no code: the walk writes them, or the user brings it.
var noCode = map[string]bool{"pool": true, "target": true, "slo.rules": true, "step.command": true}

func TestEveryDefinitionHasWorkingCodeBehindIt(t *testing.T) {
	component := regexp.MustCompile(`component:\s+"([a-z._]+)"`)
	found := 0
	err := fs.WalkDir(stdlib.CUE(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(stdlib.CUE(), path)
		for _, m := range component.FindAllStringSubmatch(string(b), -1) {
			found++
			_, python := stdlib.Python(m[1])
			if !python && builtin.Version(m[1]) == 0 && !noCode[m[1]] {
				t.Errorf("%s: nothing runs %s", path, m[1])
			}
		}
		return err
	})
	if err != nil || found < 15 {
		t.Errorf("%d components, %v", found, err)
	}
}

func TestEveryPythonComponentIsEmbeddedWholeAndLocked(t *testing.T) {
	imports := regexp.MustCompile(`(?m)^(?:\s*)(?:import|from) (tenon_\w+)`)
	for _, name := range []string{
		"source.python", "source.postgres", "feature.python", "step.python", "train.sklearn", "train.xgboost",
		"train.lightgbm", "train.script", "evaluate.classification", "evaluate.regression", "serve.batch", "serve.http",
	} {
		c, ok := stdlib.Python(name)
		if !ok {
			t.Errorf("there is no %s", name)
			continue
		}
		files := append([]string{c.Main}, c.Files...)
		for _, file := range files {
			b, err := stdlib.PythonFile(file)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, m := range imports.FindAllStringSubmatch(string(b), -1) {
				if !strings.Contains(strings.Join(files, " "), m[1]+".py") {
					t.Errorf("%s: %s imports %s, which components.json does not list", name, file, m[1])
				}
			}
		}
		if c.Environment == stdlib.ModelEnvironment {
			continue
		}
		lock, err := stdlib.Lock(c.Environment)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, pin := range stdlib.Pins(lock) {
			if !strings.Contains(pin, "==") {
				t.Errorf("%s: %q is not pinned", c.Environment, pin)
			}
		}
	}
}
