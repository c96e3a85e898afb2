package planner

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A Side is one of the two systems to compare.
type Side struct {
	System *ir.System
	Blobs  map[string][]byte // code and locks by digest, where known
}

// A Comparison lists how two systems differ.
type Comparison struct {
	Entities []EntityChange `json:"entities"`
	Impact   Impact         `json:"impact"`
}

// Same reports whether nothing differs.
func (c *Comparison) Same() bool { return len(c.Entities) == 0 && len(c.Impact.Items) == 0 }

// Changed classifies how an entity differs.
type Changed string

const (
	Added   Changed = "added"
	Removed Changed = "removed"
	Renamed Changed = "renamed" // and perhaps run differently
	Edited  Changed = "changed"
	Follows Changed = "follows" // only its outputs, because its inputs changed
)

// An EntityChange lists what differs in one entity. The fields of the system itself, such
// as its name and target, belong to an entity called "system".
type EntityChange struct {
	Entity    string        `json:"entity"` // "models/late"
	Change    Changed       `json:"change"`
	Was       string        `json:"was,omitempty"` // its former name
	Component string        `json:"component,omitempty"`
	At        string        `json:"at,omitempty"` // where it is declared: "churn.cue:40:9"
	Fields    []FieldChange `json:"fields,omitempty"`
	Effect    *Effect       `json:"effect,omitempty"` // of its removal
}

// Section is the part of a system that the entity belongs to.
func (e EntityChange) Section() string { s, _, _ := strings.Cut(e.Entity, "/"); return s }

// A FieldChange is one field, named as the user writes it. Without Before the field is
// new; without After it was removed.
type FieldChange struct {
	Field  string          `json:"field"` // "params.max_depth", "schema.amount.max", "code report.sh"
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	At     string          `json:"at,omitempty"`     // where it is written; without After, where it was
	Lines  string          `json:"lines,omitempty"`  // the difference of texts of several lines, unified
	Effect *Effect         `json:"effect,omitempty"` // of a change of what others read or call
}

// Impact is what an apply of the second system would do if the first were deployed and no
// data had changed since.
type Impact struct {
	Run      []Affected `json:"run,omitempty"`      // jobs that are not of a model
	Retrain  []Affected `json:"retrain,omitempty"`  // models
	Evaluate []Affected `json:"evaluate,omitempty"` // models that are evaluated again but not trained
	RollOut  []Affected `json:"roll_out,omitempty"` // services
	Write    []Affected `json:"write,omitempty"`    // records
	Remove   []Affected `json:"remove,omitempty"`   // whatever of them is deployed

	Items   []Item   `json:"items"`   // items of the plan that do something
	Jobs    int      `json:"jobs"`    // how many of them are jobs
	Unknown int      `json:"unknown"` // how many of these jobs have no earlier run
	Time    Estimate `json:"time"`    // along the critical path, see [Plan.Summary]
	Work    Estimate `json:"work"`    // sum over all units
}

// An Affected is an entity that the apply affects. See [Item] for Unless.
type Affected struct {
	Entity string `json:"entity"`
	Unless bool   `json:"unless,omitempty"`
}

// Compare returns how after differs from before, and the impact. times holds how long
// units took before, newest first, and may be nil.
func Compare(ctx context.Context, before, after Side, times map[string][]time.Duration) (*Comparison, error) {
	plan, err := Simulate(ctx, before.System, after.System, times)
	if err != nil {
		return nil, err
	}
	c := &comparer{before: before, after: after, renamed: map[string]string{}, former: map[string]string{}}
	c.old, c.new = entities(before.System), entities(after.System)
	c.followMoves(after.System.Moved)
	c.findRenames()
	out := &Comparison{Entities: []EntityChange{}}
	if fields := c.systemFields(); len(fields) > 0 {
		out.Entities = append(out.Entities, EntityChange{Entity: "system", Change: Edited, Fields: fields})
	}
	var changes []EntityChange
	for id, e := range c.old {
		now := c.now(id)
		change := EntityChange{Entity: id, Component: e.Component, At: e.Place("")}
		if now == nil {
			change.Change = Removed
			changes = append(changes, change)
			continue
		}
		change.Entity, change.Component, change.At, change.Fields = now.ID, now.Component, now.Place(""), c.fields(e, now)
		switch {
		case now.ID != id:
			change.Change, change.Was = Renamed, id
		case len(change.Fields) > 0:
			change.Change = Edited
		}
		changes = append(changes, change)
	}
	for id, e := range c.new {
		if c.was(id) == nil {
			changes = append(changes, EntityChange{Entity: id, Change: Added, Component: e.Component, At: e.Place("")})
		}
	}
	c.contracts(changes)
	changes = slices.DeleteFunc(changes, func(e EntityChange) bool { return e.Change == "" })
	slices.SortFunc(changes, func(a, b EntityChange) int {
		return cmp.Or(cmp.Compare(rank(a.Section()), rank(b.Section())), cmp.Compare(a.Entity, b.Entity))
	})
	for i := range changes {
		c.places(&changes[i])
	}
	out.Entities = append(out.Entities, changes...)
	out.Impact = c.impact(plan)
	return out, nil
}

