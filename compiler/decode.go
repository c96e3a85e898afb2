package compiler

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/lang"
)

// An entity is one entry of a section, as plain data.
type entity struct {
	section, name string
	component     *component
	value         cue.Value
	fields        object          // without its ports and its schema
	ports         []port          // its inputs, in order
	references    []reference     // of its tables, in order
	outs          map[string]*out // its outputs by port
	outNames      []string        // the ports of outs, in source order
	hasSchema     bool            // it has a field schema
	hasOn         bool            // it has an input named on
	single        bool            // its field out is its output; otherwise it contains them
	typing        *typing         // of its query, if any
	bound         *boundQuery     // the plan of its query, if a deployment computes it
	rows          *rowFunction    // that computes its rows one by one, see checkRowFunctions
	private       []string        // columns of a deployment that no log shows, see checkPrivate
	contract      *contract       // of a deployment that computes features, see checkRequests
	monitor       *ir.Monitor     // see checkMonitors
	loop          *ir.Loop        // see checkLoops
}

func (e *entity) id() string                { return e.section + "/" + e.name }
func (e *entity) String() string            { return e.section + "." + e.name }
func (e *entity) path(p ...string) []string { return append([]string{e.section, e.name}, p...) }
func (e *entity) string(name string) string { s, _ := e.fields.get(name).(string); return s }
func (e *entity) int(name string) int64 {
	n, _ := e.fields.get(name).(json.Number)
	i, _ := n.Int64()
	return i
}

// outOrder returns the position of an output among those of the entity.
func (e *entity) outOrder(port string) int { return slices.Index(e.outNames, port) }

// A port is one input of an entity, bound to an output of another.
type port struct {
	name string
	kind ir.PortKind
	from string // "sources/flights"
	port string
	out  *out // the output it is bound to; nil if that does not exist
}

// A reference is a foreign key of a table of an entity.
type reference struct {
	port                   // the table that has the values; its name is that of the field
	of            *out     // the table that refers to it
	path          []string // of the field, within the entity
	columns, keys []string // in the same order
}

// An out is the output of an entity at one port.
type out struct {
	kind      ir.PortKind
	entity    *entity
	value     cue.Value
	port      string
	schema    ir.Schema
	keys      []string
	timestamp string
	signature *ir.Signature
	request   ir.Schema
	response  ir.Schema
}

// An object is a CUE struct with its fields in order.
type object []field

type field struct {
	name  string
	value any // nil, bool, string, json.Number, []any or object
}

func (o object) get(name string) any {
	for _, f := range o {
		if f.name == name {
			return f.value
		}
	}
	return nil
}

func (o object) has(name string) bool {
	for _, f := range o {
		if f.name == name {
			return true
		}
	}
	return false
}

// at returns the value at a path such as "evaluation.gates", or nil.
func (o object) at(path string) any {
	v, _ := o.find(path)
	return v
}

func (o object) find(path string) (any, bool) {
	first, rest, nested := strings.Cut(path, ".")
	if !nested {
		return o.get(path), o.has(path)
	}
	sub, _ := o.get(first).(object)
	return sub.find(rest)
}

func (o object) without(name string) object {
	return slices.DeleteFunc(slices.Clone(o), func(f field) bool { return f.name == name })
}

// present reports whether there is anything at a path, in which "*" matches any name: an
// empty struct counts as nothing.
func present(o object, path string) bool {
	first, rest, nested := strings.Cut(path, ".")
	for _, f := range o {
		if first != "*" && f.name != first {
			continue
		}
		sub, isStruct := f.value.(object)
		if nested && present(sub, rest) || !nested && (!isStruct || len(sub) > 0) {
			return true
		}
	}
	return false
}

func stringOf(v any) string { s, _ := v.(string); return s }

// cutPath cuts off the last part of a path: "in.table" gives "in" and "table".
func cutPath(path string) (before, last string) {
	i := strings.LastIndex(path, ".")
	return path[:max(i, 0)], path[i+1:]
}

