package tool_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/executors/terraform/tool"
)

func TestWriteReplacesTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"old.tf", "x.tf.json", "x.tofu", "x.tofu.json", "a.auto.tfvars", "a.auto.tfvars.json", "errored.tfstate"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := tool.Dir{Path: dir}
	if err := d.Write(map[string]string{"main.tf": "locals {}\n", "README.md": "text"}, "locks"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if want := []string{".terraform.lock.hcl", "backend.tf", "errored.tfstate", "main.tf"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
