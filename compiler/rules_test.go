package compiler_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// The rules of an objective fire when they should, according to Prometheus' own tool.
func TestRulesFireInPrometheus(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("this test needs promtool: apt-get install prometheus")
	}
	dir := t.TempDir()
	a, err := txtar.ParseFile("testdata/systems/everything.txtar")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
	for _, f := range a.Files {
		if f.Name != "ir.json" {
			write(t, filepath.Join(dir, f.Name), f.Data)
		}
	}
	result, _, err := load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var params struct{ File, Content string }
	if err := json.Unmarshal(result.System.Unit("slos/api").Params, &params); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "rules.yml"), []byte(params.Content))
	b, err := os.ReadFile("../stdlib/slo/rules/testdata/rules_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "test.yml"), b)
	for _, args := range [][]string{{"check", "rules", "rules.yml"}, {"test", "rules", "test.yml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