func lastOf(path string) string { _, last := cutPath(path); return last }

func (o object) names() []string {
	names := make([]string, len(o))
	for i, f := range o {
		names[i] = f.name
	}
	return names
}

// only returns those of the named fields that exist.
func (o object) only(names ...string) object {
	var out object
	for _, n := range names {
		if o.has(n) {
			out = append(out, field{n, o.get(n)})
		}
	}
	return out
}

func (o object) with(name string, value any) object { return append(o, field{name, value}) }

// plain converts the object to what encoding/json prints with sorted keys.
func plain(v any) any {
	switch v := v.(type) {
	case object:
		m := make(map[string]any, len(v))
		for _, f := range v {
			m[f.name] = plain(f.value)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i := range v {
			l[i] = plain(v[i])
		}
		return l
	}
	return v
}

func (o object) json() json.RawMessage {
	b, err := json.Marshal(plain(o))
	if err != nil {
		panic(fmt.Sprintf("compiler: plain data does not marshal: %v", err))
	}
	return b
}

// decode decodes a concrete value, without some of its fields.
func decode(v cue.Value, without ...string) (any, error) {
	if d, ok := v.Default(); ok {
		v = d
	}
	switch v.Kind() {
	case cue.NullKind:
		return nil, nil
	case cue.BoolKind:
		return v.Bool()
	case cue.StringKind:
		return v.String()
	case cue.BytesKind:
		b, err := v.Bytes()
		return string(b), err
	case cue.IntKind:
		i, err := v.Int(nil)
		if err != nil {
			return nil, err
		}
		return json.Number(i.String()), nil
	case cue.FloatKind, cue.NumberKind:
		f, err := v.Float64()
		if err != nil || math.IsInf(f, 0) {
			return nil, &numberError{v}
		}
		return json.Number(formatFloat(f)), nil
	case cue.ListKind:
		it, err := v.List()
		if err != nil {
			return nil, err
		}
		list := []any{}
		for it.Next() {
			x, err := decode(it.Value())
			if err != nil {
				return nil, err
			}
			list = append(list, x)
		}
		return list, nil
	case cue.StructKind:
		it, err := v.Fields()
		if err != nil {
			return nil, err
		}
		var o object
		for it.Next() {
			name := it.Selector().Unquoted()
			if slices.Contains(without, name) {
				continue
			}
			x, err := decode(it.Value())
			if err != nil {
				return nil, err
			}
			o = append(o, field{name, x})
		}
		return o, nil
	}
	if err := v.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%s is not concrete", v.Path())
}

// at returns a field of a struct.
func at(v cue.Value, name string) cue.Value { return v.LookupPath(cue.MakePath(cue.Str(name))) }

// stringAt returns the text of a field, or "".
func stringAt(v cue.Value, name string) string {
	s, _ := at(v, name).String()
	return s
}

// A numberError means that a number cannot be passed to programs exactly.
type numberError struct{ value cue.Value }

func (e *numberError) Error() string { return "a number too large for a float64" }

// formatFloat formats a number in the same way for every spelling, and distinguishes it
// from an integer: 1.0, 1.00 and 1e0 are "1.0".
func formatFloat(f float64) string {
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// decodeAll decodes every entity that CUE finds sound, then binds their ports.
func (c *decoder) decodeAll() {
	for _, section := range lang.Sections {
		for _, name := range c.sys.EntityNames(section) {
			c.decodeEntity(section, name)
		}
	}
	for _, id := range c.order {
		e := c.entities[id]
		if c.sys.Reused(e.section, e.name) {
			c.rebind(e)
		} else {
			c.bind(e)
		}
	}
}

func (c *decoder) decodeEntity(section, name string) {
	v := c.sys.Lookup(section, name)
	e := &entity{section: section, name: name, value: v, outs: map[string]*out{}}
	if c.sys.Reused(section, name) {
		if c.restore(e) {
			c.entities[e.id()] = e
			c.order = append(c.order, e.id())
		}
		return
	}
	if !c.sys.Valid() && v.Validate(cue.Concrete(true), cue.Final()) != nil {
		c.broken[e.id()] = true // reported by Faults
		return
	}
	if !c.componentOf(e, stringAt(v, "component")) {
		return
	}
	e.hasSchema, e.hasOn, e.single = at(v, "schema").Exists(), at(at(v, "in"), "on").Exists(), stringAt(at(v, "out"), "kind") != ""
	if !goodName(name) {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%q is not a valid name of an entity", name),
			Spans:   []diag.Span{c.sys.Label("", section, name)},
			Wanted:  `letters, digits, "-", "_" and ".", with a letter or digit first, at most 100`,
		})
		return
	}
	// What is read in another way: its ports, by identity, and the schema, which is in its outputs.
	tree, err := decode(v, append(lang.BarePorts(section), "in", "out", "schema")...)
	if err == nil {
		if err = c.decodeOut(e, at(v, "out")); err != nil {
			// Its outputs are computed from the schema, which has the place.
			if _, cause := decode(at(v, "schema")); cause != nil {
				err = cause
			}
		}
	}
	if beyond := (*numberError)(nil); errors.As(err, &beyond) {
		c.tooLarge(e, c.sys.Pos(beyond.value.Pos()), "a number that fits a float64, at most about 1.8e308")
		return
	}
	if err != nil {
		c.broken[e.id()] = true
		if c.err == nil {
			c.err = fmt.Errorf("compile %s: %w", e, err)
		}
		return
	}
	// The name of an entity is enough for an input that is deeper: bind reads it.
	tree = e.nested(tree, func(_ []string, v any) any { o, _ := v.(object); return o.get("from") })
	e.fields, _ = tree.(object)
	for _, path := range e.referencePaths() {
		e.fields = e.fields.withoutAt(append(path, "table"))
	}
	if !c.checkBound(e) {
		return
	}
	c.entities[e.id()] = e
	c.order = append(c.order, e.id())
}

