package compiler

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/fingerprint"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/lang/diag"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Options of a compilation.
type Options struct {
	// Lock resolves Python requirements to a lock with digests. It is called
	// only for units that ask for packages besides the library's own.
	Lock func(ctx context.Context, requirements []string) ([]byte, error)
	// Describe types a query over tables of the given schemas, see [duck.Engine].
	// It is called for many queries at once.
	Describe func(ctx context.Context, tables map[string]ir.Schema, query string) (duck.Description, error)
	// Executors are those that can be targeted, by name, each with what it
	// cannot honour of a unit on a target.
	Executors map[string]func(ir.Target, ir.Unit) []ir.Fault
	// Record, if set, is told what is read besides the system's CUE.
	Record *fingerprint.Record
}

// A Result is a compiled system with the files it needs.
type Result struct {
	System *ir.System
	Blobs  map[string][]byte // by digest
}

// Compile checks and lowers a system. The error is a [diag.List] where the
// fault is the user's; it then holds every fault that could be found.
func Compile(ctx context.Context, sys *lang.System, o Options) (*Result, error) {
	faults := sys.Faults()
	// What CUE could not make sense of is not looked at again below: its faults
	// are said, and those of the rest still have to be found.
	c := &compilation{
		ctx: ctx, sys: sys, options: o,
		entities: map[string]*entity{}, broken: map[string]bool{}, misfits: map[string]bool{}, blobs: map[string][]byte{}, components: map[string]*component{},
	}
	c.checkRoot()
	c.decodeAll()
	end := c.typeSQL()
	defer end()
	c.checkCycles()
	c.checkEntities()
	if err := c.checkSQL(); err != nil {
		return nil, err
	}
	target := c.target()
	pools := c.pools()
	moved := c.moved()
	units := slices.DeleteFunc(c.lowerAll(), func(u ir.Unit) bool { return c.broken[u.Entity] })
	c.checkResources(units, pools)
	c.checkExecutor(units, target)
	if c.err != nil {
		return nil, c.err
	}
	if all := append(faults, c.faults...); len(all) > 0 {
		return nil, all.Sort()
	}
	for id := range c.broken { // a fault that went unsaid must not become a deletion
		section, name, _ := strings.Cut(id, "/")
		if slices.ContainsFunc(sys.Reads(section, name), func(from string) bool { return c.broken[from] }) {
			continue // for the same cause
		}
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("%s.%s cannot be evaluated", section, name),
			Spans:   []diag.Span{sys.Label("", section, name)},
			Hint:    "look for values that depend on one another in a circle",
		})
	}
	if len(c.faults) > 0 {
		return nil, c.faults.Sort()
	}
	slices.SortFunc(units, func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	for i := range units {
		if err := units[i].Define(); err != nil {
			return nil, fmt.Errorf("compile: %w", err)
		}
	}
	return &Result{
		System: &ir.System{Version: ir.Version, Name: c.systemName(), Target: target, Pools: pools, Moved: moved, Units: units, Entities: c.declared(units)},
		Blobs:  c.blobs,
	}, nil
}

// systemName is the name of the system, "" if that is a fault.
func (c *compilation) systemName() string {
	name, _ := c.sys.Lookup("name").String()
	return name
}

// A compilation collects faults while the stages go on with what they can.
type compilation struct {
	ctx      context.Context
	sys      *lang.System
	options  Options
	entities map[string]*entity // by "section/name"
	order    []string           // of entities, as written
	broken   map[string]bool    // entities that cannot be lowered
	misfits  map[string]bool    // entities that fit no pool
	blobs    map[string][]byte
	// components are those that were asked for, by name.
	components map[string]*component
	faults     diag.List
	err        error // our own fault, the first
}

func (c *compilation) fault(d diag.Diagnostic) { c.faults = append(c.faults, d) }

// fail notes a fault at an entity and keeps it from being lowered.
func (c *compilation) fail(e *entity, d diag.Diagnostic) {
	c.broken[e.id()] = true
	c.fault(d)
}

// blob keeps content under its digest.
func (c *compilation) blob(b []byte) string {
	d := ir.Sum(b)
	c.blobs[d] = b
	return d
}

// knownRoot are the fields of a system besides the sections of entities.
var knownRoot = []string{"name", "target", "env", "moved", "components"}

func (c *compilation) checkRoot() {
	if !c.sys.Lookup("name").Exists() && c.sys.Value.Err() == nil {
		c.fault(diag.Diagnostic{Message: "the system has no name", Hint: "write `tenon.#System` and `name: \"...\"` at the top"})
	}
	known := append(slices.Clone(knownRoot), lang.Sections...)
	it, err := c.sys.Value.Fields()
	if err != nil {
		return // said by Faults
	}
	for it.Next() {
		name := it.Selector().Unquoted()
		if slices.Contains(known, name) {
			continue
		}
		d := diag.Diagnostic{
			Message: fmt.Sprintf("a system has no field %q", name),
			Spans:   []diag.Span{c.sys.Label("", name)},
			Hint:    diag.DidYouMean(name, known),
		}
		if diag.Nearest(name, known) == "" {
			d.Hint = fmt.Sprintf("a value of your own is written _%s or #%s", name, name)
		}
		c.fault(d)
	}
}
