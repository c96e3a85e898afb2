// Package cfntest checks templates of CloudFormation with cfn-lint, which has the schemas of all types of
// resources and needs no network.
package cfntest

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tenon-ml/tenon/internal/test/pythontest"
)

//go:embed cfn-lint.lock
var lock []byte

// Lint returns what cfn-lint says about the templates in files with errors and warnings, for a region. All are checked at
// once, because it takes seconds to start.
func Lint(t testing.TB, region string, templates map[string][]byte) (faults []string) {
	t.Helper()
	python, dir := pythontest.Interpreter(t, lock), t.TempDir()
	args := []string{"-c", "from cfnlint.runner import main; main()", "--format", "json", "--regions", region, "--"}
	for name, text := range templates {
		path := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	cmd := exec.CommandContext(t.Context(), python, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output() // it exits with 2 and others if it has found something
	var found []struct {
		Filename, Level, Message string
		Rule                     struct{ ID string }
		Location                 struct{ Path []any }
	}
	if decoding := json.Unmarshal(out, &found); decoding != nil {
		t.Fatalf("cfn-lint: %v, %v: %s", err, decoding, out)
	}
	for _, f := range found {
		faults = append(faults, fmt.Sprintf("%s: %s %s at %v: %s", filepath.Base(f.Filename), f.Level, f.Rule.ID, f.Location.Path, f.Message))
	}
	return faults
}
