package pyenv_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// Another machine gets files that name no folder of this one, and whose bytecode does not depend on
// the times of sources.
func TestPortable(t *testing.T) {
	dir := t.TempDir()
	e := pyenv.New(pyenv.Options{Dir: dir, UV: uv(t)})
	python := ensure(t, e, lockText)
	env := filepath.Dir(filepath.Dir(python))
	for name, text := range map[string]string{"short": "#!" + python + "\n", "long": "#!/bin/sh\n'''exec' '" + python + "' \"$0\" \"$@\"\n' '''\n", "own": "#!/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(env, "bin", name), []byte(text+"rest\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	stale, err := filepath.Glob(filepath.Join(env, "lib/python*/site-packages/iniconfig/exceptions.py"))
	if err != nil || len(stale) != 1 {
		t.Fatal(stale, err)
	}
	if err := os.Remove(stale[0]); err != nil { // a name of the file in uv's cache
		t.Fatal(err)
	}
	if err := os.WriteFile(stale[0], []byte("# newer than its bytecode\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := e.Portable(t.Context(), []byte(lockText), nil)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, c := range []*artifact.Contents{&p.Packages, p.Interpreter} {
		if c == nil {
			t.Log("the interpreter belongs to the system and is not sent")
			continue
		}
		for _, entry := range c.Entries {
			if entry.Kind == artifact.Folder {
				continue
			}
			r, err := c.Open(entry)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(r)
			if r.Close(); err != nil || artifact.DigestOf(b) != entry.Digest || int64(len(b)) != entry.Size {
				t.Errorf("%s: what is read does not match its entry: %v", entry.Path, err)
			}
			seen[entry.Path] = string(b)
			if strings.HasSuffix(entry.Path, ".pyc") && (b[4] != 1 || !bytes.Equal(b[5:16], make([]byte, 11))) {
				t.Errorf("%s: Python would look at the time of its source: % x", entry.Path, b[:16])
			}
		}
	}
	for name, want := range map[string]string{
		"bin/short": pyenv.PortableScript + "rest\n", "bin/long": pyenv.PortableScript + "rest\n", "bin/own": "#!/bin/sh\nrest\n",
		"pyvenv.cfg": "", "bin/python": "", "requirements.txt": "", "lib/python3.11/site-packages/iniconfig/__pycache__/exceptions.cpython-311.pyc": "",
	} {
		if seen[name] != want {
			t.Errorf("%s is %q, want %q", name, seen[name], want)
		}
	}
	if seen["lib/python3.11/site-packages/iniconfig/__pycache__/__init__.cpython-311.pyc"] == "" {
		t.Error("bytecode is missing")
	}
	if p.Name != "python3.11" || !strings.HasPrefix(p.Says, "cpython "+p.Version+" final") || p.Libc != "" {
		t.Errorf("it is %+v", p)
	}

	again, err := pyenv.New(pyenv.Options{Dir: dir, UV: uv(t)}).Portable(t.Context(), []byte(lockText), nil)
	if err != nil || again.Packages.Digest() != p.Packages.Digest() {
		t.Errorf("what was noted is %v, %v", again, err)
	}
}
