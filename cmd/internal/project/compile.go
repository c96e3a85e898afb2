package project

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/cache"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/lockfile"
	"github.com/tenon-ml/tenon/compiler/prices"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/internal/budget"
	"github.com/tenon-ml/tenon/internal/collector"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
)

// Compile checks and lowers the system, or returns the result that is cached beside its
// state. It writes tenon.lock if the system's Python packages or modules are not locked
// yet. If the user has to fix something, it returns a [SourceError].
func (p *Project) Compile(ctx context.Context) (*compiler.Result, error) {
	return p.compileFor(ctx, "", all.Check)
}

// compileFor compiles the system with what targets have to honour for a purpose. Results for
// different purposes are cached apart.
func (p *Project) compileFor(ctx context.Context, purpose string, check func(ir.Target, ir.Unit) []ir.Fault) (*compiler.Result, error) {
	entry, err := p.cached(purpose)
	if err != nil {
		return nil, err
	}
	c := p.compilation(p.set.Tags, p.resolve)
	c.executors = checks(check)
	c.heads = c.sql.Heads
	if entry != nil {
		if r := entry.Get(); r != nil {
			return r, nil
		}
		c.tracker = fingerprint.New()
		c.divide, c.before, c.typings = true, entry.GetEntities(), entry.GetTypings()
	}
	// Below a heap size that every machine can afford, garbage collection costs more time
	// than it is worth. This block is never touched, so it takes no memory.
	headroom := make([]byte, 256<<20)
	defer runtime.KeepAlive(headroom)
	defer collector.Percent(compileGarbage)()
	r, err := c.run(ctx)
	if err == nil && p.indexClasses(ctx, c) {
		if c.entities != nil {
			c.before = c.entities
		}
		r, err = c.run(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.writeLocks(c))
	}
	c.locks.Prune(c.sys.Requires)
	if err := p.writeLocks(c); err != nil {
		return nil, err
	}
	if entry != nil {
		entry.Put(c.tracker.Reads(), r)
		if c.entities != nil {
			entry.PutEntities(c.entities)
		}
		entry.PutTypings(c.typings)
	}
	return r, nil
}

// compileGarbage is how much garbage a compilation may leave, in percent of what it needs.
// What CUE has evaluated and what is made of it are needed at once. At the usual 100 %, an entity
// of a large system takes 1.26 times the memory that it takes cue, now 1.16 times, and the
// compilation a tenth less CPU time.
const compileGarbage = 60

// writeLocks writes what a compilation has locked. One that failed keeps it as well: to
// lock again takes long, and may give other versions.
func (p *Project) writeLocks(c *compilation) error {
	if c.locks == nil {
		return nil
	}
	wrote, err := c.locks.Write()
	if wrote {
		c.tracker.Cannot(c.locks.Path + " was written")
		p.set.notify(Notice{Text: fmt.Sprintf("wrote %s; commit it with the system", lockfile.Name)})
	}
	return err
}

// CompileEdited compiles the system in dir with other tags, for a test of the user, and
// writes nothing. An edited system may request packages that are not locked. They are not
// resolved, so that the result of a test does not depend on the package index.
func (p *Project) CompileEdited(ctx context.Context, dir string, tags []string, edited bool) (*compiler.Result, error) {
	return p.in(dir).compilation(tags, func(_ context.Context, requirements []string) ([]byte, error) {
		if !edited {
			return nil, fmt.Errorf("they are not in %s: run tenon compile to write it", lockfile.Name)
		}
		return []byte(strings.Join(requirements, "\n") + "\n"), nil
	}).run(ctx)
}

// A compilation is what to compile, and how.
type compilation struct {
	dir       string
	tags      []string
	env       string // the environment of the system
	environ   []string
	resolve   lockfile.Resolver
	tracker   *fingerprint.Tracker // or nil
	executors map[string]func(ir.Target, ir.Unit) []ir.Fault
	sql       *worker.Client
	// heads compares data files with their sources, or is nil.
	heads func(context.Context, []duck.Head) ([]duck.HeadResult, error)

	divide  bool            // keep entities for the next compilation
	before  *cache.Entities // of the last one, or nil
	typings *cache.Typings  // of the last one, or nil

	sys      *lang.System    // set once loaded
	locks    *lockfile.File  // not written yet
	entities *cache.Entities // set once compiled, or nil
	states   states
}

