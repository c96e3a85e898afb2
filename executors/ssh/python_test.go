package ssh_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/executors/ssh"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

const lockText = `iniconfig==2.0.0 \
    --hash=sha256:2d91e135bf72d31a410b17c16da610a82cb55f6b0477d1a902134b24a455b8b3 \
    --hash=sha256:b6a85871a79d2e3b22d2d1b94ac2824226a63c6b741c88f7ae975f18b6778374
`

// script says where it runs and with what.
const script = `import json, os, ssl, sys
import iniconfig
step = json.load(open(os.environ["TENON_STEP"]))
os.mkdir(step["outputs"]["out"]["path"])
with open(step["outputs"]["out"]["path"] + "/says", "w") as f:
    print(sys.version.split()[0], os.uname().nodename, sys.prefix, iniconfig.__file__, os.path.realpath(sys.executable), file=f)
`

// pythonJob makes a task that runs the script in an environment with a lock.
func pythonJob(t *testing.T, runs, name, lock string) executors.Task {
	t.Helper()
	task := job(t, runs, name, "exit")
	dir := t.TempDir()
	task.Code, task.Lock = filepath.Join(dir, "code"), filepath.Join(dir, "lock")
	ok(t, os.Mkdir(task.Code, 0o755))
	ok(t, os.WriteFile(filepath.Join(task.Code, "main.py"), []byte(script), 0o644))
	ok(t, os.WriteFile(task.Lock, []byte(lock), 0o644))
	task.Unit.Code = ir.Code{
		Runtime: ir.Python, Command: []string{"main.py"}, Lock: artifact.DigestOf([]byte(lock)), Python: "3.11",
		Files: []ir.CodeFile{{Path: "main.py", Digest: artifact.DigestOf([]byte(script))}},
	}
	return task
}

// A Python unit runs with the packages of its lock and the interpreter of this machine, on a host
// that has neither.
func TestPython(t *testing.T) {
	uv, err := exec.LookPath("uv")
	if err != nil {
		t.Fatal("this test needs uv in PATH: python3 -m pip install uv")
	}
	l, runs, dir := newLab(t), t.TempDir(), t.TempDir()
	executor := func() *ssh.Executor {
		return l.executor(t, func(o *ssh.Options) { o.Runs, o.Python = runs, pyenv.New(pyenv.Options{Dir: dir, UV: uv}) })
	}
	e := executor()
	task := pythonJob(t, runs, "first", lockText)
	h := apply(t, e, task)
	wait(t, e, h, state.Succeeded)
	b, err := os.ReadFile(filepath.Join(task.Dir, "out/out/says"))
	ok(t, err)
	says := strings.Fields(string(b))
	version, err := e.Python(t.Context(), "3.11", false)
	ok(t, err)
	below := "/root/.cache/tenon/ssh/environments/"
	if len(says) != 5 || says[0] != version || says[1] != l.All[0].NS || !strings.HasPrefix(says[2], below) || !strings.HasPrefix(says[3], says[2]+"/lib/python3.11/site-packages/") {
		t.Errorf("it says %q, want Python %s below %s on %s", says, version, below, l.All[0].NS)
	}
	if system := strings.HasPrefix(says[4], "/usr/"); !system && !strings.HasPrefix(says[4], "/root/.cache/tenon/ssh/trees/") {
		t.Errorf("its interpreter is %s, which nobody sent", says[4])
	}

	// Another environment is sent with what differs, and has the same interpreter.
	files := func() int {
		all, err := filepath.Glob(filepath.Join(l.All[0].Home, ".cache/tenon/ssh/tree-files/*/*"))
		ok(t, err)
		return len(all)
	}
	before := files()
	other := pythonJob(t, runs, "other", "# the same\n"+lockText)
	wait(t, executor(), apply(t, e, other), state.Succeeded)
	if more := files() - before; before < 500 || more > 5 {
		t.Errorf("%d files were sent, and %d more for the same packages", before, more)
	}
}
