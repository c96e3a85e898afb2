package containerd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// nobody is the user that programs run as.
const nobody = 65532

// file creates a file that everybody may write and that belongs to the user of the
// programs: only the way it is mounted protects it.
func file(t *testing.T, path, text string) string {
	t.Helper()
	mkdir(t, filepath.Dir(path))
	ok(t, os.WriteFile(path, []byte(text), 0o666))
	ok(t, os.Chmod(path, 0o666))
	ok(t, os.Chmod(filepath.Dir(path), 0o777))
	ok(t, os.Chown(path, nobody, nobody))
	return path
}

// run runs a job to its end.
func run(t *testing.T, task executors.Task) state.Status {
	t.Helper()
	e := newExecutor(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*program.Patience)
	defer cancel()
	st, err := e.Wait(ctx, apply(t, e, task))
	ok(t, err)
	return st
}

// attack runs attempts in a container and returns what stopped each.
func attack(t *testing.T, task executors.Task, attempts [][]string) []string {
	t.Helper()
	list, err := json.Marshal(attempts)
	ok(t, err)
	task.Unit.Code.Command = []string{"/bin/program", "attack", string(list)}
	if st := run(t, task); st.Phase != state.Succeeded {
		t.Fatalf("status %+v, log: %s", st, read(t, filepath.Join(task.Dir, "log")))
	}
	var result []string
	ok(t, json.Unmarshal([]byte(read(t, filepath.Join(task.Dir, "out/out/attacks.json"))), &result))
	return result
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	return string(b)
}

