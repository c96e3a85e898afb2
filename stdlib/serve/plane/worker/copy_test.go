package worker_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
)

// folder is a model with files of each kind.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"model.joblib": "pickle", "code/a.py": "pass", "code/.hidden": "", "é \"x\"": "1"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "code", "a.py"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("code/a.py", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func digestOf(t *testing.T, dir string) string {
	t.Helper()
	d, err := artifact.Digest(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestACopyIsTheArtifact(t *testing.T) {
	from, to := folder(t), filepath.Join(t.TempDir(), "copy")
	for range 2 { // one that is there is replaced
		if err := worker.Copy(from, digestOf(t, from), to); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := digestOf(t, to), digestOf(t, from); got != want {
		t.Errorf("the copy has the digest %s, want %s", got, want)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	// What happens to the artifact afterwards does not matter.
	if err := os.WriteFile(filepath.Join(from, "model.joblib"), []byte("other"), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(to, "model.joblib")); err != nil || string(b) != "pickle" {
		t.Errorf("%s %v", b, err)
	}
}

func TestAChangedArtifactIsRefused(t *testing.T) {
	for name, change := range map[string]func(dir string) error{
		"other bytes": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "model.joblib"), []byte("pickl3"), 0o644)
		},
		"a new file":       func(dir string) error { return os.WriteFile(filepath.Join(dir, "numpy.py"), nil, 0o644) },
		"a missing file":   func(dir string) error { return os.Remove(filepath.Join(dir, "model.joblib")) },
		"another mode":     func(dir string) error { return os.Chmod(filepath.Join(dir, "model.joblib"), 0o755) },
		"another link":     func(dir string) error { return relink(filepath.Join(dir, "link"), "/etc/passwd") },
		"a link to a file": func(dir string) error { return relink(filepath.Join(dir, "model.joblib"), "code/a.py") },
	} {
		t.Run(name, func(t *testing.T) {
			from := folder(t)
			digest := digestOf(t, from)
			if err := change(from); err != nil {
				t.Fatal(err)
			}
			err := worker.Copy(from, digest, filepath.Join(t.TempDir(), "copy"))
			if err == nil || !strings.Contains(err.Error(), "it was changed after it was made, and is not loaded") {
				t.Errorf("%v", err)
			}
		})
	}
}

func relink(path, to string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Symlink(to, path)
}

func TestAModelWithoutADigestIsRefused(t *testing.T) {
	err := worker.Copy(folder(t), "", filepath.Join(t.TempDir(), "copy"))
	if err == nil || !strings.Contains(err.Error(), "which digest the model has") {
		t.Errorf("%v", err)
	}
}
