package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/internal/files"
)

// An Autostop says when the host stops itself. The latest one that a sender sets counts, for all that
// share the folder.
type Autostop struct {
	After   time.Duration `json:"after"`             // without anything to do; 0 is never
	Command []string      `json:"command,omitempty"` // that stops the host; none is that of the system
	Results time.Duration `json:"results,omitempty"` // from the end of a job until its result was fetched, at most
	// Look asks for an answer only: what the host was told before counts on.
	Look bool `json:"look,omitempty"`
}

func (p Autostop) equal(o Autostop) bool {
	return p.After == o.After && p.Results == o.Results && slices.Equal(p.Command, o.Command)
}

// A Stopper answers an Autostop.
type Stopper struct {
	Fault  string `json:"fault,omitempty"`  // why the host cannot stop itself
	Failed string `json:"failed,omitempty"` // why the last try to stop it failed
}

// The files of autostop, in a folder of their own.
//
//	policy.json    the Autostop; without it, nothing is stopped
//	watcher        locked by the process that watches, see [Watch]
//	active         changed by each request that needs the host, which shares its lock until it is answered
//	stopping.json  that the host is going down, see [going]
//	failed         why the host was not stopped, the last time
func (s *server) autostop(name string) string { return filepath.Join(s.dir, "autostop", name) }

func (s *server) policy() (p Autostop, err error) {
	return p, local.ReadJSON(s.autostop("policy.json"), &p)
}

// setAutostop sets when this host stops itself, unless it is only asked, and makes sure that a process watches.
func (s *server) setAutostop(ctx context.Context, in Autostop) (Stopper, error) {
	if in.Look {
		return s.lookAtAutostop(ctx, in)
	}
	if in.After <= 0 {
		if err := os.Remove(s.autostop("policy.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Stopper{}, err
		}
		return Stopper{}, nil
	}
	if was, err := s.policy(); err != nil || !was.equal(in) {
		if err := os.MkdirAll(s.autostop(""), 0o700); err != nil {
			return Stopper{}, err
		}
		if err := local.SaveJSON(s.autostop("policy.json"), in); err != nil {
			return Stopper{}, err
		}
	}
	return s.lookAtAutostop(ctx, in)
}

// lookAtAutostop says whether this host could stop itself as it is asked to, and how that went the last time. A policy
// that was set before is watched, as after a start of the host.
func (s *server) lookAtAutostop(ctx context.Context, in Autostop) (out Stopper, err error) {
	if in.After > 0 {
		_, out.Fault = s.stopCommand(ctx, in)
	}
	p, err := s.policy()
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if _, fault := s.stopCommand(ctx, p); err != nil || fault != "" {
		return out, err
	}
	failed, err := os.ReadFile(s.autostop("failed"))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	out.Failed = string(failed)
	return out, errors.Join(err, s.watch())
}

// watch starts a process that watches, unless there is one.
func (s *server) watch() error {
	free, err := files.TryLock(s.autostop("watcher"))
	if err != nil || free == nil {
		return err
	}
	free.Close() // if two start one, the second of these ends
	own, err := os.Executable()
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	cmd := exec.Command(own, "autostop", "-dir", s.dir, "-runner", s.runner, "-containerd", s.containerd)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.Env = null, null, null, "/", s.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives the connection
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() //nolint:errcheck // it says in its files what happens
	return nil
}

// variable returns a variable of the session in which this process was started.
func (s *server) variable(name string) (value string) {
	for _, kv := range s.env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}

// lookPath returns the path of a program of this host, or "". It looks in more folders than $PATH, which
// lacks those of the system for most users.
func (s *server) lookPath(name string) string {
	paths := []string{name}
	if !strings.Contains(name, "/") {
		paths = nil
		for _, dir := range filepath.SplitList(s.variable("PATH") + ":/usr/sbin:/sbin:/usr/bin:/bin") {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && unix.Access(path, unix.X_OK) == nil {
			return path
		}
	}
	return ""
}

// stopCommand returns the command that stops this host, or why the user cannot run it.
func (s *server) stopCommand(ctx context.Context, p Autostop) (argv []string, fault string) {
	argv = slices.Clone(p.Command)
	if len(argv) == 0 {
		argv = []string{"shutdown", "-h", "now"}
		if _, err := os.Stat("/run/systemd/system"); err == nil {
			argv = []string{"systemctl", "poweroff"}
		}
		if os.Geteuid() != 0 {
			argv = append([]string{"sudo", "-n"}, argv...)
		}
	}
	path := s.lookPath(argv[0])
	if path == "" {
		return nil, fmt.Sprintf("it cannot stop itself, because it has no program %q: install it there, or name another command in autostop", argv[0])
	}
	asRoot := argv[1:]
	argv[0] = path
	if filepath.Base(path) != "sudo" {
		return argv, ""
	}
	for len(asRoot) > 0 && strings.HasPrefix(asRoot[0], "-") {
		asRoot = asRoot[1:]
	}
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	ask := exec.CommandContext(ctx, path, append([]string{"-n", "-l"}, asRoot...)...)
	ask.Env = s.env
	if err := ask.Run(); err != nil {
		what := strings.Join(asRoot, " ")
		full := what
		if len(asRoot) > 0 && s.lookPath(asRoot[0]) != "" {
			full = strings.Join(append([]string{s.lookPath(asRoot[0])}, asRoot[1:]...), " ")
		}
		return nil, fmt.Sprintf("it cannot stop itself, because the user may not run `%s` as root without a password: put `%s ALL=(root) NOPASSWD: %s` into a file of /etc/sudoers.d there, or name another command in autostop", what, cmp.Or(s.variable("USER"), "USER"), full)
	}
	return argv, ""
}

// askPatience bounds how long sudo may take to say what it allows, which it may look up in a directory
// service.
const askPatience = 5 * time.Second

// cannotStop says why this host cannot stop itself although it has to, or returns "".
func (s *server) cannotStop(ctx context.Context) string {
	p, err := s.policy()
	if err != nil {
		return "" // it does not have to
	}
	_, fault := s.stopCommand(ctx, p)
	return fault
}

// needing marks that the host is needed while a request is answered.
func (s *server) needing(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if f, err := os.OpenFile(s.autostop("active"), os.O_RDWR|os.O_CREATE, 0o600); err == nil { // otherwise there is no autostop
			defer f.Close()
			_ = unix.Flock(int(f.Fd()), unix.LOCK_SH) // the watcher has it for an instant
			_, _ = f.WriteAt([]byte(newUID()), 0)     // a full disk keeps the lock
		}
		next(w, r)
	}
}

// going says that the host is going down.
type going struct {
	Init local.Ident   `json:"init"` // of the first process, which is another one after a restart
	At   time.Duration `json:"at"`   // since the boot, so that no clock has to be right
	Ran  bool          `json:"ran"`  // the command that stops the host has succeeded
	For  time.Duration `json:"for"`  // how long nothing was to be done
}

// stopPatience is how long a host may take to go down. Afterwards, its command has failed.
const stopPatience = 10 * time.Minute

// sinceBoot is a monotonic clock that also counts while the host sleeps.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // every Linux has it
	return time.Duration(ts.Nano())
}

