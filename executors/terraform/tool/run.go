package tool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	tfjson "github.com/hashicorp/terraform-json"

	"github.com/tenon-ml/tenon/internal/files"
)

// patience is how long an interrupted program may take to complete what it has begun: AWS takes minutes to
// create or delete some resources.
const patience = 30 * time.Minute

// A Dir is the folder of a configuration. It is kept from one run to the next, because it has the
// providers.
type Dir struct {
	*Tool
	Path    string   // absolute
	Environ []string // of the program, as of os.Environ
	Cache   string   // folder for the providers of all systems, or ""
	// Backend are the variables with which the program finds its state.
	Backend []string

	lock *os.File // see [Dir.Acquire]
}

const (
	locks    = ".terraform.lock.hcl"
	left     = "errored.tfstate"
	aside    = "overtaken.tfstate"
	began    = ".tenon.apply"
	planName = "tenon.plan"
	lockName = ".tenon.lock"
	inited   = ".terraform/tenon"
)

// backendFile makes the program use the backend that its variables name.
const backendFile = "terraform {\n  backend \"http\" {}\n}\n"

// configures matches the names of files that the program reads as its configuration.
var configures = regexp.MustCompile(`\.(tf|tofu|tfvars)(\.json)?$`)

// Acquire waits until no other program uses the folder: also not one whose tenon was killed, and which
// completes what it does. Call the returned function afterwards.
func (d *Dir) Acquire(ctx context.Context) (release func() error, err error) {
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return nil, err
	}
	if d.lock, err = files.Lock(ctx, filepath.Join(d.Path, lockName)); err != nil {
		return nil, err
	}
	return d.lock.Close, nil
}

