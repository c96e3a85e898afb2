package pyenv_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors/pyenv"
)

// Most tests need uv. Without it they fail, because a skipped test proves nothing.
func uv(t *testing.T) string {
	t.Helper()
	path := os.Getenv("UV")
	if path == "" {
		path = "uv"
	}
	path, err := exec.LookPath(path)
	if err != nil {
		t.Fatal("these tests need uv in PATH or in $UV: python3 -m pip install uv")
	}
	return path
}

const lockText = `iniconfig==2.0.0 \
    --hash=sha256:2d91e135bf72d31a410b17c16da610a82cb55f6b0477d1a902134b24a455b8b3 \
    --hash=sha256:b6a85871a79d2e3b22d2d1b94ac2824226a63c6b741c88f7ae975f18b6778374
`

type counter struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (c *counter) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines.Write(b)
}

// made returns how many environments uv has reported.
func (c *counter) made() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Count(c.lines.String(), "Creating virtual environment")
}

func ensure(t *testing.T, e *pyenv.Env, lock string) string {
	t.Helper()
	python, err := e.Ensure(t.Context(), []byte(lock), nil)
	if err != nil {
		t.Fatal(err)
	}
	return python
}

func python(t *testing.T, path, code string) string {
	t.Helper()
	out, err := exec.Command(path, "-c", code).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestAnEnvironmentHasExactlyWhatTheLockSays(t *testing.T) {
	var log counter
	o := pyenv.Options{Dir: filepath.Join(t.TempDir(), "späce d"), UV: uv(t), Log: &log}
	path := ensure(t, pyenv.New(o), lockText)
	got := python(t, path, `import importlib.metadata as m; print(sorted((d.name, d.version) for d in m.distributions()))`)
	if got != "[('iniconfig', '2.0.0')]" {
		t.Errorf("it has %s", got)
	}
	if !filepath.IsAbs(path) || !strings.HasPrefix(path, o.Dir) {
		t.Errorf("the interpreter is %s", path)
	}
	cached := python(t, path, `import importlib.util, os, iniconfig; print(os.path.exists(importlib.util.cache_from_source(iniconfig.__file__)))`)
	if cached != "True" {
		t.Error("modules are not compiled")
	}

	if m := pyenv.New(o).Missing([]byte(lockText)); m != nil {
		t.Errorf("it is said to be missing: %+v", m)
	}

	// The second time, even in another process, uv is not called at all.
	o.UV = "/no/such/uv"
	began := time.Now()
	if again := ensure(t, pyenv.New(o), lockText); again != path {
		t.Errorf("the second time it is %s, want %s", again, path)
	}
	t.Logf("found again in %v", time.Since(began))
	if log.made() != 1 {
		t.Errorf("made %d times, want once:\n%s", log.made(), log.lines.String())
	}
}

func TestAnotherLockIsAnotherEnvironment(t *testing.T) {
	e := pyenv.New(pyenv.Options{Dir: t.TempDir(), UV: uv(t)})
	full, empty := ensure(t, e, lockText), ensure(t, e, "")
	if full == empty {
		t.Error("two locks share one environment")
	}
	if got := python(t, empty, `import importlib.util; print(importlib.util.find_spec("iniconfig"))`); got != "None" {
		t.Errorf("an empty lock gave %s", got)
	}
}

func TestConcurrentCallersBuildOnce(t *testing.T) {
	var log counter
	dir := t.TempDir()
	paths := make([]string, 6)
	var wg sync.WaitGroup
	for i := range paths {
		// Each is another Env, so they share nothing but the folder.
		e := pyenv.New(pyenv.Options{Dir: dir, UV: uv(t), Log: &log})
		wg.Go(func() {
			path, err := e.Ensure(t.Context(), []byte(lockText), nil)
			if err != nil {
				t.Error(err)
			}
			paths[i] = path
		})
	}
	wg.Wait()
	for _, p := range paths {
		if p != paths[0] {
			t.Errorf("paths differ: %s and %s", p, paths[0])
		}
	}
	if log.made() != 1 {
		t.Errorf("made %d times, want once", log.made())
	}
}

func TestPartialEnvironmentIsBuiltAgain(t *testing.T) {
	var log counter
	e := pyenv.New(pyenv.Options{Dir: t.TempDir(), UV: uv(t), Log: &log})
	path := ensure(t, e, lockText)
	root := filepath.Dir(filepath.Dir(path))
	for name, harm := range map[string]func() error{
		"without its marker":        func() error { return os.Remove(filepath.Join(root, ".complete")) },
		"whose interpreter is gone": func() error { return os.Remove(path) },
	} {
		if err := os.WriteFile(filepath.Join(root, "half"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		before := log.made()
		ensure(t, e, lockText)
		if log.made() != before+1 {
			t.Errorf("one %s was not made again", name)
		}
		if _, err := os.Stat(filepath.Join(root, "half")); err == nil {
			t.Errorf("of one %s something is left", name)
		}
	}
}

func TestWaitingForAnotherMakerEndsWithTheContext(t *testing.T) {
	dir := t.TempDir()
	slow := filepath.Join(t.TempDir(), "uv")
	script := "#!/bin/sh\ncase \"$*\" in *venv*) sleep 60;; esac\nexec " + uv(t) + " \"$@\"\n"
	if err := os.WriteFile(slow, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	made := make(chan error, 1)
	go func() {
		_, err := pyenv.New(pyenv.Options{Dir: dir, UV: slow}).Ensure(ctx, []byte(lockText), nil)
		made <- err
	}()
	for locks := []string{}; len(locks) == 0; time.Sleep(5 * time.Millisecond) {
		locks, _ = filepath.Glob(filepath.Join(dir, "*.lock"))
	}
	time.Sleep(50 * time.Millisecond)
	waiting, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	_, err := pyenv.New(pyenv.Options{Dir: dir, UV: uv(t)}).Ensure(waiting, []byte(lockText), nil)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another process is building") {
		t.Errorf("waiting gave %v", err)
	}
	cancel()
	if err := <-made; !errors.Is(err, context.Canceled) {
		t.Errorf("the canceled maker gave %v", err)
	}
	// What it left does not prevent the next one.
	ensure(t, pyenv.New(pyenv.Options{Dir: dir, UV: uv(t)}), lockText)
}

// killedMaker is set for the process that TestKilledBuildLeavesNothingHarmful kills:
// where it makes an environment, and with which uv.
const killedMaker = "TENON_TEST_KILLED_MAKER"

// A process that is killed while it makes an environment leaves a uv that still writes.
// The next one waits for that uv, and reuses nothing of what it wrote.
func TestKilledBuildLeavesNothingHarmful(t *testing.T) {
	if at := os.Getenv(killedMaker); at != "" {
		_, _ = pyenv.New(pyenv.Options{Dir: at, UV: at + "/uv"}).Ensure(t.Context(), []byte(lockText), nil)
		return
	}
	dir := t.TempDir()
	script := "#!/bin/sh\ncase \"$*\" in *'pip sync'*) touch " + dir + "/begun; sleep 1;; esac\n" + uv(t) + " \"$@\"; touch " + dir + "/ended\n"
	if err := os.WriteFile(filepath.Join(dir, "uv"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	maker := exec.Command(os.Args[0], "-test.run", "^TestKilledBuildLeavesNothingHarmful$")
	maker.Env = append(os.Environ(), killedMaker+"="+dir)
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	for begun := false; !begun; time.Sleep(5 * time.Millisecond) {
		_, err := os.Stat(filepath.Join(dir, "begun"))
		begun = err == nil
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "ended")), maker.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	_ = maker.Wait() // it was killed
	o := pyenv.Options{Dir: dir, UV: uv(t)}
	if m := pyenv.New(o).Missing([]byte(lockText)); m == nil {
		t.Error("what was half made passes for an environment")
	}
	path := ensure(t, pyenv.New(o), lockText)
	if _, err := os.Stat(filepath.Join(dir, "ended")); err != nil {
		t.Errorf("the uv that was left was not waited for: %v", err)
	}
	if got := python(t, path, `import iniconfig; print(iniconfig.__cached__.startswith(__import__("sys").prefix))`); got != "True" {
		t.Errorf("the environment gives %s", got)
	}
}

func TestALockIsSortedHashedAndNamesNoHost(t *testing.T) {
	// As if the user had configured everything that names hosts.
	config := filepath.Join(t.TempDir(), "uv.toml")
	if err := os.WriteFile(config, []byte("[pip]\nemit-index-url = true\nemit-index-annotation = true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("UV_CONFIG_FILE", config)
	e := pyenv.New(pyenv.Options{Dir: t.TempDir(), UV: uv(t)})
	b, err := e.Lock(t.Context(), []string{"six==1.16.0", "iniconfig==2.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); !strings.HasPrefix(s, lockText+"six==1.16.0 \\\n    --hash=sha256:") || strings.Contains(s, "//") {
		t.Errorf("the lock is:\n%s", s)
	}
	again, err := e.Lock(t.Context(), []string{"iniconfig==2.0.0", "six==1.16.0"})
	if err != nil || !bytes.Equal(b, again) {
		t.Errorf("the order of requirements matters: %v\n%s", err, again)
	}
	ensure(t, e, string(b))
}

func TestErrorsSayWhatToDo(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	none := pyenv.New(pyenv.Options{Dir: dir, UV: "no-such-uv"})
	if _, err := none.Ensure(ctx, []byte(lockText), nil); !errors.Is(err, pyenv.ErrNoUV) {
		t.Errorf("ensure without uv gave %v", err)
	}
	if _, err := none.Lock(ctx, []string{"six"}); !errors.Is(err, pyenv.ErrNoUV) || !strings.Contains(err.Error(), "python3 -m pip install uv") {
		t.Errorf("lock without uv gave %v", err)
	}

	e := pyenv.New(pyenv.Options{Dir: dir, UV: uv(t)})
	_, err := e.Lock(ctx, []string{"six==1.16.0", "six==1.15.0"})
	wantError(t, err, "conflict: ", "six==1.16.0", "six==1.15.0", "unsatisfiable")
	_, err = e.Lock(ctx, []string{"six=="})
	wantError(t, err, "lock six==: ", "parse")
	_, err = e.Ensure(ctx, []byte(strings.NewReplacer("2d91", "0000", "b6a8", "0000").Replace(lockText)), nil)
	wantError(t, err, "python environment: ", "Hash mismatch")
	_, err = e.Ensure(ctx, []byte("iniconfig==2.0.0\n"), nil)
	wantError(t, err, "python environment: ", "hash")
	_, err = pyenv.New(pyenv.Options{Dir: t.TempDir(), UV: uv(t), Python: "/no/such/python"}).Ensure(ctx, nil, nil)
	wantError(t, err, "python environment: ", "/no/such/python")
}

func TestUnreachableIndexIsReported(t *testing.T) {
	for _, k := range []string{"UV_DEFAULT_INDEX", "UV_INDEX_URL"} {
		t.Setenv(k, "http://127.0.0.1:1/simple")
	}
	t.Setenv("UV_HTTP_RETRIES", "0")
	t.Setenv("UV_CACHE_DIR", t.TempDir())
	t.Setenv("NO_PROXY", "127.0.0.1")
	e := pyenv.New(pyenv.Options{Dir: t.TempDir(), UV: uv(t)})
	_, err := e.Lock(t.Context(), []string{"six"})
	wantError(t, err, "lock six: cannot reach the package index: ", "127.0.0.1:1")
	_, err = e.Ensure(t.Context(), []byte(lockText), nil)
	wantError(t, err, "python environment: cannot reach the package index: ", "127.0.0.1:1")
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
}