func (p *Project) compilation(tags []string, resolve lockfile.Resolver) *compilation {
	return &compilation{dir: p.set.Dir, tags: tags, env: p.set.Env, environ: p.set.Environ, resolve: resolve, executors: checks(all.Check), sql: p.set.SQL, states: states{lookup: p.set.lookup}}
}

// resolve locks Python packages.
func (p *Project) resolve(ctx context.Context, requirements []string) ([]byte, error) {
	p.set.notify(Notice{Text: "locking Python packages ..."})
	return p.environments().Lock(ctx, requirements)
}

// checks returns a check for each target, which reports what it cannot honour.
func checks(check func(ir.Target, ir.Unit) []ir.Fault) map[string]func(ir.Target, ir.Unit) []ir.Fault {
	out := map[string]func(ir.Target, ir.Unit) []ir.Fault{}
	for _, name := range all.Names() {
		out[name] = check
	}
	return out
}

// run compiles within a budget, without writing anything. The compilation cannot be used
// after an error of the budget: CUE cannot be interrupted and still runs.
func (c *compilation) run(ctx context.Context) (*compiler.Result, error) {
	limits, err := c.limits()
	if err != nil {
		return nil, err
	}
	r, err := budget.Run(ctx, limits, func() (*compiler.Result, error) { return c.compile(ctx) })
	if over := (*budget.ExceededError)(nil); errors.As(err, &over) {
		return nil, fmt.Errorf("give up compiling %s: %w\n"+
			"look for values that multiply, such as strings or lists that contain one another repeatedly; if the system is that large, raise $%s (such as 8GiB) or $%s (such as 10m)",
			c.dir, err, memoryVar, timeVar)
	}
	return r, err
}

// Variables that replace the limits of a compilation.
const (
	memoryVar = "TENON_COMPILE_MEMORY"
	timeVar   = "TENON_COMPILE_TIME"
)

// limits returns what the compilation may take. CUE needs about 800 bytes for every byte
// of a large system.
func (c *compilation) limits() (l budget.Limits, err error) {
	var source uint64
	paths, _ := filepath.Glob(filepath.Join(c.dir, "*.cue"))
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil {
			source += uint64(info.Size())
		}
	}
	l = budget.Limits{Memory: 1<<30 + 2048*source, Time: 2*time.Minute + time.Duration(source)*100*time.Microsecond}
	for _, v := range c.environ {
		name, value, _ := strings.Cut(v, "=")
		switch name {
		case memoryVar:
			n := ir.ParseSize(value)
			if n <= 0 {
				return l, fmt.Errorf("$%s is %q: write a size such as 8GiB", memoryVar, value)
			}
			l.Memory = uint64(n)
		case timeVar:
			if l.Time, err = time.ParseDuration(value); err != nil || l.Time <= 0 {
				return l, fmt.Errorf("$%s is %q: write a time such as 10m", timeVar, value)
			}
		}
	}
	return l, nil
}

// compile evaluates only what has changed since the last compilation. If that fails, it
// compiles everything: the faults of a part may be others than those of the whole.
func (c *compilation) compile(ctx context.Context) (*compiler.Result, error) {
	r, err := c.compileFrom(ctx, c.before)
	if err != nil && c.sys != nil && c.sys.Reuses() && ctx.Err() == nil {
		return c.compileFrom(ctx, nil)
	}
	return r, err
}

