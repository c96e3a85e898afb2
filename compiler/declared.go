package compiler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// declared returns the entities as the user declared them. It omits targets: the system
// has the selected one.
func (c *lowerer) declared(units []ir.Unit) []ir.Entity {
	params := map[string]json.RawMessage{}
	for _, u := range units {
		params[u.ID] = u.Params
	}
	var all []ir.Entity
	for _, id := range c.order {
		if e := c.entities[id]; e.section != "targets" && !c.broken[id] {
			all = append(all, c.declare(e, params))
		}
	}
	slices.SortFunc(all, func(a, b ir.Entity) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func (c *lowerer) declare(e *entity, params map[string]json.RawMessage) ir.Entity {
	d := ir.Entity{ID: e.id(), Component: e.component.name, Pos: c.posOf(e.path()...), Limits: e.component.Limits, Known: c.known[e.id()], Trusted: c.trusted[e.id()], Warnings: c.warnings[e.id()], Query: e.component.SQL}
	if k := e.component.Edge; k != nil {
		d.Edge = &k.EdgeFields
	}
	fields := e.fields.without("name").without("component")
	places := map[string]string{}
	for _, port := range e.outNames {
		o := ir.EntityOutput{Port: port, Unit: e.component.unit(e.id(), port)}
		if path := e.declares(port); path != nil {
			for _, name := range path {
				o.Schema = ir.JoinPath(o.Schema, name)
			}
			fields = fields.withoutAt(path)
			c.places(places, e, o.Schema, path, columnsAsFields(e.outs[port].schema))
		}
		d.Outputs = append(d.Outputs, o)
	}
	c.places(places, e, "", nil, fields)
	d.Places = ir.PlacesOf(places)
	if len(fields) > 0 {
		d.Fields = fields.json()
	}
	for _, p := range e.ports {
		d.Inputs = append(d.Inputs, declareInput(e, p))
	}
	for _, r := range e.references {
		field := ""
		for _, name := range r.field("table") {
			field = ir.JoinPath(field, name)
		}
		d.Inputs = append(d.Inputs, ir.EntityInput{Field: field, Entity: r.from, Out: outOf(r.port), Kind: ir.Table, Columns: r.keys})
	}
	for i := range e.component.stages {
		if s := &e.component.stages[i]; s.If == "" || present(e.fields, s.If) {
			d.Stages = append(d.Stages, c.declareStage(e, s, params))
			if s.Expands != nil {
				d.Stages = append(d.Stages, c.declareChildren(e, s, params)...)
			}
		}
	}
	return d
}

// declareChildren returns the stages of the units of an expansion: the parameters of trials are
// fields of the unit that they try, and those of what chooses are fields of the expansion.
func (c *lowerer) declareChildren(e *entity, s *stage, params map[string]json.RawMessage) (all []ir.Stage) {
	tried := c.declareStage(e, e.component.stage(s.Expands.Stage), params).Fields
	chosen := c.declareStage(e, s, params).Fields
	of := e.id() + "/" + s.name + "/"
	for _, id := range slices.Sorted(maps.Keys(params)) {
		if name, child := strings.CutPrefix(id, of); child {
			fields := tried
			if strings.HasPrefix(name, askPrefix) {
				fields = chosen
			}
			all = append(all, ir.Stage{Unit: id, Fields: fields})
		}
	}
	return all
}

func (c *program) posOf(path ...string) ir.Pos {
	at := c.sys.Label("", path...)
	return ir.Pos{File: at.File, Line: at.Line, Col: at.Col}
}

// declares returns the path of the field in which the user declares the columns of an
// output table of the entity, or nil if they follow from its inputs.
func (e *entity) declares(port string) []string {
	if e.outs[port].kind != ir.Table {
		return nil
	}
	outputs, _ := e.fields.get("outputs").(object)
	output, _ := outputs.get(port).(object)
	switch {
	case output.has("schema"):
		return []string{"outputs", port, "schema"}
	case e.hasSchema:
		return []string{"schema"}
	}
	return nil
}

// withoutAt returns the object without the field at a path.
func (o object) withoutAt(path []string) object {
	if len(path) == 1 {
		return o.without(path[0])
	}
	o = slices.Clone(o)
	for i, f := range o {
		if sub, ok := f.value.(object); ok && f.name == path[0] {
			o[i].value = sub.withoutAt(path[1:])
		}
	}
	return o
}

func columnsAsFields(s ir.Schema) object {
	o := make(object, len(s))
	for i, c := range s {
		o[i].name = c.Name
	}
	return o
}

// places adds where the fields of a part of an entity are written.
func (c *lowerer) places(all map[string]string, e *entity, path string, raw []string, fields object) {
	for _, f := range fields {
		at := append(slices.Clip(raw), f.name)
		key := ir.JoinPath(path, f.name)
		if c.sys.Written(e.path(at...)...) {
			all[key] = c.posOf(e.path(at...)...).String()
		}
		if sub, ok := f.value.(object); ok {
			c.places(all, e, key, at, sub)
		}
	}
}

func declareInput(e *entity, p port) ir.EntityInput {
	in := ir.EntityInput{Entity: p.from, Out: outOf(p), Kind: p.out.kind}
	for _, name := range e.inputField(p.name) {
		in.Field = ir.JoinPath(in.Field, name)
	}
	if p.out.kind == ir.Table {
		in.Columns = e.columnsOf(p)
	}
	return in
}

// outOf returns how the source refers to the output behind a port.
func outOf(p port) string {
	if !p.out.entity.single {
		return ir.JoinPath("out", p.port)
	}
	return "out"
}

// columnsOf returns the columns of an input that the entity names, or nil if the compiler
// does not know which ones it reads.
func (e *entity) columnsOf(p port) []string {
	var text []byte
	switch k := e.component; {
	case k.SQL != "":
		text = []byte(e.string(k.SQL))
	case k.Predicts != nil:
		if model := e.input(k.Predicts.Model); model != nil {
			read := model.out.signature.Input
			return namesOf(p.out.schema, func(c ir.Column) bool {
				return read.Column(c.Name) != nil || slices.Contains(p.out.keys, c.Name) || c.Name == p.out.timestamp
			})
		}
		return nil
	case slices.ContainsFunc(e.outNames, func(port string) bool { return e.outs[port].kind == ir.Model }):
		text = e.fields.json() // a model also reads the columns of its signature
	default:
		return nil
	}
	if e.component.SQL != "" && bytes.IndexByte(text, '*') >= 0 {
		return namesOf(p.out.schema, func(ir.Column) bool { return true })
	}
	text = bytes.ToLower(text)
	words := map[string]bool{}
	for _, w := range word.FindAll(text, -1) {
		words[string(w)] = true
	}
	return namesOf(p.out.schema, func(c ir.Column) bool {
		name := strings.ToLower(c.Name)
		return words[name] || word.FindString(name) != name && bytes.Contains(text, []byte(name))
	})
}

var word = regexp.MustCompile(`[0-9A-Za-z_]+`)

func namesOf(s ir.Schema, which func(ir.Column) bool) []string {
	names := []string{}
	for _, c := range s {
		if which(c) {
			names = append(names, c.Name)
		}
	}
	return names
}

// declareStage returns the fields behind the parameters of a stage. params are those of
// all units.
func (c *lowerer) declareStage(e *entity, s *stage, params map[string]json.RawMessage) ir.Stage {
	d := ir.Stage{Unit: e.id(), Fields: map[string]string{}}
	if s.name != "" {
		d.Unit += "/" + s.name
	}
	w, err := c.work(e, s)
	if err != nil {
		c.internal(err)
		return d
	}
	prefix := s.Part
	if prefix == "" {
		prefix = s.Of
	}
	bound := map[string]bool{}
	bind := func(param, field string) {
		bound[param] = true
		if prefix != "" {
			field = prefix + "." + field
		}
		if param != field {
			d.Fields[param] = field
		}
	}
	for _, f := range w.run.Params {
		bind(lastOf(f), f)
	}
	if w.run.Document != "" {
		o, _ := w.fields.at(w.run.Document).(object)
		for _, f := range o {
			bind(f.name, ir.JoinPath(w.run.Document, f.name))
		}
	}
	var made map[string]json.RawMessage
	if raw := params[d.Unit]; raw != nil {
		if err := json.Unmarshal(raw, &made); err != nil {
			c.internal(fmt.Errorf("parameters of %s: %w", d.Unit, err))
		}
	}
	for param := range made {
		if !bound[param] {
			d.Fields[param] = ""
		}
	}
	if s.Endpoint != nil {
		d.Fields["endpoint.host"], d.Fields["endpoint.port"] = s.Endpoint.Host, s.Endpoint.Port
	}
	return d
}