func goodName(s string) bool {
	for i, r := range s {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alnum && (i == 0 || r != '-' && r != '_' && r != '.') {
			return false
		}
	}
	return s != "" && len(s) <= 100
}

func (c *decoder) decodeOut(e *entity, v cue.Value) error {
	if !v.Exists() {
		return nil
	}
	if e.single {
		return decodePort(e, v)
	}
	it, err := v.Fields() // a step has several
	if err != nil {
		return err
	}
	for it.Next() {
		if err := decodePort(e, it.Value()); err != nil {
			return err
		}
	}
	return nil
}

func decodePort(e *entity, v cue.Value) error {
	x := &out{
		entity: e, value: v,
		kind: ir.PortKind(stringAt(v, "kind")), port: stringAt(v, "port"), timestamp: stringAt(v, "timestamp"),
	}
	if err := at(v, "keys").Decode(&x.keys); err != nil && at(v, "keys").Exists() {
		return err
	}
	var err error
	if x.schema, err = columns(at(v, "schema")); err != nil {
		return err
	}
	if x.request, err = columns(at(v, "request")); err != nil {
		return err
	}
	if x.response, err = columns(at(v, "response")); err != nil {
		return err
	}
	if x.kind == ir.Model {
		x.signature = &ir.Signature{Task: stringAt(v, "task")}
		if x.signature.Input, err = columns(at(v, "input")); err != nil {
			return err
		}
		if o := at(v, "output"); o.Exists() {
			if x.signature.Output, err = column(stringAt(o, "name"), o); err != nil {
				return err
			}
		}
	}
	e.outs[x.port] = x
	e.outNames = append(e.outNames, x.port)
	return nil
}

