package compiler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

const (
	// defaultTarget is the name of the target that every system has.
	defaultTarget = "local"
	// choosing is the executor of a target that is a choice of others.
	choosing = "any_of"
)

// A Candidate is a target that a plan may choose, with what of the system depends on it.
type Candidate struct {
	Target   ir.Target
	Pools    []ir.Pool         // that it has
	Uses     map[string]string // pools by unit
	Refused  string            // why it cannot run the system, or ""
	Warnings []ir.Warning      // of units on it
}

// On returns what was compiled, for a candidate.
func (r *Result) On(k *Candidate) *Result {
	sys := *r.System
	sys.Target, sys.Pools, sys.Units = k.Target, k.Pools, slices.Clone(sys.Units)
	for i := range sys.Units {
		sys.Units[i].Pool = k.Uses[sys.Units[i].ID]
	}
	return &Result{System: &sys, Blobs: r.Blobs, Protect: r.Protect}
}

// OneTarget returns an error if the system is for a choice of targets, for what depends on one.
func (r *Result) OneTarget() error {
	if r.Choice == "" {
		return nil
	}
	return fmt.Errorf("%s is a choice of targets, of which a plan uses one: name one of %s, for example with `-t target=%s` where the system has `target: string @tag(target)`",
		r.Choice, strings.Join(r.Names(), ", "), r.Candidates[0].Target.Name)
}

// Names returns the targets that a plan chooses from.
func (r *Result) Names() (names []string) {
	for _, k := range r.Candidates {
		names = append(names, k.Target.Name)
	}
	return names
}

// A choice is the targets that a system may run on: one, unless the one that it names is any_of others.
type choice struct {
	of    string // the entry with any_of, or ""
	among []ir.Target
	found bool // the system names one that it has, of which everything was read, or none
	// unread are the faults of what a candidate reads, such as outputs of a state, by target.
	unread map[string]diag.List
}

// targets returns the entry of targets that the system names, or those of which that is a choice; or the
// default one if it names none.
func (c *checker) targets() choice {
	none := choice{among: []ir.Target{{Name: defaultTarget, Executor: c.options.Default}}, found: true}
	name, err := c.sys.Lookup("target").String()
	if err != nil {
		return none
	}
	before := len(c.faults)
	t, ok := c.target(name, c.sys.At("", "target"))
	if !ok {
		none.found = false
		return none
	}
	if t.Executor != choosing {
		return choice{among: []ir.Target{t}, found: len(c.faults) == before}
	}
	chosen := choice{of: name, found: true, unread: map[string]diag.List{}}
	e := c.entities["targets/"+name]
	at := c.sys.At("", e.path("any_of")...)
	for _, other := range stringsOf(e.fields.get("any_of")) {
		before := len(c.faults)
		t, ok := c.target(other, at)
		if ok {
			chosen.unread[other] = slices.Clone(c.faults[before:])
			c.faults = c.faults[:before]
		}
		switch {
		case !ok:
			none.found = false
		case t.Executor == choosing:
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s is a choice of %s, which is a choice itself", e, other),
				Spans:   []diag.Span{at, c.sys.Label("", "targets", other)},
				Hint:    fmt.Sprintf("name the targets of %s instead", other),
			})
			none.found = false
		case slices.ContainsFunc(chosen.among, func(has ir.Target) bool { return has.Name == other }):
			c.fail(e, diag.Diagnostic{Message: fmt.Sprintf("%s has %s twice", e, other), Spans: []diag.Span{at}, Hint: "remove one of them"})
			none.found = false
		default:
			chosen.among = append(chosen.among, t)
		}
	}
	if !none.found {
		return none
	}
	return chosen
}

// target returns the entry of targets with a name that is written at a place, or reports that there is none.
func (c *checker) target(name string, at diag.Span) (t ir.Target, found bool) {
	e := c.targetEntity(name, at)
	if e == nil {
		return ir.Target{Name: defaultTarget, Executor: c.options.Default}, name == defaultTarget
	}
	settings, _ := plain(e.fields).(map[string]any)
	delete(settings, "name")
	delete(settings, "component")
	delete(settings, "executor")
	c.existing(name, settings)
	c.ownFiles(name, settings)
	c.endpointsOf(name, settings)
	if len(settings) == 0 {
		settings = nil
	}
	return ir.Target{Name: name, Executor: e.string("executor"), Settings: settings}, true
}

// endpointsOf reports names of endpoints of a target that no deployment has: the deployment that was meant would run
// where it runs by default.
func (c *checker) endpointsOf(target string, settings map[string]any) {
	endpoints, _ := settings["endpoints"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(endpoints)) {
		if id := "deployments/" + name; c.entities[id] != nil || c.broken[id] {
			continue
		}
		hint := diag.DidYouMean(name, c.sys.EntityNames("deployments"))
		if hint == "" {
			hint = "name a deployment, or remove it"
		}
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("targets.%s.endpoints names %q, which no deployment has", target, name),
			Spans:   []diag.Span{c.sys.Label("", "targets", target, "endpoints", name)},
			Hint:    hint,
		})
	}
}

// targetEntity returns the entry of targets with a name that is written at a place, or nil. It reports a fault if there is none.
func (c *checker) targetEntity(name string, at diag.Span) *entity {
	e := c.entities["targets/"+name]
	if e == nil && !c.broken["targets/"+name] && name != defaultTarget {
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("unknown target %q", name),
			Spans:   []diag.Span{at},
			Hint:    diag.DidYouMean(name, append(c.sys.EntityNames("targets"), defaultTarget)),
		})
	}
	return e
}