// sleeper starts a process outside any container.
func sleeper(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	ok(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return strconv.Itoa(cmd.Process.Pid)
}

// tcp and abstract are listeners on this machine that accept any client.
func tcp(t *testing.T) string { return listen(t, "tcp", "127.0.0.1:0") }
func abstract(t *testing.T) string {
	return listen(t, "unix", "@tenon-isolation-"+strconv.FormatInt(time.Now().UnixNano(), 36))
}

func listen(t *testing.T, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	ok(t, err)
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// A unit makes each attempt, and then this test makes a similar one outside any
// container. There it must succeed, or the failure in the container would prove
// nothing.
func TestAUnitCannotLeaveItsContainer(t *testing.T) {
	const (
		readOnly  = "read-only file system"
		forbidden = "operation not permitted"
		denied    = "permission denied"
		missing   = "no such file or directory"
		refused   = "connection refused"
		elsewhere = "invalid cross-device link"
	)
	host := t.TempDir()
	ok(t, os.Chmod(host, 0o777))
	task := job(t)
	inputs := t.TempDir()
	data := file(t, filepath.Join(inputs, "data"), "data")
	folder := filepath.Dir(file(t, filepath.Join(inputs, "folder/a"), "a"))
	table := file(t, filepath.Join(inputs, "tables/x.csv"), "x")
	task.Inputs = map[string]step.Port{"data": {Kind: ir.File, Path: data}, "folder": {Kind: ir.File, Path: folder}}
	task.Files = map[string][]string{"*.csv": {table}}
	task.Unit.Secrets = []ir.Secret{{Name: "PASSWORD", As: ir.AsFile}}
	task.Env = map[string]string{"PASSWORD": "secret"}
	task.Unit.Needs.Memory = 64 << 20
	other := job(t)
	private := file(t, filepath.Join(other.Dir, "out/out/private"), "private")
	port, name, victim := tcp(t), abstract(t), sleeper(t)
	of := func(name string) string { return filepath.Join(host, name) }
	for _, n := range []string{"file", "log", "data"} {
		file(t, of(n), n)
	}
	suid := of("root")
	b, err := os.ReadFile(executortest.Program())
	ok(t, err)
	ok(t, os.WriteFile(suid, b, 0o755))
	ok(t, os.Chmod(suid, 0o755|os.ModeSetuid))
	cases := []struct {
		name    string
		inside  []string
		stopped string
		outside []string
	}{
		{"call a program of the machine", []string{"tcp", port}, refused, []string{"tcp", port}},
		{"call one that listens at no path", []string{"unix", name}, refused, []string{"unix", name}},
		{"see what passes on the network", []string{"socket"}, forbidden, []string{"socket"}},
		{"read the folder of another run", []string{"read", private}, missing, []string{"read", private}},
		{"write to an input", []string{"write", "/tenon/in/data"}, readOnly, []string{"write", of("data")}},
		{"change the rights of an input", []string{"chmod", "/tenon/in/data"}, readOnly, []string{"chmod", of("data")}},
		{"add to an input", []string{"write", "/tenon/in/folder/new"}, readOnly, []string{"write", of("new")}},
		{"write to a data file", []string{"write", "/tenon/data/x.csv"}, readOnly, []string{"write", of("data")}},
		{"write to its document", []string{"write", "/tenon/step.json"}, denied, []string{"write", of("data")}},
		{"write to what runs it", []string{"open", "/tenon/run"}, denied, []string{"open", of("data")}},
		{"write to the image", []string{"write", "/open/file"}, readOnly, []string{"write", of("file")}},
		{"add to the image", []string{"write", "/open/new"}, readOnly, []string{"write", of("new")}},
		{"add to where secrets are", []string{"write", "/tenon/secrets/new"}, readOnly, []string{"write", of("new")}},
		{"change a secret", []string{"chmod", "/tenon/secrets/PASSWORD"}, readOnly, []string{"chmod", of("file")}},
		{"set the kernel", []string{"open", "/proc/sys/kernel/hostname"}, denied, []string{"open", "/proc/sys/kernel/hostname"}},
		{"set a device", []string{"write", "/sys/new"}, readOnly, nil},
		{"add a device", []string{"write", "/dev/new"}, denied, []string{"write", of("new")}},
		{"make a device", []string{"device", "/tenon/scratch/disk"}, forbidden, []string{"device", of("disk")}},
		{"put another file where its log is", []string{"replace", "/tenon/log"}, elsewhere, []string{"replace", of("log")}},
		{"keep a name of an input", []string{"link", "/tenon/in/data", "/tenon/out/hard"}, elsewhere, []string{"link", of("data"), of("hard")}},
		{"end a process of the machine", []string{"kill", victim}, "no such process", []string{"kill", victim}},
		{"see other processes", []string{"others"}, "it sees 2 processes", []string{"others"}},
		{"mount", []string{"mount", "/tenon/scratch"}, forbidden, []string{"mount", host}},
		{"make an input writable", []string{"remount", "/tenon/in/data"}, forbidden, nil},
		{"make namespaces of its own", []string{"namespace"}, forbidden, []string{"namespace"}},
		{"look at keys", []string{"keys"}, forbidden, []string{"keys"}},
		{"load a program into the kernel", []string{"bpf"}, forbidden, []string{"bpf"}},
		{"write its memory to a disk", []string{"core"}, forbidden, []string{"core"}},
		{"become root", []string{"root"}, forbidden, []string{"root"}},
		{"run as the owner of a program", []string{"setuid", "/bin/root"}, "it runs as user 65532", []string{"setuid", suid}},
		{"have rights", []string{"rights"}, "it has no rights", []string{"rights"}},
		{"take more memory as files", []string{"memory", "/dev/shm/big", "50331648"}, "no space left on device", []string{"memory", of("big"), "50331648"}},
		// What it may do.
		{"call itself", []string{"loopback"}, "", nil},
		{"find itself by name", []string{"resolve", "localhost"}, "", nil},
		{"find itself by its own name", []string{"resolve", "tenon"}, "", nil},
		{"write outputs", []string{"write", "/tenon/out/out/new"}, "", nil},
		{"write scratch", []string{"write", "/tmp/new"}, "", nil},
		{"share memory", []string{"memory", "/dev/shm/small", "16777216"}, "", nil},
	}
	var attempts [][]string
	for _, c := range cases {
		attempts = append(attempts, c.inside)
	}
	for i, got := range attack(t, task, attempts) {
		c := cases[i]
		t.Run(c.name, func(t *testing.T) {
			if got != c.stopped {
				t.Errorf("%q was stopped by %q, want %q", c.inside, got, c.stopped)
			}
			if c.outside == nil {
				return
			}
			if got := outside(t, c.outside); got != "" {
				t.Errorf("outside of a container %q was stopped by %q, so that it is stopped inside says nothing", c.outside, got)
			}
		})
	}
}

// outside makes an attempt in a process of its own, with private mounts.
func outside(t *testing.T, attempt []string) string {
	t.Helper()
	list, err := json.Marshal([][]string{attempt})
	ok(t, err)
	dir := t.TempDir()
	doc, err := json.Marshal(step.Step{Version: step.Version, Outputs: map[string]step.Port{"out": {Path: dir}}})
	ok(t, err)
	document := filepath.Join(dir, "step.json")
	ok(t, os.WriteFile(document, doc, 0o644))
	cmd := exec.Command(executortest.Program(), "attack", string(list))
	cmd.Env = append(os.Environ(), step.Env+"="+document)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var result []string
	ok(t, json.Unmarshal([]byte(read(t, filepath.Join(dir, "attacks.json"))), &result))
	return result[0]
}

// A unit that asks for the network has that of the machine. A unit that does not has
// none.
func TestNetworkIsDeclared(t *testing.T) {
	for asked, stopped := range map[ir.Network]string{ir.NetworkUnsaid: "connection refused", ir.NetworkNone: "connection refused", ir.NetworkOpen: ""} {
		task := job(t)
		task.Unit.Network = asked
		got := attack(t, task, [][]string{{"tcp", tcp(t)}, {"unix", abstract(t)}})
		if want := []string{stopped, stopped}; !slices.Equal(got, want) {
			t.Errorf("with network %q, calls were stopped by %q, want %q", asked, got, want)
		}
	}
}

// Tenon, which is root, takes over what a unit leaves. Symbolic links of the unit must
// not redirect it.
func TestLinksLeftByAUnitLeadNowhere(t *testing.T) {
	victim := file(t, filepath.Join(t.TempDir(), "victim"), "private")
	task := job(t)
	notes, out := "/tenon/notes/", "/tenon/out/out/"
	for _, err := range attack(t, task, [][]string{
		{"symlink", victim, notes + "metrics.json"}, {"symlink", victim, notes + "progress.jsonl"}, {"symlink", victim, notes + "fault"},
		{"symlink", victim, out + "file"}, {"symlink", filepath.Dir(victim), out + "folder"}, {"own", out + "program"}, {"write", out + "a"}, {"link", out + "a", out + "b"},
	}) {
		if err != "" {
			t.Fatalf("the unit was stopped by %q", err)
		}
	}
	if uid, mode := owner(t, victim); uid != nobody || mode != 0o666 || read(t, victim) != "private" {
		t.Errorf("what the links name now belongs to user %d, mode %v: %q", uid, mode, read(t, victim))
	}
	for _, path := range []string{"notes/metrics.json", "notes/fault", "out/out/file", "out/out/folder", "out/out/program", "out/out/a"} {
		uid, mode := owner(t, filepath.Join(task.Dir, path))
		if uid != os.Getuid() || mode&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s belongs to user %d, mode %v", path, uid, mode)
		}
	}
}

func owner(t *testing.T, path string) (uid int, mode fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	ok(t, err)
	return int(info.Sys().(*syscall.Stat_t).Uid), info.Mode()
}

// The message of a unit that could not start is read from a file that the unit can
// write too.
func TestFaultFileIsNotReadThroughALink(t *testing.T) {
	victim := file(t, filepath.Join(t.TempDir(), "victim"), "private")
	task := job(t, "exit", "127")
	mkdir(t, filepath.Join(task.Dir, "notes"))
	h := apply(t, newExecutor(t), task)
	if _, err := newExecutor(t).Wait(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	fault := filepath.Join(task.Dir, "notes/fault")
	for text, leave := range map[string]func() error{
		"exit 127": func() error { return os.Symlink(victim, fault) },
		"a reason": func() error { return os.WriteFile(fault, []byte("a reason\nand more"), 0o644) },
	} {
		ok(t, leave())
		st, err := newExecutor(t).Inspect(t.Context(), h)
		ok(t, err)
		if st.Message != text {
			t.Errorf("message is %q, want %q", st.Message, text)
		}
		ok(t, os.Remove(fault))
	}
	ok(t, syscall.Mkfifo(fault, 0o644))
	st, err := newExecutor(t).Inspect(t.Context(), h)
	ok(t, err)
	if st.Message != "exit 127" {
		t.Errorf("message is %q", st.Message)
	}
}

// A secret is only where the program expects it: not in what containerd stores, not in
// a file on a disk, not in the environment of another process.
func TestSecretsAreOnlyInMemory(t *testing.T) {
	const value = "correct-horse-only-here-staple" // processes of other tests have secrets as well
	task := job(t, "sleep")
	task.Unit.Secrets = []ir.Secret{{Name: "PASSWORD"}, {Name: "TOKEN", As: ir.AsFile}}
	task.Env = map[string]string{"PASSWORD": value, "TOKEN": value + "-file"}
	h := apply(t, newExecutor(t), task)
	ctx := namespaces.WithNamespace(t.Context(), os.Getenv(namespaceVar))
	c, err := client.New(os.Getenv(addressVar))
	ok(t, err)
	defer c.Close()
	container := containerOf(ctx, t, c, task)
	running, err := container.Task(ctx, nil)
	ok(t, err)
	eventually(t, "the program runs", func() bool { return len(processesWith(t, value)) > 0 })
	program := strconv.Itoa(int(running.Pid()))
	for _, pid := range processesWith(t, value) {
		if read(t, "/proc/"+pid+"/cgroup") != read(t, "/proc/"+program+"/cgroup") || pid == program {
			t.Errorf("process %s holds the secret: %q", pid, read(t, "/proc/"+pid+"/cmdline"))
		}
	}
	info, err := container.Info(ctx)
	ok(t, err)
	if bytes.Contains(info.Spec.GetValue(), []byte(value)) || strings.Contains(fmt.Sprint(info), value) {
		t.Errorf("containerd keeps the secret: %s", info.Spec.GetValue())
	}
	daemon := os.Getenv(daemonVar)
	planted := filepath.Join(daemon, "planted")
	ok(t, os.WriteFile(planted, []byte("x"+value), 0o600))
	if found := holding(t, value, daemon, filepath.Dir(task.Dir)); !slices.Equal(found, []string{planted}) {
		t.Errorf("the secret is in %q, want only %q, which the test put there", found, planted)
	}
	ok(t, os.Remove(planted))

	if found := holding(t, value, inMemory()...); len(found) != 2 {
		t.Errorf("in memory the secret is in %q, want the variables and one file", found)
	}
	ok(t, newExecutor(t).Destroy(t.Context(), h))
	if found := holding(t, value, inMemory()...); len(found) != 0 {
		t.Errorf("after destroy the secret is in %q", found)
	}
}

// inMemory returns the folders in which an executor may keep secrets.
func inMemory() []string {
	name := "tenon-" + strconv.Itoa(os.Getuid())
	return []string{filepath.Join("/run", name), filepath.Join("/dev/shm", name)}
}

// holding returns the files below folders that contain a text.
func holding(t *testing.T, text string, dirs ...string) (found []string) {
	t.Helper()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(text)) {
					found = append(found, path)
				}
			}
			return nil // it vanished meanwhile
		})
		ok(t, err)
	}
	return found
}