// sections lists the sections in the order in which a comparison reports them.
var sections = []string{"system", "sources", "features", "models", "deployments", "slos", "monitors", "loops", "steps", "resources"}

func rank(section string) int { return slices.Index(sections, section) }

// A comparer compares two systems.
type comparer struct {
	before, after Side
	old, new      map[string]*entity
	renamed       map[string]string     // old id to new id
	former        map[string]string     // new id to old id
	edited        map[string]bool       // by old id: the user changed it
	readers       map[string][]ir.Input // by producer in before: the entity that reads it, and which port
}

// An entity is a declared entity with its units.
type entity struct {
	*ir.Entity
	units []ir.Unit
	// bare is set if only the units of the entity are known, because a version of tenon
	// that recorded no entities stored it.
	bare bool
}

func (e *entity) section() string { s, _, _ := strings.Cut(e.ID, "/"); return s }

// gives returns an output of the entity, or nil.
func (e *entity) gives(o ir.EntityOutput) *ir.Output {
	for i := range e.units {
		if e.units[i].ID != o.Unit {
			continue
		}
		for j := range e.units[i].Outputs {
			if out := &e.units[i].Outputs[j]; out.Port == o.Port {
				return out
			}
		}
	}
	return nil
}

// serves reports whether the entity is a service with an endpoint.
func (e *entity) serves() bool {
	return slices.ContainsFunc(e.units, func(u ir.Unit) bool { return u.Kind == ir.Service && gives(&u, ir.EndpointOf) })
}

// trains reports whether a job of the entity makes a model.
func (e *entity) trains() bool { return slices.ContainsFunc(e.units, makesModel) }

func makesModel(u ir.Unit) bool { return u.Kind == ir.Job && gives(&u, ir.Model) }

func gives(u *ir.Unit, kind ir.PortKind) bool {
	return slices.ContainsFunc(u.Outputs, func(o ir.Output) bool { return o.Kind == kind })
}

// declares reports whether the user wrote columns of the entity's outputs.
func (e *entity) declares() bool {
	return slices.ContainsFunc(e.Outputs, func(o ir.EntityOutput) bool { return o.Schema != "" })
}

// schemas returns the columns that the user declared.
func (e *entity) schemas() []ir.Schema {
	var out []ir.Schema
	for _, o := range e.Outputs {
		if given := e.gives(o); o.Schema != "" && given != nil {
			out = append(out, slices.Concat(ir.Schema{}, given.Schema)) // never nil
		}
	}
	return out
}

// entities returns the entities of a system with their units.
func entities(sys *ir.System) map[string]*entity {
	out := map[string]*entity{}
	for i := range sys.Entities {
		out[sys.Entities[i].ID] = &entity{Entity: &sys.Entities[i]}
	}
	bare := func(id, component string, pos ir.Pos) *entity {
		if out[id] == nil {
			out[id] = &entity{Entity: &ir.Entity{ID: id, Component: component, Pos: pos}, bare: true}
		}
		return out[id]
	}
	for _, u := range sys.Units {
		e := bare(u.Entity, u.Component, u.Pos)
		if e.units = append(e.units, u); e.bare && makesModel(u) {
			e.Component = u.Component
		}
	}
	for _, p := range sys.Pools {
		bare("resources/"+p.Name, "", ir.Pos{})
	}
	return out
}

// now returns the current form of an entity of the system before, or nil.
func (c *comparer) now(id string) *entity {
	if name, ok := c.renamed[id]; ok {
		return c.new[name]
	}
	return c.new[id]
}

// was returns the earlier form of an entity of the system after, or nil.
func (c *comparer) was(id string) *entity {
	if name, ok := c.former[id]; ok {
		return c.old[name]
	}
	return c.old[id]
}

// followMoves pairs the entities that the system after declares as moved.
func (c *comparer) followMoves(moved []ir.Move) {
	at := map[string]string{} // current place of an entity
	for _, m := range moved {
		from := m.From
		for was, now := range at {
			if now == m.From {
				from = was
			}
		}
		at[from] = m.To
	}
	for from, to := range at {
		if c.old[from] != nil && c.new[from] == nil && c.old[to] == nil && c.new[to] != nil {
			c.renamed[from], c.former[to] = to, from
		}
	}
}

// findRenames pairs removed entities with new ones that are equal except for how they
// run. One rename may make the next pair equal, so it repeats until it finds none.
func (c *comparer) findRenames() {
	for again := true; again; {
		again = false
		gone := map[string][]string{}
		for _, id := range slices.Sorted(maps.Keys(c.old)) {
			if c.now(id) == nil {
				says := c.says(c.old[id])
				gone[says] = append(gone[says], id)
			}
		}
		for _, id := range slices.Sorted(maps.Keys(c.new)) {
			if c.was(id) != nil {
				continue
			}
			if says := c.says(c.new[id]); len(gone[says]) > 0 {
				c.renamed[gone[says][0]], c.former[id] = id, gone[says][0]
				gone[says] = gone[says][1:]
				again = true
			}
		}
	}
}

