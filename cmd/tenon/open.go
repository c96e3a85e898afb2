package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/cache"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/lockfile"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/gpu"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/executors/process"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/internal/version"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
)

// compile reads and compiles the system in dir, or takes what is kept of it
// beside its state. Locks that were not there yet are written beside it.
func (a *app) compile(ctx context.Context, dir string) (*compiler.Result, error) {
	// Below a size that every machine has, collecting garbage takes longer than
	// leaving it. This is never touched, so it takes no memory.
	headroom := make([]byte, 256<<20)
	defer runtime.KeepAlive(headroom)
	c := a.compilation(dir)
	kept, err := a.kept(dir, slices.Sorted(maps.Keys(c.executors)))
	if err != nil {
		return nil, err
	}
	if kept != nil {
		if r := kept.Get(); r != nil {
			return r, nil
		}
		c.record = fingerprint.New()
	}
	r, err := a.compileAnew(ctx, c)
	if err != nil {
		return nil, err
	}
	if wrote, err := c.locks.Write(); err != nil {
		return nil, err
	} else if wrote {
		c.record.Cannot(c.locks.Path + " was written")
		fmt.Fprintf(a.stderr, "wrote %s; commit it with the system\n", lockfile.Name)
	}
	if kept != nil {
		kept.Put(c.record.Reads(), r)
	}
	return r, nil
}

// A compilation is what is compiled, and how.
type compilation struct {
	dir       string
	tags      []string
	executors map[string]func(ir.Target, ir.Unit) []compiler.Fault
	resolve   lockfile.Resolver
	duck      *worker.Client
	record    *fingerprint.Record // or nil

	source func(file string) []byte // what was read, to be shown with faults
	locks  *lockfile.File           // still to be written
}

// compilation is that of the system in dir with the tags of the command line.
func (a *app) compilation(dir string) *compilation {
	return &compilation{
		dir: dir, tags: a.tags, executors: a.honoured(), duck: a.duck,
		resolve: func(ctx context.Context, requirements []string) ([]byte, error) {
			fmt.Fprintln(a.stderr, "locking Python packages ...")
			return a.environments().Lock(ctx, requirements)
		},
	}
}

// compileAnew compiles, and keeps the sources for the faults that are printed.
func (a *app) compileAnew(ctx context.Context, c *compilation) (*compiler.Result, error) {
	r, err := c.run(ctx)
	a.source = c.source
	return r, err
}

// run compiles and writes nothing.
func (c *compilation) run(ctx context.Context) (*compiler.Result, error) {
	c.source = func(file string) []byte { b, _ := os.ReadFile(filepath.Join(c.dir, file)); return b }
	c.duck.Start() // while CUE is evaluated
	sys, err := lang.Load(c.dir, lang.Options{Tags: c.tags, Env: os.Environ(), Record: c.record})
	if err != nil {
		return nil, err
	}
	c.source = sys.Source
	if c.locks, err = lockfile.Open(sys.Dir, c.resolve); err != nil {
		return nil, err
	}
	if c.locks.Content == nil {
		c.record.Absent(c.locks.Path)
	} else {
		c.record.File(c.locks.Path, c.locks.Content)
	}
	return compiler.Compile(ctx, sys, compiler.Options{Lock: c.locks.Lock, Describe: c.duck.Describe, Executors: c.executors, Record: c.record})
}

// kept is where the compiled system is kept: beside its state, if it has one,
// apart for every program, folder and tags, and for what the environment tells
// CUE.
func (a *app) kept(dir string, executors []string) (*cache.Entry, error) {
	stateDir, err := a.stateDir(dir)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the system: %w", err)
	}
	self, err := os.Executable()
	if err != nil || !exists(stateDir) {
		return nil, nil
	}
	var env []string
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "CUE_") {
			if strings.Contains(v, "=file:") {
				return nil, nil // what is in that file is not looked at
			}
			env = append(env, v)
		}
	}
	slices.Sort(env)
	key := struct {
		Programs       [2]fingerprint.Looks // tenon and tenon-duck
		Dir            string
		Tags           []string
		Env, Executors []string
	}{[2]fingerprint.Looks{fingerprint.LooksOf(self), fingerprint.LooksOf(duckProgram())}, abs, a.tags, env, executors}
	return cache.Open(filepath.Join(stateDir, "cache", "compiled"), key, func(err error) { fmt.Fprintf(a.stderr, "tenon: %v\n", err) })
}