// poolTarget returns the target that has a pool, or "" if all have it. It does not read what that target reads of files,
// which need not exist unless the system runs there.
func (c *checker) poolTarget(e *entity) string {
	name := e.string("target")
	if name == "" {
		return ""
	}
	at := c.sys.At("", e.path("target")...)
	if t := c.targetEntity(name, at); t != nil && t.string("executor") == choosing {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s is of %s, which is a choice of targets", e, name),
			Spans:   []diag.Span{at, c.sys.Label("", "targets", name)},
			Hint:    "name the one that has the pool",
		})
	}
	return name
}

// place sets the pools of units and refuses what the target cannot run. If there is a choice, it does so for each
// candidate, and sets the pools for the first one that can run all units. It reports faults only if none can.
func (c *checker) place(units []ir.Unit, pools []ir.Pool, t choice) (ir.Target, []ir.Pool, []Candidate) {
	if t.of == "" {
		on := t.among[0]
		has := poolsOn(pools, on.Name)
		c.checkResources(units, has)
		if t.found {
			c.checkExecutor(units, on)
		}
		return on, has, nil
	}
	all := make([]Candidate, len(t.among))
	var faults diag.List
	var refused []string
	for i, on := range t.among {
		k, found := c.try(slices.Clone(units), poolsOn(pools, on.Name), on, t.unread[on.Name])
		all[i], faults, refused = k, append(faults, found...), append(refused, on.Name+": "+k.Refused)
	}
	first := slices.IndexFunc(all, func(k Candidate) bool { return k.Refused == "" })
	if first < 0 {
		c.faults = append(c.faults, diag.Diagnostic{
			Message: fmt.Sprintf("no target of any_of in targets.%s can run the system", t.of),
			Found:   strings.Join(refused, "; "),
			Spans:   []diag.Span{c.sys.At("", "targets", t.of, "any_of")},
			Hint:    "correct for one of them what follows",
		})
		c.faults = append(c.faults, faults...)
		first = 0
	}
	for i := range units {
		units[i].Pool = all[first].Uses[units[i].ID]
	}
	return all[first].Target, all[first].Pools, all
}

// try is place for one of several targets, of which some faults are known. The faults are not reported.
func (c *checker) try(units []ir.Unit, pools []ir.Pool, on ir.Target, unread diag.List) (Candidate, diag.List) {
	p := *c.program
	p.faults, p.warnings, p.broken = slices.Clone(unread), map[string][]ir.Warning{}, maps.Clone(c.broken)
	trial := &checker{program: &p, misfits: maps.Clone(c.misfits)}
	if len(unread) == 0 { // otherwise its settings lack something
		trial.checkResources(units, pools)
		trial.checkExecutor(units, on)
	}
	c.err = cmp.Or(c.err, p.err)
	k := Candidate{Target: on, Pools: pools, Uses: map[string]string{}}
	for _, u := range units {
		k.Uses[u.ID] = u.Pool
	}
	for _, id := range slices.Sorted(maps.Keys(p.warnings)) {
		k.Warnings = append(k.Warnings, p.warnings[id]...)
	}
	for i, f := range p.faults {
		if i == 0 {
			k.Refused = f.Message
			if f.Found != "" {
				k.Refused += " (" + f.Found + ")"
			}
		}
	}
	if n := len(p.faults) - 1; n > 0 {
		k.Refused += fmt.Sprintf(", and %s", ir.Count(int64(n), "more fault"))
	}
	return k, p.faults
}

// poolsOn returns the pools that a target has.
func poolsOn(pools []ir.Pool, target string) []ir.Pool {
	return slices.DeleteFunc(slices.Clone(pools), func(p ir.Pool) bool { return p.Target != "" && p.Target != target })
}

// candidates returns the pools that a unit may use, in the order in which it tries them, or reports that it
// names one that there is not. pools are those of the target.
func (c *checker) candidates(e *entity, u *ir.Unit, pools []ir.Pool) (all []ir.Pool, ok bool) {
	named, field := u.AnyOf, "any_of"
	if u.Pool != "" {
		if len(u.AnyOf) > 0 {
			c.misfits[u.Entity] = true
			c.fault(diag.Diagnostic{
				Message: fmt.Sprintf("%s has both pool and any_of", e),
				Spans:   []diag.Span{c.sys.Label("", e.path("needs", "pool")...), c.sys.Label("", e.path("needs", "any_of")...)},
				Hint:    "remove one of them: any_of chooses a pool",
			})
			return nil, false
		}
		named, field = []string{u.Pool}, "pool"
	}
	if len(named) == 0 {
		return slices.SortedStableFunc(slices.Values(pools), bySize), true
	}
	var elsewhere []string
	for _, name := range named {
		if at := slices.IndexFunc(pools, func(p ir.Pool) bool { return p.Name == name }); at >= 0 {
			all = append(all, pools[at])
			continue
		}
		if other := c.entities["resources/"+name]; other != nil && other.string("target") != "" {
			elsewhere = append(elsewhere, fmt.Sprintf("%s is of the target %s", name, other.string("target")))
			continue
		}
		c.misfits[u.Entity] = true
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("%s uses a pool %q that is not in resources", e, name),
			Spans:   []diag.Span{c.sys.At("", e.path("needs", field)...)},
			Hint:    diag.DidYouMean(name, c.sys.EntityNames("resources")),
		})
		return nil, false
	}
	if len(all) == 0 {
		c.misfits[u.Entity] = true
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("%s uses no pool of the target", e),
			Found:   strings.Join(elsewhere, "; "),
			Spans:   []diag.Span{c.sys.At("", e.path("needs", field)...)},
			Hint:    "name one that the target has, or choose another target",
		})
		return nil, false
	}
	// Of pools with the same rate, the first that is named counts.
	return slices.SortedStableFunc(slices.Values(all), func(a, b ir.Pool) int { return cmp.Compare(a.Rate(u), b.Rate(u)) }), true
}