// says returns all that an entity declares, except for how it runs.
func (c *comparer) says(e *entity) string {
	if e.bare {
		var digests []string
		for _, u := range e.units {
			_, stage := ir.SplitID(u.ID)
			digests = append(digests, stage+" "+u.Digest)
		}
		if len(digests) == 0 {
			return e.ID
		}
		return compact([]any{e.section(), digests})
	}
	all := c.new
	if c.old[e.ID] == e {
		all = c.old
	}
	var locks []string
	for _, u := range ownPackages(e, all) {
		locks = append(locks, u.Code.Lock)
	}
	t := fieldsOf(e)
	for _, how := range []string{"needs", "retries", "timeout", "max_age", "network", "kubernetes"} {
		delete(t, how)
	}
	return compact([]any{e.section(), t, c.reads(e), userCode(e), locks, e.schemas()})
}

// places fills in where the fields of a change are written.
func (c *comparer) places(change *EntityChange) {
	old, now := c.old[cmp.Or(change.Was, change.Entity)], c.new[change.Entity]
	for i := range change.Fields {
		f := &change.Fields[i]
		if e := now; f.After != nil && e != nil {
			f.At = e.Place(f.Field)
		} else if old != nil {
			f.At = old.Place(f.Field)
		}
	}
}

// systemFields compares the names and the targets of the two systems.
func (c *comparer) systemFields() []FieldChange {
	before, after := c.before.System, c.after.System
	if before.Name == "" && len(before.Units) == 0 { // nothing is deployed
		return nil
	}
	describe := func(s *ir.System) map[string]any {
		target := map[string]any{"executor": s.Target.Executor}
		for k, v := range s.Target.Settings {
			target[k] = plain(v)
		}
		fields := map[string]any{"name": s.Name, "target": s.Target.Name, "targets": map[string]any{after.Target.Name: target}}
		if s.Budget != (ir.Budget{}) {
			fields["budget"] = plain(s.Budget)
		}
		if s.Tracking != nil {
			fields["tracking"] = map[string]any{"mlflow": plain(s.Tracking)}
		}
		return fields
	}
	t := &treeDiff{}
	t.diff("", describe(before), describe(after))
	return t.out
}

// Kinds of what happens to an entity. If several apply, only the first is reported,
// because it says the most.
const (
	retrain = iota
	evaluate
	run
	rollOut
	write
	remove
	kinds
)

func (c *comparer) kindOf(it Item) int {
	id, _ := ir.SplitID(it.Unit)
	switch e := c.new[id]; {
	case it.Action == Delete:
		return remove
	case it.Kind == ir.Service:
		return rollOut
	case it.Kind == ir.Record:
		return write
	case slices.ContainsFunc(e.units, func(u ir.Unit) bool { return u.ID == it.Unit && makesModel(u) }):
		return retrain
	case e.trains():
		return evaluate
	}
	return run
}

func (c *comparer) impact(p *Plan) Impact {
	out := Impact{Items: []Item{}, Time: p.Summary().Time}
	type happens [kinds]struct{ may, sure bool }
	found := map[string]*happens{}
	for _, it := range p.Items {
		id, _ := ir.SplitID(it.Unit)
		_, isRenamed := c.renamed[id]
		if !it.Action.Changes() || it.Action == Delete && isRenamed && it.Kind != ir.Service {
			continue // what a renamed entity made remains, under its new name
		}
		it.Key = "" // it belongs to a state that does not exist
		out.Items = append(out.Items, it)
		out.Work.Runs += it.Estimate.Runs
		out.Work.Time += it.Estimate.Time
		if it.Kind == ir.Job && it.Action != Delete {
			if out.Jobs++; it.Estimate.Runs == 0 {
				out.Unknown++
			}
		}
		if found[id] == nil {
			found[id] = &happens{}
		}
		h := &found[id][c.kindOf(it)]
		h.may, h.sure = true, h.sure || !it.Unless
	}
	lists := [kinds]*[]Affected{
		retrain: &out.Retrain, evaluate: &out.Evaluate, run: &out.Run, rollOut: &out.RollOut, write: &out.Write, remove: &out.Remove,
	}
	for _, id := range slices.SortedFunc(maps.Keys(found), inSections) {
		for kind, h := range found[id] {
			if h.may && (kind != remove || c.new[id] == nil) { // removing a unit does not remove the entity
				*lists[kind] = append(*lists[kind], Affected{Entity: id, Unless: !h.sure})
				break
			}
		}
	}
	return out
}

func inSections(a, b string) int {
	sa, _, _ := strings.Cut(a, "/")
	sb, _, _ := strings.Cut(b, "/")
	return cmp.Or(cmp.Compare(rank(sa), rank(sb)), cmp.Compare(a, b))
}
