package pyenv_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/executors/pyenv"
)

const tabulate = `tabulate==0.9.0 \
    --hash=sha256:0095b12bf5966de529c0feb1fa08671671b3368eec77d7ef7ab114be2c068b3c \
    --hash=sha256:024ca478df22e9340661486f85298cff5f6dcdba14f3813e8830015b9ed1948f
`

func lay(t *testing.T, lock string, tree pyenv.Tree) (map[string]string, error) {
	t.Helper()
	e := pyenv.New(pyenv.Options{Dir: t.TempDir(), UV: uv(t)})
	if err := e.Lay(t.Context(), []byte(lock), tree); err != nil {
		return nil, err
	}
	files := map[string]string{}
	err := filepath.WalkDir(tree.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := strings.TrimPrefix(path, tree.Dir+"/")
		if d.Type()&fs.ModeSymlink != 0 {
			files[name], err = os.Readlink(path)
			return err
		}
		b, err := os.ReadFile(path)
		files[name] = string(b)
		return err
	})
	return files, err
}

func TestTreeIsTheSameEverywhere(t *testing.T) {
	tree := pyenv.Tree{At: "/opt/env", Python: "/usr/local/bin/python3.11", Arch: "arm64"}
	var all []map[string]string
	for _, dir := range []string{"a", "späce d/" + strings.Repeat("long", 40)} {
		t.Setenv("UV_CACHE_DIR", t.TempDir())
		tree.Dir = filepath.Join(t.TempDir(), dir)
		files, err := lay(t, lockText+tabulate, tree)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, files)
	}
	if diff := cmp.Diff(all[0], all[1]); diff != "" {
		t.Errorf("the trees differ: %.2000s", diff)
	}
	if got := all[0]["bin/python"]; got != tree.Python {
		t.Errorf("the interpreter is %s", got)
	}
	if got := all[0]["bin/tabulate"]; !strings.HasPrefix(got, "#!/opt/env/bin/python\n") {
		t.Errorf("the script begins with %.60q", got)
	}
}

// An environment that is written to its final place works.
func TestATreeIsAnEnvironment(t *testing.T) {
	host, err := exec.LookPath("python3.11")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(host, "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "env")
	if _, err := lay(t, lockText+tabulate, pyenv.Tree{Dir: dir, At: dir, Python: strings.TrimSpace(string(out)), Arch: "amd64"}); err != nil {
		t.Fatal(err)
	}
	got := python(t, filepath.Join(dir, "bin", "python"), `import sys, tabulate; print(sys.prefix, tabulate.__cached__.endswith(".pyc"))`)
	if got != dir+" True" {
		t.Errorf("it is %s", got)
	}
	script, err := exec.Command(filepath.Join(dir, "bin", "tabulate"), "--help").CombinedOutput()
	if err != nil || !strings.Contains(string(script), "Pretty-print") {
		t.Errorf("the script says %s, %v", script, err)
	}
}

// A killed process may have left a uv that still writes. The next one waits for it, and
// reuses nothing of what it wrote.
func TestTreeIsWrittenByOneProcessAtATime(t *testing.T) {
	tree := pyenv.Tree{Dir: filepath.Join(t.TempDir(), "env"), At: "/opt/env", Python: "/usr/bin/python3.11", Arch: "amd64"}
	if err := errors.Join(os.MkdirAll(tree.Dir, 0o755), os.WriteFile(filepath.Join(tree.Dir, "half"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	other := exec.Command("flock", tree.Dir+".uv.lock", "sh", "-c", "echo held; read -r end")
	stdin, err := other.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	e := pyenv.New(pyenv.Options{Dir: t.TempDir(), UV: uv(t)})
	elsewhere := tree
	elsewhere.Dir = filepath.Join(t.TempDir(), "env")
	if err := e.Lay(t.Context(), nil, elsewhere); err != nil { // by then it has found its interpreter
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := e.Lay(ctx, nil, tree); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another process is building") {
		t.Errorf("beside another one it gave %v", err)
	}
	if err := errors.Join(stdin.Close(), other.Wait()); err == nil {
		t.Fatal("the other one read something")
	}
	files, err := lay(t, "", tree)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := files["half"]; ok {
		t.Error("it holds what was left there")
	}
}

func TestInvalidTree(t *testing.T) {
	_, err := lay(t, lockText, pyenv.Tree{Dir: filepath.Join(t.TempDir(), "env"), At: "/opt/env", Python: "/usr/bin/python3.11", Arch: "s390x"})
	wantError(t, err, "python environment: ", "no wheels for s390x")
	_, err = lay(t, "iniconfig==2.0.0\n", pyenv.Tree{Dir: filepath.Join(t.TempDir(), "env"), At: "/opt/env", Python: "/usr/bin/python3.11", Arch: "amd64"})
	wantError(t, err, "python environment: ", "hash")
}