// Write replaces the configuration in the folder with these files. Locks are the recorded versions
// and digests of providers, or "" if none are recorded yet.
func (d *Dir) Write(configuration map[string]string, recordedLocks string) error {
	entries, err := os.ReadDir(d.Path)
	if err != nil {
		return err
	}
	want := map[string]string{"backend.tf": backendFile}
	for name, content := range configuration {
		if strings.HasSuffix(name, ".tf") {
			want[name] = content
		}
	}
	if recordedLocks != "" {
		want[locks] = recordedLocks
	}
	for _, e := range entries {
		name := e.Name()
		if _, ok := want[name]; !ok && (configures.MatchString(name) || name == planName) {
			if err := os.Remove(filepath.Join(d.Path, name)); err != nil {
				return err
			}
		}
	}
	for name, content := range want {
		if old, err := os.ReadFile(filepath.Join(d.Path, name)); err == nil && string(old) == content {
			continue
		}
		if err := files.Write(filepath.Join(d.Path, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Init installs the providers of the configuration, unless they are installed.
func (d *Dir) Init(ctx context.Context) error {
	stamp, err := d.stamp()
	if err != nil {
		return err
	}
	if was, err := os.ReadFile(filepath.Join(d.Path, inited)); err == nil && string(was) == stamp {
		return nil
	}
	if err := d.run(ctx, func(message) {}, "init", "-json", "-reconfigure"); err != nil {
		return fmt.Errorf("install the providers: %w", err)
	}
	if stamp, err = d.stamp(); err != nil { // now with the locks
		return err
	}
	return files.Write(filepath.Join(d.Path, inited), []byte(stamp), 0o600)
}

// stamp is a digest of what decides about the providers.
func (d *Dir) stamp() (string, error) {
	sum := sha256.New()
	fmt.Fprint(sum, d.Tool, "\n", backendFile)
	for _, name := range []string{"versions.tf", locks} {
		b, err := os.ReadFile(filepath.Join(d.Path, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		fmt.Fprintln(sum, len(b), string(b))
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Locks returns the versions and digests of the providers that are installed.
func (d *Dir) Locks() (string, error) {
	b, err := os.ReadFile(filepath.Join(d.Path, locks))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

// A Scope says what a plan is for.
type Scope struct {
	Destroy bool     // remove everything
	Only    []string // addresses of the only resources to look at, besides those that they need; nil is all
}

// Plan compares the configuration with what exists. It returns nil if
// nothing changes, and otherwise the plan and the file to apply.
func (d *Dir) Plan(ctx context.Context, s Scope) (changes *tfjson.Plan, file []byte, err error) {
	args := []string{"plan", "-json", "-lock=false", "-detailed-exitcode", "-out=" + planName}
	if s.Destroy {
		args = append(args, "-destroy")
	}
	for _, address := range s.Only {
		args = append(args, "-target="+address)
	}
	defer os.Remove(filepath.Join(d.Path, planName))
	err = d.run(ctx, func(message) {}, args...)
	var exit *exitError
	if !errors.As(err, &exit) || exit.code != 2 {
		return nil, nil, err
	}
	b, err := d.output(ctx, "show", "-json", planName)
	if err != nil {
		return nil, nil, err
	}
	changes = new(tfjson.Plan)
	if err := json.Unmarshal(b, changes); err != nil {
		return nil, nil, fmt.Errorf("the plan of %s: %w", d.Tool, err)
	}
	file, err = os.ReadFile(filepath.Join(d.Path, planName))
	return changes, file, err
}

// A Step is what happened to a resource.
type Step struct {
	Address string
	Action  string // "create", "update", "delete"
	State   StepState
}

// A StepState says how far a step is.
type StepState string

const (
	Started StepState = "started"
	Done    StepState = "done"
	Errored StepState = "errored"
)

// Apply applies a plan that was saved, and reports each step. When ctx is canceled, it completes what it
// has begun.
func (d *Dir) Apply(ctx context.Context, plan []byte, report func(Step)) error {
	path := filepath.Join(d.Path, planName)
	if err := files.Write(path, plan, 0o600); err != nil {
		return err
	}
	defer os.Remove(path)
	states := map[string]StepState{"apply_start": Started, "apply_complete": Done, "apply_errored": Errored}
	return d.run(ctx, func(m message) {
		if s := states[m.Type]; s != "" && m.Hook.Action != "read" && m.Hook.Action != "noop" {
			report(Step{Address: m.Hook.Resource.Address, Action: m.Hook.Action, State: s})
		}
	}, "apply", "-json", planName)
}

// Left returns the state that a killed apply has left because it could not reach its backend, or nil.
func (d *Dir) Left() ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(d.Path, left))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Begin notes the name of an apply, whose state [Dir.Left] returns if it is killed.
func (d *Dir) Begin(apply string) error {
	return files.WriteSynced(filepath.Join(d.Path, began), []byte(apply), 0o600)
}

// Began returns the name of the apply that was the last to begin, or "".
func (d *Dir) Began() (string, error) {
	b, err := os.ReadFile(filepath.Join(d.Path, began))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

// SetAside moves the state that a killed apply has left to a file that the tool ignores, and returns its path.
func (d *Dir) SetAside() (string, error) {
	path := filepath.Join(d.Path, aside)
	return path, os.Rename(filepath.Join(d.Path, left), path)
}

// Forget removes the state that a killed apply has left, once it is recorded.
func (d *Dir) Forget() error {
	err := os.Remove(filepath.Join(d.Path, left))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// An exitError is the status with which the program ended.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("it ended with status %d", e.code) }

func (d *Dir) command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, d.Tool.Path, args...)
	cmd.Dir, cmd.Env = d.Path, slices.Concat(environment(d.Environ), d.Backend)
	if d.Cache != "" && !slices.ContainsFunc(d.Environ, func(kv string) bool { return strings.HasPrefix(kv, "TF_PLUGIN_CACHE_DIR=") }) {
		if err := os.MkdirAll(d.Cache, 0o755); err == nil { // without it, providers are installed for each system
			cmd.Env = append(cmd.Env, "TF_PLUGIN_CACHE_DIR="+d.Cache)
		}
	}
	if d.lock != nil {
		cmd.ExtraFiles = []*os.File{d.lock} // the lock lasts until the program ends as well
	}
	// In a group of its own, an interrupt of the terminal reaches it once, through this program.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = patience
	return cmd
}

// run runs the program, which prints messages.
func (d *Dir) run(ctx context.Context, f func(message), args ...string) error {
	cmd := d.command(ctx, args)
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = in, in
	// With both ends, the program is not killed by what it prints once this one was killed. What it prints until
	// it has completed what it does fits into the pipe.
	cmd.ExtraFiles = append(cmd.ExtraFiles, out)
	var faults error
	var other []byte
	err = d.wait(cmd, func() {
		_ = in.Close()
		other, faults = read(out, f)
	})
	_ = in.Close() // if it did not start
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return errors.Join(context.Cause(ctx), faults)
	case err != nil && faults != nil:
		return faults
	case errors.As(err, &exit) && exit.ExitCode() == 2:
		return &exitError{2}
	case err != nil:
		return fmt.Errorf("%s %s: %w: %s", d.Tool, args[0], err, bytes.TrimSpace(other))
	}
	return nil
}

// output runs the program and returns the document that it prints.
func (d *Dir) output(ctx context.Context, args ...string) ([]byte, error) {
	cmd := d.command(ctx, args)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var b []byte
	var unread error
	if err := d.wait(cmd, func() { b, unread = io.ReadAll(out) }); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", d.Tool, args[0], err, strings.TrimSpace(said.String()))
	}
	if i := bytes.IndexByte(b, '{'); i > 0 { // after warnings about the configuration of the program
		b = b[i:]
	}
	return b, unread
}

// wait starts a program, reads from it, and waits for its end.
func (d *Dir) wait(cmd *exec.Cmd, read func()) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	end, err := guard(cmd.Process.Pid)
	if err != nil {
		return errors.Join(err, cmd.Process.Signal(syscall.SIGINT), cmd.Wait())
	}
	read()
	return errors.Join(cmd.Wait(), end())
}

// guard makes a process be interrupted once if this one is killed before it calls end. PR_SET_PDEATHSIG would not do: it
// sends the signal for each thread of this one, and the second one makes the program give up.
func guard(pid int) (end func() error, err error) {
	watch := exec.Command("sh", "-c", `read -r end || kill -INT "$1"`, "guard", strconv.Itoa(pid))
	watch.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := watch.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := watch.Start(); err != nil {
		return nil, err
	}
	return func() error {
		_, err := io.WriteString(in, "end\n")
		return errors.Join(err, watch.Wait())
	}, nil
}