// stopping says that the host is going down, or returns "". locked is whether the caller has the lock
// of the folder, which the watcher has while the command runs.
func (s *server) stopping(locked bool) string {
	var g going
	if local.ReadJSON(s.autostop("stopping.json"), &g) != nil {
		return ""
	}
	init, err := local.Identify(1)
	switch {
	case err != nil, g.Init != init, g.Ran && sinceBoot()-g.At > stopPatience, !g.Ran && locked:
		return ""
	}
	return fmt.Sprintf("it is being stopped, after %s without anything to do", duration.Text(g.For))
}

// lockToStart waits for the lock of the folder, unless the host is going down.
func (s *server) lockToStart(ctx context.Context) (locked *os.File, stopping string, err error) {
	for {
		if locked, err = files.TryLock(filepath.Join(s.dir, "lock")); err != nil {
			return nil, "", err
		}
		if stopping = s.stopping(locked != nil); stopping != "" {
			if locked != nil {
				locked.Close()
			}
			return nil, stopping, nil
		}
		if locked != nil {
			// A watcher that was killed may have left it; while this lock is held, other starts would believe it.
			if err := os.Remove(s.autostop("stopping.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
				locked.Close()
				return nil, "", err
			}
			return locked, "", nil
		}
		select {
		case <-ctx.Done():
			return nil, "", context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Watch stops this host once it has had nothing to do for as long as its policy says. It returns when
// there is no policy, and at once if another process watches.
func Watch(ctx context.Context, o Options) error {
	s, err := open(o)
	if err != nil {
		return err
	}
	defer s.containers.Close() //nolint:errcheck // the process ends
	only, err := files.TryLock(s.autostop("watcher"))
	if err != nil || only == nil {
		return err
	}
	defer only.Close()
	idle, seen := time.Now(), s.activity() // time.Since is monotonic, so that no clock has to be right
	for {
		p, err := s.policy()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(max(p.After/20, 20*time.Millisecond), watchEvery)):
		}
		if now := s.activity(); now != seen || s.busy(ctx, p) {
			idle, seen = time.Now(), now
			continue
		}
		if time.Since(idle) < p.After {
			continue
		}
		if err := s.stop(ctx, p, seen); err != nil {
			_ = files.Write(s.autostop("failed"), []byte(err.Error()), 0o600) // the next connection reads it
		}
		idle = time.Now()
	}
}

// watchEvery is how often to look, at most, whether the host is needed.
const watchEvery = 15 * time.Second

// activity changes with each request that needs the host.
func (s *server) activity() string {
	b, _ := os.ReadFile(s.autostop("active")) // there may have been none
	return string(b)
}

// busy reports whether the host is needed: something runs, a request is answered, somebody is logged in, or the result of a
// job waits to be fetched.
func (s *server) busy(ctx context.Context, p Autostop) bool {
	runs := false
	s.each(ctx, func(record) { runs = true })
	if runs || othersNeed() || s.holdsResult(ctx, p.Results) {
		return true
	}
	answering, err := files.TryLock(s.autostop("active"))
	if err != nil || answering == nil {
		return true
	}
	answering.Close()
	return false
}

// holdsResult reports whether a job has ended within a time whose folder is still here: whoever fetches its result removes
// that. A clock that is set wrongly shortens the time. The result stays on the disk.
func (s *server) holdsResult(ctx context.Context, within time.Duration) bool {
	if within <= 0 {
		return false
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, "runs"))
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		rec, h, err := s.of(ctx, Named{Run: e.Name()})
		if err != nil || h == nil || rec.Kind != ir.Job {
			return false
		}
		st, err := s.runnerOf(rec).Inspect(ctx, *h)
		since := time.Since(st.Finished)
		return err == nil && !st.Finished.IsZero() && since >= 0 && since < within
	})
}

