package pyenv

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A module that has only bytecode goes with its package. What Python has in a cache without a source, or not
// finished, does not.
func TestBytecodeOfAPortableFolder(t *testing.T) {
	dir := t.TempDir()
	cache := filepath.Join(dir, "lib", "__pycache__")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(dir, "lib", "sourceless.pyc"):               "0123456789abcdef code",
		filepath.Join(dir, "lib", "short.pyc"):                    "short",
		filepath.Join(cache, "gone.cpython-311.pyc"):              "0123456789abcdef code",
		filepath.Join(cache, "short.cpython-311.pyc"):             "short",
		filepath.Join(cache, "m.cpython-311.pyc.140230467482992"): "half",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := portableFolder{dir: dir, omit: func(string, bool) bool { return false }, python: "python"}
	c, err := f.contents(t.Context(), filepath.Join(t.TempDir(), "note"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range c.Entries {
		got = append(got, e.Path)
	}
	slices.Sort(got)
	if want := []string{"lib", "lib/__pycache__", "lib/short.pyc", "lib/sourceless.pyc"}; !slices.Equal(got, want) {
		t.Errorf("others get %q, want %q", got, want)
	}
}

// A script of a package may be called almost like the files of an environment.
func TestFilesOfAnEnvironment(t *testing.T) {
	for rel, omitted := range map[string]bool{
		"pyvenv.cfg": true, "lib64": false, "bin/python": true, "bin/python3": true, "bin/python3.11": true, "bin/activate": true, "bin/activate.fish": true,
		"bin/activate_this.py": true, "bin/deactivate.bat": true, "bin/pydoc.bat": true, "bin/dotenv": false, "bin/python-argcomplete-tcsh": false,
		"bin/activate-global-python-argcomplete": false, "lib/python3.11/site-packages/python": false,
	} {
		if got := ofEnvironment(rel, false); got != omitted {
			t.Errorf("%s is omitted: %t, want %t", rel, got, omitted)
		}
	}
}