// processesWith returns the processes that have a text in their environment or arguments.
func processesWith(t *testing.T, text string) (pids []string) {
	t.Helper()
	for _, file := range []string{"environ", "cmdline"} {
		paths, err := filepath.Glob("/proc/[0-9]*/" + file)
		ok(t, err)
		for _, path := range paths {
			if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(text)) {
				pids = append(pids, filepath.Base(filepath.Dir(path)))
			}
		}
	}
	return pids
}

func containerOf(ctx context.Context, t *testing.T, c *client.Client, task executors.Task) client.Container {
	t.Helper()
	found, err := c.Containers(ctx, fmt.Sprintf("labels.\"tenon.dev/dir\"==%q", task.Dir))
	ok(t, err)
	if len(found) != 1 {
		t.Fatalf("%d containers of %s", len(found), task.Dir)
	}
	return found[0]
}

// Files in memory that a unit writes count as memory of the unit.
func TestFilesInMemoryCount(t *testing.T) {
	task := job(t)
	if got := attack(t, task, [][]string{{"memory", "/dev/shm/big", "100663296"}}); got[0] != "" {
		t.Errorf("a unit without a bound was stopped by %q", got[0])
	}
	task = job(t, "hoard", "/dev/shm/a", "29360128", "41943040")
	task.Unit.Needs.Memory = 64 << 20
	if st := run(t, task); st.Phase != state.Failed || !strings.Contains(st.Message, "needs.memory 64 MiB") {
		t.Errorf("status %+v, want that it used too much memory", st)
	}
	task = job(t, "hoard", "/dev/shm/a", "29360128", "1048576")
	task.Unit.Needs.Memory = 64 << 20
	if st := run(t, task); st.Phase != state.Succeeded {
		t.Errorf("status %+v", st)
	}
}

