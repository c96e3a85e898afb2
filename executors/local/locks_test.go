package local_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
)

// A program may start others in each environment of its task, and of the versions beside it.
func TestLocksOfATask(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		path := filepath.Join(dir, text)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	task := func(lock string, further ...string) executors.Task {
		x := executors.Task{Unit: ir.Unit{Code: ir.Code{Lock: lock}}, Lock: file(lock), Environments: map[string]string{}}
		for _, digest := range further {
			x.Environments[digest] = file(digest)
		}
		return x
	}
	x := task("a", "f")
	x.Beside = map[string]executors.Task{"v1": task("b", "f", "g"), "v2": task("a")}
	lock, further, err := local.Locks(x)
	if err != nil || string(lock) != "a" {
		t.Errorf("its lock is %q, %v", lock, err)
	}
	if diff := cmp.Diff(map[string][]byte{"b": []byte("b"), "f": []byte("f"), "g": []byte("g")}, further); diff != "" {
		t.Errorf("the others are (-want +got):\n%s", diff)
	}
	if err := os.Remove(filepath.Join(dir, "g")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := local.Locks(x); err == nil {
		t.Error("a lock that is gone is no error")
	}
}
