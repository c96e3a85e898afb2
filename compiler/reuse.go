package compiler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
)

// A Decoded is an entity as the decoder has left it: as plain data, with its ports bound.
// A later compilation starts from it if the entity is not evaluated again.
type Decoded struct {
	Component      string
	Fields         string // JSON, with the fields in order
	Ports          []DecodedPort
	References     []DecodedReference
	Outs           []DecodedOut
	Schema, Single bool // see entity
	On             bool
}

// A DecodedPort is an input of an entity.
type DecodedPort struct {
	Name       string
	Kind       ir.PortKind
	From, Port string
}

// A DecodedReference is a foreign key of an entity.
type DecodedReference struct {
	To            DecodedPort
	Of            string // the port of the table that refers
	Path          []string
	Columns, Keys []string
}

// A DecodedOut is an output of an entity.
type DecodedOut struct {
	Kind              ir.PortKind
	Port              string
	Schema            ir.Schema
	Keys              []string
	Timestamp         string
	Signature         *ir.Signature
	Request, Response ir.Schema
}

// decodedAll returns the entities for a later compilation, or nil if one has data that does
// not come back as it is.
func (c *program) decodedAll() map[string]Decoded {
	all := make(map[string]Decoded, len(c.entities))
	for id, e := range c.entities {
		d := Decoded{Component: e.component.name, Schema: e.hasSchema, Single: e.single, On: e.hasOn}
		var b bytes.Buffer
		if writeOrdered(&b, e.fields) != nil {
			return nil
		}
		d.Fields = b.String()
		for _, p := range e.ports {
			d.Ports = append(d.Ports, decodedPort(p))
		}
		for _, r := range e.references {
			d.References = append(d.References, DecodedReference{decodedPort(r.port), r.of.port, r.path, r.columns, r.keys})
		}
		for _, name := range e.outNames {
			o := e.outs[name]
			d.Outs = append(d.Outs, DecodedOut{o.kind, o.port, o.schema, o.keys, o.timestamp, o.signature, o.request, o.response})
		}
		all[id] = d
	}
	return all
}

func decodedPort(p port) DecodedPort { return DecodedPort{p.name, p.kind, p.from, p.port} }

// restore makes an entity of what an earlier compilation has decoded.
func (c *decoder) restore(e *entity) bool {
	d, ok := c.options.Before[e.id()]
	if !ok {
		c.cannotReuse(e)
		return false
	}
	if !c.componentOf(e, d.Component) {
		return false
	}
	fields, err := readOrdered(d.Fields)
	if err != nil {
		c.internal(fmt.Errorf("%s: %w", e, err))
		return false
	}
	e.fields, e.hasSchema, e.single, e.hasOn = fields, d.Schema, d.Single, d.On
	for _, o := range d.Outs {
		e.outs[o.Port] = &out{
			entity: e, kind: o.Kind, port: o.Port, schema: o.Schema, keys: o.Keys, timestamp: o.Timestamp,
			signature: o.Signature, request: o.Request, response: o.Response,
		}
		e.outNames = append(e.outNames, o.Port)
	}
	return true
}

// rebind binds the ports of a restored entity as they were.
func (c *decoder) rebind(e *entity) {
	d := c.options.Before[e.id()]
	bind := func(p DecodedPort) port {
		b := port{name: p.Name, kind: p.Kind, from: p.From, port: p.Port}
		if from := c.entities[p.From]; from != nil {
			b.out = from.outs[p.Port]
		}
		if b.out == nil {
			c.cannotReuse(e)
		}
		return b
	}
	for _, p := range d.Ports {
		e.ports = append(e.ports, bind(p))
	}
	for _, r := range d.References {
		e.references = append(e.references, reference{bind(r.To), e.outs[r.Of], r.Path, r.Columns, r.Keys})
	}
}

// cannotReuse fails the compilation, which is then repeated without what was kept.
func (c *decoder) cannotReuse(e *entity) {
	c.fail(e, diag.Diagnostic{Message: fmt.Sprintf("what was kept of %s cannot be used", e), Spans: []diag.Span{c.sys.Label("", e.path()...)}})
}

// writeOrdered writes plain data as JSON, with the fields of objects in their order.
func writeOrdered(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case object:
		b.WriteByte('{')
		for i, f := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeOrdered(b, f.name); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := writeOrdered(b, f.value); err != nil {
				return err
			}
		}
		b.WriteByte('}')
		return nil
	case []any:
		b.WriteByte('[')
		for i, x := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := writeOrdered(b, x); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	case string:
		if !utf8.ValidString(v) {
			return fmt.Errorf("%q is not text", v)
		}
	}
	j, err := json.Marshal(v)
	b.Write(j)
	return err
}

// readOrdered is the inverse of writeOrdered for an object.
func readOrdered(text string) (object, error) {
	in := json.NewDecoder(bytes.NewReader([]byte(text)))
	in.UseNumber()
	v, err := readNext(in)
	if err != nil {
		return nil, err
	}
	if _, err := in.Token(); err != io.EOF { //nolint:errorlint // it is returned bare
		return nil, fmt.Errorf("there is more after the fields")
	}
	o, ok := v.(object)
	if !ok {
		return nil, fmt.Errorf("the fields are a %T", v)
	}
	return o, nil
}

func readNext(in *json.Decoder) (any, error) {
	t, err := in.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		var o object
		for in.More() {
			name, err := in.Token()
			if err != nil {
				return nil, err
			}
			v, err := readNext(in)
			if err != nil {
				return nil, err
			}
			o = append(o, field{name.(string), v})
		}
		_, err := in.Token()
		return o, err
	case json.Delim('['):
		list := []any{}
		for in.More() {
			v, err := readNext(in)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := in.Token()
		return list, err
	}
	return t, nil
}
