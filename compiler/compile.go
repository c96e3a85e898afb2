package compiler

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"cuelang.org/go/cue"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/prices"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/internal/protect"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Options of a compilation.
type Options struct {
	// Lock resolves Python requirements to a lock with digests. It is called only for
	// units that request packages besides the library's own.
	Lock func(ctx context.Context, requirements []string) ([]byte, error)
	// Classes returns the index of a module in the environment of a lock that Lock made:
	// empty if there is no such module, nil if nothing is known. See package classes.
	Classes func(lock []byte, module string) []byte
	// Modules returns the pins of the packages of such a lock, each with the modules that it
	// has, or nil if they are not known.
	Modules func(lock []byte) []string
	// Describe types a query over tables of the given schemas, see [duck.Engine]. Many
	// calls run at once.
	Describe func(ctx context.Context, tables map[string]ir.Schema, query string) (duck.Description, error)
	// Bind returns the plan of a query over tables of the given schemas, see [duck.Engine].
	// Many calls run at once.
	Bind func(ctx context.Context, tables map[string]ir.Schema, query string) ([]byte, error)
	// Heads compares the heads of data files with schemas, see [duck.Engine]. Without it, no
	// data file is read.
	Heads func(ctx context.Context, heads []duck.Head) ([]duck.HeadResult, error)
	// Files finds the data files that match patterns, relative to a folder.
	Files func(dir string, patterns []string) (map[string][]string, error)
	// Prices returns the tables that instances of pools have their price from. It is called only
	// for a pool that names one.
	Prices func() (*prices.File, error)
	// State returns the content of a state of Terraform at a URL, of at most that many bytes. Without it, only states in
	// files can be read.
	State func(ctx context.Context, url string, most int64) ([]byte, error)
	// Executors maps each executor that a target may name to its check, which returns
	// what it cannot honour of a unit on a target.
	Executors map[string]func(ir.Target, ir.Unit) []ir.Fault
	// Default is the executor of a system that names no target.
	Default string
	// Tracker, if set, collects what is read besides the system's CUE.
	Tracker *fingerprint.Tracker
	// Before are the entities of an earlier compilation, for those that the system does
	// not evaluate again, see [lang.System.Reused].
	Before map[string]Decoded
	// Save, if set, receives the entities for a later compilation, if this one succeeds.
	Save func(map[string]Decoded)
}

// A Result is a compiled system with the files it needs.
type Result struct {
	System *ir.System
	Blobs  map[string][]byte // by digest
	// Protect are the rules for those who change the environment, or nil. They are no part of
	// the system.
	Protect *protect.Rules
	// Choice is the entry of targets that is a choice, or "". Candidates are its targets, in their order. The system
	// is for the first one that can run it.
	Choice     string
	Candidates []Candidate
}

// Compile checks and lowers a system. If the user has to fix something, the error is a
// [diag.List] of every fault that could be found.
func Compile(ctx context.Context, sys *lang.System, o Options) (*Result, error) {
	faults := sys.Faults()
	// Do not check again what CUE found faulty: those faults are reported, but the rest
	// may still have others.
	p := &program{
		ctx: ctx, sys: sys, options: o,
		entities: map[string]*entity{}, components: map[string]*component{}, broken: map[string]bool{},
		known: map[string][]string{}, trusted: map[string][]string{}, warnings: map[string][]ir.Warning{}, times: map[string]filed{},
	}
	p.name, _ = sys.Lookup("name").String()
	(&decoder{p}).decodeAll()
	var decoded map[string]Decoded
	if o.Save != nil {
		decoded = p.decodedAll()
	}
	check := &checker{program: p, misfits: map[string]bool{}}
	check.checkNames()
	check.checkRoot()
	moved := check.moved()
	chosen := check.targets()
	limits := check.limits()
	tracking := check.tracking()
	check.checkSearchedTypes()
	p.release()
	end := check.typeSQL()
	defer end()
	heads := check.readHeads()
	check.checkCycles()
	check.checkEntities()
	if err := check.checkSQL(); err != nil {
		return nil, err
	}
	if err := check.checkFiles(heads); err != nil {
		return nil, err
	}
	check.checkRowFunctions()
	if err := check.checkFacts(ctx); err != nil {
		return nil, err
	}
	pools := check.pools()
	check.checkMonitors(pools)
	budget := check.budget(limits, pools)
	check.checkLoops(pools)
	lower := &lowerer{program: p, blobs: map[string][]byte{}}
	units := slices.DeleteFunc(lower.lowerAll(), func(u ir.Unit) bool { return p.broken[u.Entity] })
	target, pools, candidates := check.place(units, pools, chosen)
	if p.err != nil {
		return nil, p.err
	}
	if all := append(faults, p.faults...); len(all) > 0 {
		return nil, all.Sort()
	}
	if p.unexplained(); len(p.faults) > 0 {
		return nil, p.faults.Sort()
	}
	slices.SortFunc(units, func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	for i := range units {
		if err := units[i].Define(); err != nil {
			return nil, fmt.Errorf("compile: %w", err)
		}
	}
	if decoded != nil {
		o.Save(decoded)
	}
	return &Result{
		System: &ir.System{
			Version: ir.Version, Name: p.name, Env: sys.Environment, Target: target, Pools: pools, Budget: budget, Tracking: tracking, Moved: moved,
			Units: units, Entities: lower.declared(units),
		},
		Blobs:      lower.blobs,
		Protect:    sys.Protect,
		Choice:     chosen.of,
		Candidates: candidates,
	}, nil
}

// release lets go of what CUE has evaluated: it takes most of the memory, and everything
// that follows is about plain data and about the text. The values stay where they are
// needed: they have the places of entities, and of the choice of a target, that are not
// written as such, and the components that restored entities may still request.
func (c *program) release() {
	if !c.sys.Valid() || c.sys.Reuses() || c.sys.Lookup("target").Exists() && !c.sys.Written("target") {
		return
	}
	for _, section := range lang.Sections {
		for _, name := range c.sys.EntityNames(section) {
			if !c.sys.Written(section, name) {
				return
			}
		}
	}
	for _, e := range c.entities {
		c.requestComponents(e.fields)
		e.value = cue.Value{}
		for _, o := range e.outs {
			o.value = cue.Value{}
		}
	}
	for _, k := range c.components {
		k.pkg.Value = cue.Value{}
	}
	c.sys.Release()
	if len(c.entities) >= manyEntities {
		runtime.GC()
	}
}

// manyEntities is from how many entities on it is worth to collect what they were made of at
// once. Otherwise the collector would run only after more has been allocated.
const manyEntities = 500

// requestComponents finds the components that fields name, such as that of a split, so that
// later passes have them.
func (c *program) requestComponents(fields object) {
	for _, f := range fields {
		switch v := f.value.(type) {
		case object:
			c.requestComponents(v)
		case string:
			if f.name == "component" {
				_, _ = c.component(v) // a fault of it is reported where it matters
			}
		}
	}
}

// unexplained reports entities that are broken for no reported reason: otherwise they
// would look deleted.
func (c *program) unexplained() {
	for id := range c.broken {
		section, name, _ := strings.Cut(id, "/")
		if slices.ContainsFunc(c.sys.Reads(section, name), func(from string) bool { return c.broken[from] }) {
			continue // has the same cause
		}
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("%s.%s cannot be evaluated", section, name),
			Spans:   []diag.Span{c.sys.Label("", section, name)},
			Hint:    "look for values that depend on each other",
		})
	}
}