func TestThousandsOfDataFiles(t *testing.T) {
	task := job(t, "report")
	root := t.TempDir()
	var paths []string
	for i := range 3000 {
		path := filepath.Join(root, fmt.Sprintf("day=%d", i%100), fmt.Sprintf("%d.csv", i))
		mkdir(t, filepath.Dir(path))
		ok(t, os.WriteFile(path, []byte("x"), 0o644))
		paths = append(paths, path)
	}
	task.Files = map[string][]string{"**/*.csv": paths}
	if st := run(t, task); st.Phase != state.Succeeded {
		t.Fatalf("%+v", st)
	}
	var f program.Found
	ok(t, json.Unmarshal([]byte(read(t, filepath.Join(task.Dir, "out/out/found.json"))), &f))
	if len(f.Content) != len(paths) {
		t.Errorf("the program found %d files, want %d", len(f.Content), len(paths))
	}
}

// A program runs as another user than tenon. A data file that it may not read is an
// error before it runs, which names the file.
func TestDataThatProgramsMayNotRead(t *testing.T) {
	for name, c := range map[string]struct {
		mode     fs.FileMode
		uid, gid int
		fine     bool
	}{
		"of root alone":              {0o600, 0, 0, false},
		"of root and its group":      {0o640, 0, 0, false},
		"of all":                     {0o604, 0, 0, true},
		"of the program's own user":  {0o400, nobody, 0, true},
		"of the program's own group": {0o040, 0, nobody, true},
		"of all but its own group":   {0o604, 0, nobody, false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.csv")
			ok(t, os.WriteFile(path, []byte("x"), 0o600))
			ok(t, os.Chown(path, c.uid, c.gid))
			ok(t, os.Chmod(path, c.mode))
			task := job(t, "report")
			task.Files = map[string][]string{"*.csv": {path}}
			if c.fine {
				if st := run(t, task); st.Phase != state.Succeeded {
					t.Errorf("status %+v, log: %s", st, read(t, filepath.Join(task.Dir, "log")))
				}
				return
			}
			_, err := newExecutor(t).Apply(t.Context(), task, nil)
			for _, part := range []string{path, fmt.Sprintf("%04o", c.mode), "65532"} {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("apply gave %v, want an error with %s", err, part)
				}
			}
		})
	}
}
