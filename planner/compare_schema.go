package planner

import (
	"cmp"
	"encoding/json"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// An Effect is what the change of a port means to those on its other side.
type Effect struct {
	Shift    Shift    `json:"shift"`
	Breaking bool     `json:"breaking"`
	Breaks   []Broken `json:"breaks,omitempty"` // whom
}

// A Broken is somebody whom a change breaks.
type Broken struct {
	Who string `json:"who"` // "features/spend", "callers of deployments/api"
	// Now is how an entity stands in the system after: "changed", "removed" or,
	// where the compiler cannot tell whether it still works, "unchanged". It is
	// empty for those outside.
	Now string `json:"now,omitempty"`
}

// A Shift is how the values that a port allows have changed.
type Shift string

const (
	Looser      Shift = "looser"       // more values than before
	Tighter     Shift = "tighter"      // fewer
	Other       Shift = "other"        // neither holds the other
	New         Shift = "new"          // a column that may be left out
	NewRequired Shift = "new_required" // a column that may not
	Gone        Shift = "gone"
	Reordered   Shift = "reordered" // columns are found by name
)

// breaks says whom a shift breaks: those who read the values, or those who give
// them.
var breaks = map[Shift]struct{ readers, givers bool }{
	Looser:      {readers: true, givers: false},
	Tighter:     {readers: false, givers: true},
	Other:       {readers: true, givers: true},
	New:         {readers: false, givers: false},
	NewRequired: {readers: false, givers: true},
	Gone:        {readers: true, givers: true},
	Reordered:   {readers: false, givers: false},
}

// A columnChange is one property of one column, or the column itself.
type columnChange struct {
	column, property string // without a property, the column; without a column, all of them
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

// columnOf is a column without its name.
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
	for _, bound := range []struct {
		name          string
		before, after json.Number
		lower         bool
	}{{"min", a.Min, b.Min, true}, {"max", a.Max, b.Max, false}} {
		if order := compareNumbers(bound.before, bound.after); order != 0 || (bound.before == "") != (bound.after == "") {
			looser := bound.after == "" || bound.before != "" && (order > 0) == bound.lower
			add(bound.name, numberOrAbsent(bound.before), numberOrAbsent(bound.after), shiftOf(looser, !looser))
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
	return out
}

// shiftOf tells from whether the new values hold all old ones, and the old all
// new ones.
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

func numberOrAbsent(n json.Number) any {
	if n == "" {
		return absent{}
	}
	return n
}

// compareNumbers compares two numbers as written; 0 if one is none.
func compareNumbers(a, b json.Number) int {
	x, ok := new(big.Rat).SetString(string(a))
	y, okToo := new(big.Rat).SetString(string(b))
	if !ok || !okToo {
		return 0
	}
	return x.Cmp(y)
}

// wider lists, for a type, those that hold each of its values exactly.
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

// contracts adds to the changes what becomes of the ports: tables, the
// signatures of models, endpoints.
func (c *comparer) contracts(changes []EntityChange) {
	c.edited = map[string]bool{}
	for _, change := range changes {
		id := cmp.Or(change.Was, change.Entity)
		if old, now := c.old[id], c.now(id); old != nil && now != nil {
			c.edited[id] = len(change.Fields) > 0 || declares(old) && compact(old.main.Outputs) != compact(now.main.Outputs)
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
		for _, p := range c.ports(old, now) {
			for _, d := range diffSchemas(p.before, p.after) {
				field := p.name
				if d.column != "" {
					field = join(field, d.column)
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
			if declares(old) {
				change.Change = Edited
			}
		}
	}
}

// A portPair is a schema of a port in both systems.
type portPair struct {
	name          string // as the user writes it
	port          string
	before, after ir.Schema
	given         bool // its values come from the other side
}

func (c *comparer) ports(old, now *entity) []portPair {
	switch {
	case declares(old) || old.component() == "serve.batch":
		var out []portPair
		for _, a := range old.main.Outputs {
			for _, b := range now.main.Outputs {
				if a.Port == b.Port && a.Kind == ir.Table && b.Kind == ir.Table {
					name := "schema"
					if old.section() == "steps" {
						name = join("outputs", a.Port) + ".schema"
					}
					out = append(out, portPair{name: name, port: a.Port, before: a.Schema, after: b.Schema})
				}
			}
		}
		return out
	case old.section() == "models":
		a, b := signature(old), signature(now)
		return []portPair{
			{name: "input", before: a.Input, after: b.Input, given: true},
			{name: "output", before: ir.Schema{a.Output}, after: ir.Schema{b.Output}},
		}
	case old.component() == "serve.http" && now.component() == "serve.http":
		a, b := served(old, c.old), served(now, c.new)
		return []portPair{
			{name: "request", before: a.Input, after: b.Input, given: true},
			{name: "response", before: response(a), after: response(b)},
		}
	}
	return nil
}

func signature(e *entity) ir.Signature {
	for _, u := range e.units {
		for _, o := range u.Outputs {
			if o.Signature != nil {
				return *o.Signature
			}
		}
	}
	return ir.Signature{}
}

// served is the signature of the model behind a deployment.
func served(e *entity, all map[string]*entity) ir.Signature {
	for _, in := range e.main.Inputs {
		if model, _ := ir.SplitID(in.Unit); in.Kind == ir.Model && all[model] != nil {
			return signature(all[model])
		}
	}
	return ir.Signature{}
}

// response is what an endpoint answers for one row.
func response(s ir.Signature) ir.Schema {
	prediction := s.Output
	prediction.Name = "prediction"
	out := ir.Schema{prediction}
	if s.Task == "classification" {
		out = append(out, ir.Column{Name: "probability", Type: "float64", Nullable: true, Min: "0", Max: "1"})
	}
	return out
}

// judge finds the fields that those who read from an entity, or call it, depend
// on besides columns.
func (c *comparer) judge(old, now *entity, fields []FieldChange) {
	serves := old.component() == "serve.http"
	for i := range fields {
		f := &fields[i]
		switch name, port := f.Field, strings.Split(f.Field, "."); {
		case serves && (name == "host" || name == "port"):
			f.Effect = c.effect(old, "", columnChange{shift: Other}, true)
		case serves && name == "component":
			f.Effect = c.effect(old, "", columnChange{shift: Gone}, true)
		case serves && name == "max_instances":
			more := compareNumbers(json.Number(f.After), json.Number(f.Before)) > 0
			f.Effect = c.effect(old, "", columnChange{shift: shiftOf(more, !more)}, false)
		case len(port) == 3 && port[0] == "outputs" && port[2] == "kind" && f.Before != nil:
			f.Effect = c.effect(old, port[1], columnChange{shift: Gone}, true)
		}
	}
}

func callers(deployment string) []Broken { return []Broken{{Who: "callers of " + deployment}} }

// effect judges a change of a column or, without one, of all that a port gives.
// Readers take what comes out of the port; the others give what goes into it.
func (c *comparer) effect(e *entity, port string, d columnChange, readers bool) *Effect {
	out := &Effect{Shift: d.shift}
	if rule := breaks[d.shift]; readers && !rule.readers || !readers && !rule.givers {
		return out
	}
	if e.component() == "serve.http" {
		out.Breaks = callers(e.id)
	} else {
		out.Breaks = c.broken(e, port, d)
	}
	out.Breaking = len(out.Breaks) > 0
	return out
}

// broken are the entities that a change breaks or may break.
func (c *comparer) broken(e *entity, port string, d columnChange) []Broken {
	var out []Broken
	// The compiler holds columns and types against what reads them.
	proven := d.shift == Gone || d.property == "type"
	for _, id := range c.readersOf(e, port) {
		r, now := c.old[id], c.now(id)
		broken := Broken{Who: id, Now: "unchanged"}
		switch {
		case now == nil && d.column == "":
			continue // it goes with what it reads
		case now == nil:
			broken.Now = "removed"
		case r.component() == "serve.http":
			continue // its callers are told of at the endpoint
		case c.edited[id]:
			broken.Now = "changed"
		case proven && r.compiled():
			continue
		}
		if d.column == "" || r.uses(d.column, proven) {
			out = append(out, broken)
		}
	}
	if e.section() == "steps" || e.component() == "serve.batch" { // made to be taken elsewhere
		out = append(out, Broken{Who: "readers of " + e.id})
	}
	return out
}

// readersOf are the entities of the system before that read a port, or any port
// if it is "".
func (c *comparer) readersOf(e *entity, port string) []string {
	if c.readers == nil {
		c.readers = map[string][]ir.Input{}
		for _, u := range c.before.System.Units {
			for _, in := range u.Inputs {
				if producer, _ := ir.SplitID(in.Unit); producer != u.Entity {
					c.readers[producer] = append(c.readers[producer], ir.Input{Unit: u.Entity, From: in.From})
				}
			}
		}
	}
	var out []string
	for _, r := range c.readers[e.id] {
		if port == "" || r.From == port {
			out = append(out, r.Unit)
		}
	}
	slices.SortFunc(out, inSections)
	return slices.Compact(out)
}

// compiled reports whether the compiler knows which columns the entity reads.
func (e *entity) compiled() bool {
	return e.component() == "feature.sql" || e.section() == "models" || e.section() == "deployments"
}

// uses reports whether an entity may read the column: it does not if it says
// which ones it reads, and this is not among them. A model takes the columns that
// there are; what is proven breaks it only where it names one.
func (e *entity) uses(column string, proven bool) bool {
	word := regexp.MustCompile(`(?i)(^|\W)` + regexp.QuoteMeta(column) + `($|\W)`)
	switch {
	case e.component() == "feature.sql":
		params, _ := parse(e.main.Params).(map[string]any)
		sql, _ := params["sql"].(string)
		return word.MatchString(sql) || strings.Contains(sql, "*")
	case e.section() == "models":
		s := signature(e)
		named := slices.ContainsFunc(e.units, func(u ir.Unit) bool { return word.Match(u.Params) })
		return named || s.Output.Name == column || !proven && s.Input.Column(column) != nil
	}
	return true
}
