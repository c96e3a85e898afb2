package planner

import (
	"cmp"
	"encoding/json"
	"math/big"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// An Effect is what the change of a port means for those at its other end.
type Effect struct {
	Shift    Shift    `json:"shift"`
	Breaking bool     `json:"breaking"`
	Breaks   []Broken `json:"breaks,omitempty"` // those that the change breaks
}

// A Broken is an entity, or a group outside the system, that a change breaks.
type Broken struct {
	Who string `json:"who"` // "features/spend", "callers of deployments/api"
	// Now is the status of an entity in the system after: "changed", "removed" or, where
	// the compiler cannot tell whether it still works, "unchanged". It is empty for those
	// outside the system.
	Now string `json:"now,omitempty"`
}

// A Shift is how the values that a port allows have changed.
type Shift string

const (
	Looser      Shift = "looser"       // all values of before, and more
	Tighter     Shift = "tighter"      // only some of the values of before
	Other       Shift = "other"        // neither contains the other
	New         Shift = "new"          // an optional column
	NewRequired Shift = "new_required" // a required column
	Gone        Shift = "gone"
	Reordered   Shift = "reordered"  // columns are matched by name
	Documented  Shift = "documented" // only the documentation changed
)

// breaks says which side a shift breaks: those that read the values, or those that
// provide them.
var breaks = map[Shift]struct{ readers, givers bool }{
	Looser:      {readers: true, givers: false},
	Tighter:     {readers: false, givers: true},
	Other:       {readers: true, givers: true},
	New:         {readers: false, givers: false},
	NewRequired: {readers: false, givers: true},
	Gone:        {readers: true, givers: true},
	Reordered:   {readers: false, givers: false},
	Documented:  {readers: false, givers: false},
}

// A columnChange is the change of one property of a column, or of the column itself.
type columnChange struct {
	column, property string // no property: the whole column; no column: all columns
	before, after    any
	shift            Shift
}

func diffSchemas(before, after ir.Schema) []columnChange {
	var out []columnChange
	each(before, after, func(c ir.Column) string { return c.Name }, func(name string, a, b *ir.Column) {
		switch {
		case a == nil:
			shift := NewRequired
			if b.Nullable {
				shift = New
			}
			out = append(out, columnChange{name, "", absent{}, columnOf(b), shift})
		case b == nil:
			out = append(out, columnChange{name, "", columnOf(a), absent{}, Gone})
		default:
			out = append(out, diffColumns(a, b)...)
		}
	})
	if len(out) == 0 && !slices.Equal(names(before), names(after)) {
		out = append(out, columnChange{"", "", plain(names(before)), plain(names(after)), Reordered})
	}
	return out
}

// columnOf returns a column without its name.
func columnOf(c *ir.Column) any {
	m, _ := plain(c).(map[string]any)
	delete(m, "name")
	return m
}

func diffColumns(a, b *ir.Column) []columnChange {
	var out []columnChange
	add := func(property string, before, after any, shift Shift) {
		out = append(out, columnChange{a.Name, property, before, after, shift})
	}
	if a.Type != b.Type {
		add("type", a.Type, b.Type, shiftOf(holds(b.Type, a.Type), holds(a.Type, b.Type)))
	}
	if a.Nullable != b.Nullable {
		add("nullable", a.Nullable, b.Nullable, shiftOf(b.Nullable, a.Nullable))
	}
	if a.Unique != b.Unique {
		add("unique", a.Unique, b.Unique, shiftOf(a.Unique, b.Unique))
	}
	if a.NaN != b.NaN {
		add("nan", a.NaN, b.NaN, shiftOf(b.NaN, a.NaN))
	}
	if a.JSON != b.JSON {
		add("json", a.JSON, b.JSON, shiftOf(a.JSON, b.JSON))
	}
	for _, bound := range []struct {
		name          string
		before, after ir.Bound
		lower         bool
	}{{"min", a.Min, b.Min, true}, {"max", a.Max, b.Max, false}} {
		if order, _ := bound.before.Compare(bound.after); order != 0 || (bound.before == "") != (bound.after == "") {
			looser := bound.after == "" || bound.before != "" && (order > 0) == bound.lower
			add(bound.name, boundOrAbsent(bound.before), boundOrAbsent(bound.after), shiftOf(looser, !looser))
		}
	}
	if before, after := slices.Sorted(slices.Values(a.Values)), slices.Sorted(slices.Values(b.Values)); !slices.Equal(before, after) {
		list := func(v []string) any {
			if len(v) == 0 {
				return absent{}
			}
			return plain(v)
		}
		add("values", list(a.Values), list(b.Values), shiftOf(len(after) == 0 || len(before) > 0 && within(before, after), len(before) == 0 || len(after) > 0 && within(after, before)))
	}
	for _, text := range []struct{ name, before, after string }{{"unit", a.Unit, b.Unit}, {"description", a.Description, b.Description}} {
		if text.before != text.after {
			add(text.name, textOrAbsent(text.before), textOrAbsent(text.after), Documented)
		}
	}
	return out
}

func textOrAbsent(s string) any {
	if s == "" {
		return absent{}
	}
	return s
}

// shiftOf returns the shift, given whether the new values contain all the old ones and
// the old ones all the new ones.
func shiftOf(holdsOld, heldByOld bool) Shift {
	switch {
	case holdsOld && !heldByOld:
		return Looser
	case heldByOld && !holdsOld:
		return Tighter
	}
	return Other
}

func within(some, all []string) bool {
	return !slices.ContainsFunc(some, func(v string) bool { return !slices.Contains(all, v) })
}

func boundOrAbsent(b ir.Bound) any {
	if b == "" {
		return absent{}
	}
	return b
}

// compareNumbers compares two numbers as written. It returns 0 if either is not a number.
func compareNumbers(a, b json.Number) int {
	x, ok := new(big.Rat).SetString(string(a))
	y, okToo := new(big.Rat).SetString(string(b))
	if !ok || !okToo {
		return 0
	}
	return x.Cmp(y)
}

// wider lists, for each type, the types that represent all of its values exactly.
var wider = map[string][]string{
	"int8":    {"int16", "int32", "int64", "float32", "float64"},
	"int16":   {"int32", "int64", "float32", "float64"},
	"int32":   {"int64", "float64"},
	"uint8":   {"uint16", "uint32", "uint64", "int16", "int32", "int64", "float32", "float64"},
	"uint16":  {"uint32", "uint64", "int32", "int64", "float32", "float64"},
	"uint32":  {"uint64", "int64", "float64"},
	"float32": {"float64"},
}

func holds(wide, narrow string) bool { return slices.Contains(wider[narrow], wide) }

// contracts adds the effects on ports to the changes: tables, model signatures and
// endpoints.
func (c *comparer) contracts(changes []EntityChange) {
	c.edited = map[string]bool{}
	for _, change := range changes {
		id := cmp.Or(change.Was, change.Entity)
		if old, now := c.old[id], c.now(id); old != nil && now != nil {
			c.edited[id] = len(change.Fields) > 0 || compact(old.schemas()) != compact(now.schemas())
		}
	}
	for i := range changes {
		change := &changes[i]
		id := cmp.Or(change.Was, change.Entity)
		old, now := c.old[id], c.now(id)
		switch {
		case old == nil:
			continue
		case now == nil:
			if effect := c.effect(old, "", columnChange{shift: Gone}, true); effect.Breaking {
				change.Effect = effect
			}
			continue
		}
		before := len(change.Fields)
		c.judge(old, now, change.Fields)
		c.judgeEdge(old, now, change.Fields)
		for _, p := range c.ports(old, now) {
			for _, d := range diffSchemas(p.before, p.after) {
				field := p.name
				if d.column != "" {
					field = ir.JoinPath(field, d.column)
				} else {
					field += " order"
				}
				if d.property != "" {
					field += "." + d.property
				}
				change.Fields = append(change.Fields, FieldChange{
					Field: field, Before: raw(d.before), After: raw(d.after),
					Effect: c.effect(old, p.port, d, !p.given),
				})
			}
		}
		if change.Change == "" && len(change.Fields) > before {
			change.Change = Follows
			if old.declares() {
				change.Change = Edited
			}
		}
	}
}

// A portPair is the schema of a port in both systems.
type portPair struct {
	name          string // as the user writes it
	port          string
	before, after ir.Schema
	given         bool // the other side provides its values
}

func (c *comparer) ports(old, now *entity) []portPair {
	var out []portPair
	for _, o := range old.Outputs {
		i := slices.IndexFunc(now.Outputs, func(n ir.EntityOutput) bool { return n.Port == o.Port })
		if i < 0 {
			continue // reported with its field
		}
		a, b := old.gives(o), now.gives(now.Outputs[i])
		if a == nil || b == nil || a.Kind != b.Kind {
			continue
		}
		switch a.Kind {
		case ir.Table:
			name := cmp.Or(now.Outputs[i].Schema, o.Schema, "schema")
			out = append(out, portPair{name: name, port: o.Port, before: a.Schema, after: b.Schema})
		case ir.Model:
			if a.Signature == nil || b.Signature == nil {
				continue
			}
			out = append(out, portPair{name: "input", before: a.Signature.Input, after: b.Signature.Input, given: true},
				portPair{name: "output", before: ir.Schema{a.Signature.Output}, after: ir.Schema{b.Signature.Output}})
		case ir.EndpointOf:
			if a.Request == nil || b.Request == nil { // what it accepts is unknown
				continue
			}
			out = append(out, portPair{name: "request", before: a.Request, after: b.Request, given: true},
				portPair{name: "response", before: a.Response, after: b.Response})
		}
	}
	return out
}

// judge finds changed fields, other than columns, on which readers or callers of an
// entity depend.
func (c *comparer) judge(old, now *entity, fields []FieldChange) {
	serves := old.serves()
	for i := range fields {
		f := &fields[i]
		switch name, port := f.Field, strings.Split(f.Field, "."); {
		case serves && (name == now.bound("endpoint.host") || name == now.bound("endpoint.port")):
			f.Effect = c.effect(old, "", columnChange{shift: Other}, true)
		case serves && name == "component" && !now.serves():
			f.Effect = c.effect(old, "", columnChange{shift: Gone}, true)
		case slices.Contains(now.Limits, name):
			more := compareNumbers(json.Number(f.After), json.Number(f.Before)) > 0
			f.Effect = c.effect(old, "", columnChange{shift: shiftOf(more, !more)}, false)
		case len(port) == 3 && port[0] == "outputs" && port[2] == "kind" && f.Before != nil:
			f.Effect = c.effect(old, port[1], columnChange{shift: Gone}, true)
		}
	}
}

// bound returns the field behind a parameter of a unit of the entity, or "".
func (e *entity) bound(param string) string {
	for _, s := range e.Stages {
		if field, ok := s.Fields[param]; ok {
			return field
		}
	}
	return ""
}

func callers(deployment string) []Broken { return []Broken{{Who: "callers of " + deployment}} }

// effect returns the effect of the change of a column or, without a column, of all that a
// port carries. With readers set, it affects those that read the port; otherwise those
// that provide its input.
func (c *comparer) effect(e *entity, port string, d columnChange, readers bool) *Effect {
	out := &Effect{Shift: d.shift}
	if rule := breaks[d.shift]; readers && !rule.readers || !readers && !rule.givers {
		return out
	}
	if e.serves() {
		out.Breaks = callers(e.ID)
	} else {
		out.Breaks = c.broken(e, port, d)
	}
	out.Breaking = len(out.Breaks) > 0
	return out
}

// broken returns the entities that a change breaks or may break.
func (c *comparer) broken(e *entity, port string, d columnChange) []Broken {
	var out []Broken
	// The compiler checks columns and types against their readers.
	proven := d.shift == Gone || d.property == "type"
	for _, id := range c.readersOf(e, port) {
		r, now := c.old[id], c.now(id)
		broken := Broken{Who: id, Now: "unchanged"}
		switch {
		case now == nil && d.column == "":
			continue // removed together with what it reads
		case now == nil:
			broken.Now = "removed"
		case r.serves():
			continue // its callers are reported with the endpoint
		case c.edited[id]:
			broken.Now = "changed"
		case proven && r.compiled(e):
			continue
		}
		if d.column == "" || r.uses(e, d.column, proven) {
			out = append(out, broken)
		}
	}
	if slices.Contains(ends, e.section()) { // its results are used outside the system
		out = append(out, Broken{Who: "readers of " + e.ID})
	}
	return out
}

// readersOf returns the entities of the system before that read a port, or any port if it
// is "".
func (c *comparer) readersOf(e *entity, port string) []string {
	if c.readers == nil {
		c.readers = map[string][]ir.Input{}
		for _, u := range c.before.System.Units {
			for _, in := range u.Inputs {
				// A table that refers to another one breaks on rows, not on columns: the
				// compiler compares those.
				if producer, _ := ir.SplitID(in.Unit); producer != u.Entity && !in.Checked {
					c.readers[producer] = append(c.readers[producer], ir.Input{Unit: u.Entity, From: in.From})
				}
			}
		}
	}
	var out []string
	for _, r := range c.readers[e.ID] {
		if port == "" || r.From == port {
			out = append(out, r.Unit)
		}
	}
	slices.SortFunc(out, inSections)
	return slices.Compact(out)
}

// ends lists the sections whose results leave the system.
var ends = []string{"deployments", "steps"}

// compiled reports whether the compiler knows which columns the entity reads from another
// one.
func (e *entity) compiled(of *entity) bool {
	return !e.bare && !slices.ContainsFunc(e.Inputs, func(in ir.EntityInput) bool {
		return in.Entity == of.ID && in.Kind != ir.Model && in.Columns == nil
	})
}

// uses reports whether an entity may read a column of another one. It does not if its
// columns are known and this is not one of them. A model takes whatever columns there
// are, so a proven change breaks it only where the model names the column.
func (e *entity) uses(of *entity, column string, proven bool) bool {
	if !e.compiled(of) {
		return true
	}
	for _, in := range e.Inputs {
		if in.Entity == of.ID && (in.Kind == ir.Model || slices.Contains(in.Columns, column)) {
			return true
		}
	}
	for _, u := range e.units {
		for _, o := range u.Outputs {
			if s := o.Signature; s != nil && !proven && s.Input.Column(column) != nil {
				return true
			}
		}
	}
	return false
}