// bind reads the identities under "in", in fields that are ports, and those that references name,
// and finds their outputs.
func (c *decoder) bind(e *entity) {
	for _, name := range lang.BarePorts(e.section) {
		if v := at(e.value, name); v.Exists() {
			c.bindInput(e, name, v, e.path(name))
		}
	}
	if it, err := at(e.value, "in").Fields(); err == nil {
		for it.Next() {
			name := it.Selector().Unquoted()
			c.bindInput(e, name, it.Value(), e.path("in", name))
		}
	}
	e.nested(e.fields, func(path []string, name any) any {
		v := e.value
		for _, name := range path {
			v = item(v, name)
		}
		c.bindInput(e, strings.Join(path, "."), v, e.path(path...))
		return name
	})
	for _, path := range e.referencePaths() {
		c.bindReference(e, path)
	}
}

func (c *decoder) bindInput(e *entity, name string, v cue.Value, path []string) {
	if p, ok := c.bindPort(e, name, v, path); ok {
		e.ports = append(e.ports, p)
	}
}

// bindPort finds the output behind an identity, or reports why there is none.
func (c *decoder) bindPort(e *entity, name string, v cue.Value, path []string) (p port, ok bool) {
	p = port{name: name, kind: ir.PortKind(stringAt(v, "kind")), from: stringAt(v, "from"), port: stringAt(v, "port")}
	producer := c.entities[p.from]
	if producer != nil {
		p.out = producer.outs[p.port]
	}
	if p.out == nil && c.broken[p.from] {
		c.broken[e.id()] = true // the fault of its producer is reported
		return p, false
	}
	if p.out != nil && at(v, "schema").Equals(at(p.out.value, "schema")) {
		return p, true
	}
	if ref, at := c.sys.Reference(path...); p.out != nil && ref != nil {
		if extra := c.added(v, p.out); extra != "" {
			at.Label = "read here"
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s adds a column %q to the output of %s", strings.Join(path, "."), extra, producer),
				Spans:   []diag.Span{c.sys.Label("", append(path, "schema", extra)...), at},
				Hint:    fmt.Sprintf("write a requirement with an exclamation mark: `schema: %s!: {type!: ...}`", extra),
			})
			return p, false
		}
	}
	if p.out == nil || !c.sameAs(v, p.out) {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s is not a reference but a literal, %q", strings.Join(path, "."), p.from),
			Wanted:  "a reference to the output of another entity",
			Found:   "a literal",
			Spans:   []diag.Span{c.sys.At("", path...)},
			Hint:    c.literalHint(p),
		})
		return p, false
	}
	return p, true
}

func (c *decoder) literalHint(p port) string {
	if c.entities[p.from] != nil {
		return fmt.Sprintf("write %s.out", strings.ReplaceAll(p.from, "/", "."))
	}
	var ids []string
	for _, id := range c.order {
		for _, o := range c.entities[id].outs {
			if o.kind == p.kind {
				ids = append(ids, strings.ReplaceAll(id, "/", ".")+".out")
			}
		}
	}
	if near := diag.Nearest(strings.ReplaceAll(p.from, "/", ".")+".out", ids); near != "" {
		return "write " + near
	}
	if len(ids) > 0 {
		return "refer to an entity, such as " + ids[0]
	}
	return "refer to an entity by its name, such as sources.NAME.out"
}

// added returns a column of a bound value that its producer does not have, or "".
func (c *decoder) added(v cue.Value, o *out) string {
	it, err := at(v, "schema").Fields()
	if err != nil {
		return ""
	}
	for it.Next() {
		if name := it.Selector().Unquoted(); o.schema.Column(name) == nil {
			return name
		}
	}
	return ""
}

// sameAs reports whether a bound value is the producer's output. It is not if the user
// copied the identity and wrote another schema.
func (c *decoder) sameAs(v cue.Value, o *out) bool {
	it, err := at(v, "schema").Fields()
	if err != nil {
		return o.kind != ir.Table
	}
	n := 0
	for it.Next() {
		col := o.schema.Column(it.Selector().Unquoted())
		if col == nil || col.Type != stringAt(it.Value(), "type") {
			return false
		}
		n++
	}
	return n == len(o.schema)
}