// othersNeed reports whether a process of this machine runs a program for any Tenon, of any user, or
// serves somebody at a terminal over ssh.
func othersNeed() bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return true
	}
	for _, e := range entries {
		if e.Name()[0] < '0' || e.Name()[0] > '9' {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // it has ended
		}
		name, _, _ := strings.Cut(string(b), "\x00")
		if keepsUp(name) {
			return true
		}
	}
	return false
}

// keepsUp reports whether a host is needed as long as a process with this name runs: tenon-run, which is
// /tenon/run in a container, or the sshd of a terminal.
func keepsUp(name string) bool {
	terminal := strings.HasPrefix(name, "sshd") && strings.Contains(name, "@pts/")
	return terminal || filepath.Base(name) == "tenon-run" || name == "/tenon/run"
}

// stop stops the host, unless it is needed now or since it was last looked at. It holds the lock of the
// folder, so that no task is started meanwhile, until the host is down. It returns why it is not.
func (s *server) stop(ctx context.Context, p Autostop, seen string) error {
	locked, err := files.TryLock(filepath.Join(s.dir, "lock"))
	if err != nil || locked == nil {
		return err
	}
	defer locked.Close()
	now, err := s.policy()
	if err != nil || !now.equal(p) || s.busy(ctx, p) || s.activity() != seen {
		return nil
	}
	argv, fault := s.stopCommand(ctx, p)
	if fault != "" {
		return errors.New(fault)
	}
	g := going{At: sinceBoot(), For: p.After}
	if g.Init, err = local.Identify(1); err != nil {
		return err
	}
	if err := local.SaveJSON(s.autostop("stopping.json"), g); err != nil {
		return err
	}
	// A host that goes down asks this process to end, which must not look like a command that has failed.
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(within, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir, cmd.WaitDelay = s.env, "/", time.Second
	said, err := cmd.CombinedOutput()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) || ctx.Err() != nil { // it may leave a process that has its output
		g.Ran = true
		err = local.SaveJSON(s.autostop("stopping.json"), g)
	}
	if err == nil {
		_ = os.Remove(s.autostop("failed")) // the next failure replaces it
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(stopPatience):
			err = fmt.Errorf("it has ended, but the host still runs %s later", duration.Text(stopPatience))
		}
	}
	if failed := os.Remove(s.autostop("stopping.json")); failed != nil {
		err = errors.Join(err, failed)
	}
	if len(said) > 0 {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(said[:min(len(said), 500)])))
	}
	return fmt.Errorf("`%s`: %w", strings.Join(argv, " "), err)
}