// duckProgram is the path of tenon-duck.
func duckProgram() string {
	if program := os.Getenv("TENON_DUCK"); program != "" {
		return program
	}
	self, err := os.Executable()
	if err != nil {
		return worker.Name // in $PATH
	}
	return filepath.Join(filepath.Dir(self), worker.Name)
}

func newDuck() *worker.Client { return worker.New(duckProgram(), version.Version) }

func (a *app) environments() *pyenv.Env {
	return pyenv.New(pyenv.Options{Dir: filepath.Join(cacheDir(), "python"), UV: findUV(), Log: &notice{w: a.stderr}})
}

// findUV is $TENON_UV, or the uv in the path, or the one that make installed
// beside the binary.
func findUV() string {
	if uv := os.Getenv("TENON_UV"); uv != "" {
		return uv
	}
	if _, err := exec.LookPath("uv"); err == nil {
		return "uv"
	}
	if self, err := os.Executable(); err == nil {
		if uv := filepath.Join(filepath.Dir(self), "..", ".tools", "bin", "uv"); exists(uv) {
			return uv
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A notice says once that something slow is going on; what uv prints while it
// goes on is left out, and comes with the error if it fails.
type notice struct {
	w    io.Writer
	once sync.Once
}

func (n *notice) Write(b []byte) (int, error) {
	n.once.Do(func() {
		fmt.Fprintln(n.w, "  preparing a Python environment; it is kept for the next time")
	})
	return len(b), nil
}

// cacheDir holds what all systems of a user share and can be made again.
func cacheDir() string {
	if dir := os.Getenv("TENON_CACHE"); dir != "" {
		return dir
	}
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	return filepath.Join(base, "tenon")
}

// A workspace is an opened state with the artifacts beside it.
type workspace struct {
	dir       string
	store     *state.Store
	artifacts *artifact.Store
	shared    *shared // or nil
}

// open opens the state of the system in dir, making it if it is not there.
func (a *app) open(ctx context.Context, dir string) (*workspace, error) {
	stateDir, err := a.stateDir(dir)
	if err != nil {
		return nil, err
	}
	store, err := a.openState(ctx, stateDir)
	if err != nil {
		return nil, err
	}
	w := &workspace{dir: stateDir, store: store}
	folder := filepath.Join(stateDir, "artifacts")
	if url := cmp.Or(a.store, os.Getenv("TENON_ARTIFACTS")); url == "" {
		w.artifacts, err = artifact.Open(folder)
	} else if err = remote.Check(url); err == nil {
		w.shared = &shared{url: url}
		w.artifacts, err = artifact.OpenShared(folder, w.shared)
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	store.OnWrite = a.faults.onWrite
	return w, nil
}

// shared is a store of artifacts that is opened when it is first used: many
// commands read the state alone.
type shared struct {
	url  string
	mu   sync.Mutex
	open *remote.Store
}

func (s *shared) store(ctx context.Context) (*remote.Store, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != nil {
		return s.open, nil
	}
	var err error
	s.open, err = remote.Open(ctx, s.url)
	return s.open, err
}

func (s *shared) Put(ctx context.Context, path string) (artifact.Ref, error) {
	r, err := s.store(ctx)
	if err != nil {
		return artifact.Ref{}, err
	}
	return r.Put(ctx, path)
}

func (s *shared) Fetch(ctx context.Context, digest, to string) error {
	r, err := s.store(ctx)
	if err != nil {
		return err
	}
	return r.Fetch(ctx, digest, to)
}

func (s *shared) All(ctx context.Context) ([]string, error) {
	r, err := s.store(ctx)
	if err != nil {
		return nil, err
	}
	return r.All(ctx)
}

func (s *shared) PutNote(ctx context.Context, name string, b []byte) error {
	r, err := s.store(ctx)
	if err != nil {
		return err
	}
	return r.PutNote(ctx, name, b)
}

func (s *shared) Note(ctx context.Context, name string) ([]byte, error) {
	r, err := s.store(ctx)
	if err != nil {
		return nil, err
	}
	return r.Note(ctx, name)
}

func (s *shared) close() error {
	if s == nil || s.open == nil {
		return nil
	}
	return s.open.Close()
}

// openState opens the state whose folder is stateDir.
func (a *app) openState(ctx context.Context, stateDir string) (*state.Store, error) {
	store, err := state.Open(ctx, a.recordAt(stateDir))
	if err == nil {
		if err = store.Bind(ctx, stateDir); err != nil {
			err = errors.Join(err, store.Close())
		}
	}
	if refused := (*state.AccessError)(nil); errors.As(err, &refused) && !state.IsURL(a.stateAt()) {
		return nil, fmt.Errorf("%w; --state FOLDER keeps it elsewhere", err)
	}
	if elsewhere := (*state.ElsewhereError)(nil); errors.As(err, &elsewhere) {
		return nil, fmt.Errorf("%w: name that one with --state, or apply the system in a folder of its own", err)
	}
	if lost := (*state.LostError)(nil); errors.As(err, &lost) {
		return nil, fmt.Errorf("%w%s", err, stillRunning(stateDir))
	}
	return store, err
}

// stillRunning names what runs that no state tells of any more.
func stillRunning(stateDir string) string {
	running := process.Running(filepath.Join(stateDir, "runs"))
	if len(running) == 0 {
		return ""
	}
	var units, groups []string
	for _, pid := range slices.Sorted(maps.Keys(running)) {
		units = append(units, running[pid])
		groups = append(groups, fmt.Sprint(-pid))
	}
	return fmt.Sprintf("\n  still running: %s; kill -- %s ends them", strings.Join(units, ", "), strings.Join(groups, " "))
}

// openApplied opens a state that has to be there.
func (a *app) openApplied(ctx context.Context, dir string) (*workspace, error) {
	stateDir, err := a.stateDir(dir)
	if err != nil {
		return nil, err
	}
	where := a.recordAt(stateDir)
	if there, err := state.Exists(ctx, where); err != nil {
		return nil, err
	} else if !there {
		return nil, fmt.Errorf("nothing was applied here yet: there is no state in %s; run tenon apply", state.Shown(where))
	}
	return a.open(ctx, dir)
}

// hasState reports whether there is something to open for the system in dir.
func (a *app) hasState(ctx context.Context, dir string) (bool, error) {
	stateDir, err := a.stateDir(dir)
	if err != nil {
		return false, err
	}
	return state.Exists(ctx, a.recordAt(stateDir))
}

func (w *workspace) close() error { return errors.Join(w.store.Close(), w.shared.close()) }

// setting is what executors of a system work within.
func (w *workspace) setting(ctx context.Context, system string) (setting, error) {
	meta, err := w.store.Meta(ctx)
	return setting{system: system, dir: w.dir, state: meta.Lineage}, err
}

// digests digest data files, and say so if what they kept could not be used.
func (a *app) digests(w *workspace) *planner.FileDigests {
	d := planner.NewFileDigests(w.dir)
	d.OnDrop = func(err error) { fmt.Fprintf(a.stderr, "tenon: %v\n", err) }
	return d
}

// withApplied calls f with a state that has to be there.
func (a *app) withApplied(ctx context.Context, dir string, f func(w *workspace) error) error {
	w, err := a.openApplied(ctx, dir)
	if err != nil {
		return err
	}
	return errors.Join(f(w), w.close())
}

// A planning is how a plan is made.
type planning struct {
	rerun []string
	pull  bool
}

func (o *planning) flags(c *cobra.Command) {
	c.Flags().StringArrayVar(&o.rerun, "rerun", nil, "run this `UNIT` or entity even if nothing changed (repeatable)")
	c.Flags().BoolVar(&o.pull, "pull", false, "ask registries again which images names stand for")
}

// plan makes the plan for a compiled system.
func (a *app) plan(ctx context.Context, dir string, w *workspace, r *compiler.Result, o planning) (*planner.Plan, error) {
	in, err := a.inputs(ctx, dir, w, r.System)
	if err != nil {
		return nil, err
	}
	meta, err := w.store.Meta(ctx)
	if err != nil {
		return nil, err
	}
	current, err := w.store.Current(ctx)
	if err != nil {
		return nil, err
	}
	if len(current) > 0 && meta.System != r.System.Name {
		return nil, fmt.Errorf("the state in %s is of the system %q, and this one is %q: give it a state of its own with --state, or destroy the other first", w.store.Where(), meta.System, r.System.Name)
	}
	in.Blobs, in.Options.Rerun = r.Blobs, unitNames(o.rerun)
	if in.Images, err = a.pin(ctx, r.System, o.pull); err != nil {
		return nil, err
	}
	return planner.Make(ctx, r.System, in)
}

// inputs are what a plan for a system in dir is made from.
func (a *app) inputs(ctx context.Context, dir string, w *workspace, sys *ir.System) (planner.Inputs, error) {
	s, err := w.setting(ctx, sys.Name)
	if err != nil {
		return planner.Inputs{}, err
	}
	x, err := a.route(sys.Target, s, nil)
	if err != nil {
		return planner.Inputs{}, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return planner.Inputs{}, fmt.Errorf("find the system: %w", err)
	}
	if err := w.artifacts.Look(ctx); err != nil {
		return planner.Inputs{}, err
	}
	if err := a.bring(ctx, w); err != nil {
		return planner.Inputs{}, err
	}
	return planner.Inputs{
		Dir: abs, State: w.store, Artifacts: w.artifacts, Digests: a.digests(w), Inspector: x, Written: executors.Written(w.dir),
	}, nil
}

// bring makes this machine's files of records those that stand, unless somebody is
// changing them.
func (a *app) bring(ctx context.Context, w *workspace) error {
	if !w.store.Shared() {
		return nil
	}
	held, err := w.store.Holder(ctx)
	if err != nil {
		return err
	}
	if host, _ := os.Hostname(); held != nil && (held.Holder.PID != os.Getpid() || held.Holder.Host != host) {
		return nil
	}
	return executors.Bring(ctx, w.store, w.dir)
}

// unitNames lets a dot stand for the first slash, as in the language.
func unitNames(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = unitName(n)
	}
	return out
}

func unitName(n string) string {
	if strings.Contains(n, "/") {
		return n
	}
	return strings.Replace(n, ".", "/", 1)
}

// options are what an apply works with.
func (a *app) options(w *workspace, lease *state.Lease, target ir.Target, in setting, events func(executors.Event)) (executors.Options, error) {
	x, err := a.route(target, in, a.faults.executor)
	if err != nil {
		return executors.Options{}, err
	}
	o := executors.Options{
		Store: w.store, Lease: lease, Artifacts: w.artifacts, Executor: x, Dir: w.dir,
		Verify: a.verify, Secrets: resolveSecret, Events: events, Machine: machine(),
		Tags: a.tags, Backoff: a.faults.backoff, Devices: lentGPUs,
	}
	if target.Executor == "kubernetes" { // which knows best what it has
		o.Unbounded, o.Devices, o.Ready = true, nil, kubernetes.Patience
	}
	return o, nil
}

// gpuOptions say where to look for GPUs: $TENON_CDI lists folders with CDI
// specifications that are looked at instead of the usual ones.
func gpuOptions() gpu.Options {
	return gpu.Options{CDIDirs: filepath.SplitList(os.Getenv("TENON_CDI"))}
}

// lentGPUs are the GPUs of this machine, by the pool that lends them.
func lentGPUs(ctx context.Context, pools []ir.Pool) (map[string][]executors.GPU, error) {
	found, err := gpu.Discover(ctx, gpuOptions())
	if err != nil {
		return nil, err
	}
	return gpu.Match(pools, found)
}

func (a *app) verify(ctx context.Context, path string, schema ir.Schema) ([]executors.Violation, int64, error) {
	found, rows, err := a.duck.Verify(ctx, path, schema)
	out := make([]executors.Violation, len(found))
	for i, v := range found {
		out[i] = executors.Violation{Column: v.Column, Rule: v.Rule, Count: v.Count, Examples: v.Examples, Message: v.String()}
	}
	return out, rows, err
}

// resolveSecret reads a secret where it is kept.
func resolveSecret(s ir.Secret) (string, error) {
	if s.Env != "" {
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", fmt.Errorf("it is taken from $%s, which is not set where tenon runs", s.Env)
		}
		return v, nil
	}
	b, err := os.ReadFile(s.File)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// machine is what units without a pool share.
func machine() ir.Resources {
	r := ir.Resources{MilliCPU: int64(runtime.NumCPU()) * 1000}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib int64
		if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kib); err == nil {
			r.Memory = kib << 10
		}
	}
	return r
}

// lock takes the lock of the state.
func (a *app) lock(ctx context.Context, w *workspace, command string, wait time.Duration) (*state.Lease, error) {
	h := state.Holder{Command: command}
	if u, err := user.Current(); err == nil {
		h.User = u.Username
	}
	lease, err := w.store.Lock(ctx, h, state.LockOptions{Wait: wait, TTL: a.faults.lease})
	if held := (*state.HeldError)(nil); errors.As(err, &held) {
		return nil, fmt.Errorf("%w; --lock-timeout 10m waits for it", err)
	}
	return lease, err
}