// A program is what the passes share: the entities as plain data, and the faults
// that were found so far. A pass continues with every entity that is not broken.
type program struct {
	ctx      context.Context
	sys      *lang.System
	options  Options
	name     string             // of the system, or "" if it is faulty
	entities map[string]*entity // by "section/name"
	order    []string           // of entities, in source order
	// components holds the components that were requested, by name.
	components map[string]*component

	known    map[string][]string     // inputs of models that would be leaks, see checkLeaks
	trusted  map[string][]string     // columns of features that would be refused, see checkNulls and checkKeys
	warnings map[string][]ir.Warning // by entity
	times    map[string]filed        // sources whose files may say which times they have
	ranges   int                     // how many texts were read to the end for their times

	broken map[string]bool // entities with a fault
	faults diag.List
	err    error // the first internal error
}

// The passes, in their order. Each adds to the program: a decoder its entities, the
// other two only faults.
type (
	// A decoder reads the entities, resolves their components and binds their ports.
	decoder struct{ *program }
	// A checker checks what CUE cannot.
	checker struct {
		*program
		misfits map[string]bool // entities that fit no pool
	}
	// A lowerer makes the units of entities that are not broken.
	lowerer struct {
		*program
		blobs map[string][]byte // by digest
	}
)

func (c *program) fault(d diag.Diagnostic) { c.faults = append(c.faults, d) }

// fail reports a fault of an entity, which is then not lowered.
func (c *program) fail(e *entity, d diag.Diagnostic) {
	c.broken[e.id()] = true
	c.fault(d)
}

// blob stores content under its digest.
func (c *lowerer) blob(b []byte) string {
	d := ir.Sum(b)
	c.blobs[d] = b
	return d
}

// knownRoot lists the fields of a system besides the sections of entities.
var knownRoot = []string{"name", "target", "env", "moved", "budget", "tracking", "components", "environments"}

func (c *checker) checkRoot() {
	if !c.sys.Lookup("name").Exists() && c.sys.Value.Err() == nil {
		c.fault(diag.Diagnostic{Message: "the system has no name", Hint: "write `tenon.#System` and `name: \"...\"` at the top"})
	}
	known := append(slices.Clone(knownRoot), lang.Sections...)
	it, err := c.sys.Value.Fields()
	if err != nil {
		return // reported by Faults
	}
	for it.Next() {
		name := it.Selector().Unquoted()
		if slices.Contains(known, name) {
			continue
		}
		d := diag.Diagnostic{
			Message: fmt.Sprintf("unknown field %q in a system", name),
			Spans:   []diag.Span{c.sys.Label("", name)},
			Hint:    diag.DidYouMean(name, known),
		}
		switch {
		case name == "protect":
			d.Hint = "write it in an environment, as a plain value: `environments: prod: protect: {who: [\"ann\"]}`"
		case diag.Nearest(name, known) == "":
			d.Hint = fmt.Sprintf("for a helper value, use the name _%s or #%s", name, name)
		}
		c.fault(d)
	}
}
