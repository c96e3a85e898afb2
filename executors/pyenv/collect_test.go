package pyenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEnvironmentsThatNobodyUsesAreCollected(t *testing.T) {
	dir := t.TempDir()
	e := New(Options{Dir: dir})
	now := time.Now()
	write := func(name, content string, used time.Time) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{path, filepath.Dir(path)} {
			if err := os.Chtimes(p, used, used); err != nil {
				t.Fatal(err)
			}
		}
	}
	old := now.Add(-time.Hour)
	write("old/"+marker, "12345", old)
	write("old.lock", "", old)
	write("young/"+marker, "", now)
	write("broken/x", "123", old)
	write("begun/x", "", now)
	write(".new-half/x", "1234567", now)
	write("python-1.json", "", old)
	sh, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	write("runs/"+marker, "", old)
	write("runs/bin/python", string(sh), old)
	cmd := exec.Command(filepath.Join(dir, "runs/bin/python"), "-c", "read x")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	want := map[string]int64{"old": 5, "broken": 3, ".new-half": 7}
	for _, dry := range []bool{true, false} {
		got, err := e.Collect(now.Add(-time.Minute), dry)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("dry %v: %v (-want +got):\n%s", dry, err, diff)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, d := range entries {
		if d.IsDir() {
			left = append(left, d.Name())
		}
	}
	if diff := cmp.Diff([]string{"begun", "runs", "young"}, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	_ = stdin.Close()
	_ = cmd.Wait()
	if got, err := e.Collect(now.Add(-time.Minute), true); err != nil || len(got) != 1 {
		t.Errorf("once its process has ended: %v, %v", got, err)
	}
	if got, err := New(Options{Dir: filepath.Join(dir, "no")}).Collect(now, true); err != nil || len(got) > 0 {
		t.Errorf("where there is no cache: %v, %v", got, err)
	}
}