func (c *compilation) compileFrom(ctx context.Context, before *cache.Entities) (*compiler.Result, error) {
	c.sql.Start() // while CUE evaluates
	load := lang.Options{Tags: c.tags, Environment: c.env, Env: c.environ, Tracker: c.tracker, Divide: c.divide}
	o := compiler.Options{Describe: c.sql.Describe, Bind: c.sql.Bind, Heads: c.heads, Files: planner.Files, Executors: c.executors, Default: all.Default, Tracker: c.tracker, State: c.states.read}
	if c.typings != nil {
		o.Describe, o.Bind = c.typings.Describe(o.Describe), c.typings.Bind(o.Bind)
	}
	if before != nil {
		load.Before, o.Before = before.Parts, before.Decoded
	}
	sys, err := lang.Load(c.dir, load)
	if err != nil {
		return nil, withSource(err, func(file string) []byte { b, _ := os.ReadFile(filepath.Join(c.dir, file)); return b })
	}
	if c.locks == nil { // otherwise it has what the first attempt locked
		if c.locks, err = lockfile.Open(sys.Dir, c.resolve); err != nil {
			return nil, withSource(err, sys.Source)
		}
		if c.locks.Content == nil {
			c.tracker.Absent(c.locks.Path)
		} else {
			c.tracker.File(c.locks.Path, c.locks.Content)
		}
	}
	c.sys = sys
	o.Prices = sync.OnceValues(func() (*prices.File, error) { return c.prices(sys.Dir) })
	if err := c.checkModules(); err != nil {
		return nil, withSource(err, sys.Source)
	}
	o.Lock, o.Classes, o.Modules = c.locks.Lock, c.locks.Classes, c.locks.Modules
	if parts := sys.Parts(); parts != nil {
		o.Save = func(decoded map[string]compiler.Decoded) {
			c.entities = &cache.Entities{Parts: parts, Decoded: decoded}
		}
	}
	r, err := compiler.Compile(ctx, sys, o)
	return r, withSource(err, sys.Source)
}

// prices opens the tables of prices beside the system, which then count as an input of the compilation.
func (c *compilation) prices(dir string) (*prices.File, error) {
	f, err := prices.Open(dir)
	if err != nil {
		return nil, err
	}
	if f.Content == nil {
		c.tracker.Absent(f.Path)
	} else {
		c.tracker.File(f.Path, f.Content)
	}
	return f, nil
}

// checkModules compares the modules that the system imports with the locked ones.
func (c *compilation) checkModules() error {
	modules, err := c.sys.Modules(c.tracker)
	if err != nil {
		return err
	}
	var faults diag.List
	for _, m := range modules {
		if pinned := c.locks.Pin(m.Name, m.Digest); pinned != m.Digest {
			faults = append(faults, diag.Diagnostic{
				Message: fmt.Sprintf("module %s does not match its digest in %s", m.Name, lockfile.Name),
				Wanted:  pinned, Found: m.Digest + ", in " + m.Dir,
				Spans: []diag.Span{c.sys.ModuleSpan(m.Path)},
				Hint: "its files were modified in that folder, or the version was published again with different content\n" +
					"remove the folder and its zip in CUE's cache, and compile again to fetch it\n" +
					"if it still does not match and you trust it, remove its line from " + lockfile.Name,
			})
		}
	}
	if len(faults) > 0 {
		return faults.Sort()
	}
	return nil
}

// withSource adds the sources to faults that the user has to fix.
func withSource(err error, source func(string) []byte) error {
	var faults diag.List
	if !errors.As(err, &faults) {
		return err
	}
	return &SourceError{Faults: faults, Source: source}
}

// cached returns the cache entry of the compiled system: beside its state, if there is
// one. The key covers what it is for, the program, the folder, the tags, the environment, and the environment variables
// that CUE reads.
func (p *Project) cached(purpose string) (*cache.Entry, error) {
	stateDir, err := p.stateDir()
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(p.set.Dir)
	if err != nil {
		return nil, fmt.Errorf("find the system: %w", err)
	}
	if p.set.Tenon == "" || !exists(stateDir) {
		return nil, nil
	}
	var env []string
	for _, v := range p.set.Environ {
		if strings.HasPrefix(v, "CUE_") {
			if strings.Contains(v, "=file:") {
				return nil, nil // the content of that file is not recorded
			}
			env = append(env, v)
		}
	}
	slices.Sort(env)
	executors := all.Names()
	slices.Sort(executors)
	var programs []string
	for _, path := range []string{p.set.Tenon, p.set.SQL.Path()} {
		id, err := fingerprint.Identity(path)
		if err != nil {
			return nil, err
		}
		programs = append(programs, id)
	}
	key := struct {
		Programs       []string
		Dir            string
		Tags           []string
		Environment    string
		Env, Executors []string
		Purpose        string
	}{programs, abs, p.set.Tags, p.set.Env, env, executors, purpose}
	return cache.Open(filepath.Join(stateDir, "cache", "compiled"), key, p.set.warn)
}
