package request

import (
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// An Infer is a request of the Open Inference Protocol without its tensors.
type Infer struct {
	Model, Version string // empty if it does not say
	ID             string
	Outputs        []Output // empty if it wants those that there are by default
	Binary         bool     // outputs are bytes after the JSON, unless they say otherwise
}

// An Output is an output that a request asks for.
type Output struct {
	Name   string
	Binary bool
}

// Decode reads a body into rows: JSON, and after it the bytes of the tensors that the JSON
// says have some. Values are read by the rules of [Decoder.Decode], so that null, too, is a
// value, and NaN is one where it is a missing value.
func (t *Tensors) Decode(text, after []byte, rows *Rows) (Infer, []Error) {
	s := &scanner{b: text, rows: rows}
	d := &inferDecoder{scanner: s, filling: t.Fill(rows), after: after}
	if !utf8.Valid(text) {
		s.fail("the JSON is not valid UTF-8")
	} else {
		d.document()
	}
	if s.broken {
		return d.infer, s.errors
	}
	errs := append(s.outer, d.filling.End()...)
	if len(errs) == 0 && len(d.after) > 0 {
		errs = []Error{{"value_error", []any{"body"}, "there are bytes that belong to no tensor"}}
	}
	return d.infer, errs[:min(len(errs), MostErrors)]
}

// An inferDecoder reads a request from left to right. A tensor's values are read when the rest
// of it is known.
type inferDecoder struct {
	*scanner
	filling *Filling
	after   []byte
	infer   Infer
}

// mostNames is how many fields an object may have that are skipped, and how many outputs a
// request may ask for.
const mostNames = 1000

// What objects of a request are, for messages.
const (
	wantedTensor  = `{"name": ..., "shape": [1], "datatype": ..., "data": [...]}`
	wantedRequest = `a request of the Open Inference Protocol, such as {"inputs": [` + wantedTensor + `]}`
	wantedInput   = "a tensor, such as " + wantedTensor
	wantedOutput  = `an output, such as {"name": "prediction"}`
)

// object reads an object, with a function for each field. The function reads the value and
// returns false to end. wanted says what the object is.
func (d *inferDecoder) object(wanted string, field func(name string) bool) bool {
	if !d.take('{') {
		d.fail("wanted " + wanted)
		return false
	}
	seen := map[string]bool{}
	for first := true; !d.take('}'); first = false {
		if !first && !d.expect(',') {
			return false
		}
		b, ok := d.name()
		if !ok {
			return false
		}
		name := string(b)
		if seen[name] {
			d.fail(twice)
			return false
		}
		if seen[name] = true; len(seen) > mostNames {
			d.fail("an object has too many fields")
			return false
		}
		if d.space(); !field(name) {
			return false
		}
	}
	return true
}

// list reads a list, with a function for each item.
func (d *inferDecoder) list(item func() bool) bool {
	if !d.take('[') {
		d.fail("wanted a list")
		return false
	}
	for first := true; !d.take(']'); first = false {
		if !first && !d.expect(',') {
			return false
		}
		if d.space(); !item() {
			return false
		}
	}
	return true
}

// unknown skips a field that the protocol does not have.
func (d *inferDecoder) unknown(where ...any) bool {
	if len(d.outer) < MostErrors {
		d.outer = append(d.outer, Extra.At(where...))
	}
	return d.skip()
}

func (d *inferDecoder) string(to *string) bool {
	b, ok := d.text()
	if !ok {
		d.fail("wanted a string")
		return false
	}
	*to = string(b)
	return true
}

func (d *inferDecoder) document() {
	ok := d.object(wantedRequest, func(name string) bool {
		if name != "inputs" && d.literal("null") {
			return true
		}
		switch name {
		case "id":
			return d.string(&d.infer.ID)
		case "model_name": // KServe's client sends it
			return d.string(&d.infer.Model)
		case "model_version":
			return d.string(&d.infer.Version)
		case "parameters":
			return d.parameters(map[string]func() bool{"binary_data_output": func() bool { return d.bool(&d.infer.Binary) }})
		case "inputs":
			return d.list(d.input)
		case "outputs":
			return d.list(d.output)
		}
		return d.unknown(Short(name))
	})
	if ok {
		d.end()
	}
	for i := range d.infer.Outputs {
		o := &d.infer.Outputs[i]
		o.Binary = o.Binary || d.infer.Binary
	}
}

func (d *inferDecoder) bool(to *bool) bool {
	switch {
	case d.literal("true"):
		*to = true
	case d.literal("false"):
		*to = false
	default:
		d.fail("wanted true or false")
		return false
	}
	return true
}

// parameters reads those that mean something here. Others are for other servers.
func (d *inferDecoder) parameters(known map[string]func() bool) bool {
	return d.object("parameters to be an object", func(name string) bool {
		if read := known[name]; read != nil {
			return read()
		}
		return d.skip()
	})
}

func (d *inferDecoder) output() bool {
	var o Output
	if len(d.infer.Outputs) == mostNames {
		d.fail("the request asks for too many outputs")
		return false
	}
	ok := d.object(wantedOutput, func(name string) bool {
		switch name {
		case "name":
			return d.string(&o.Name)
		case "parameters":
			return d.parameters(map[string]func() bool{"binary_data": func() bool { return d.bool(&o.Binary) }})
		}
		return d.unknown("outputs", Short(name))
	})
	d.infer.Outputs = append(d.infer.Outputs, o)
	return ok
}

func (d *inferDecoder) input() bool {
	var x Tensor
	data, size := -1, int64(-1)
	ok := d.object(wantedInput, func(name string) bool {
		switch name {
		case "name":
			return d.string(&x.Name)
		case "datatype":
			return d.string(&x.Datatype)
		case "shape":
			return d.list(func() bool {
				var n int64
				if len(x.Shape) == 8 {
					d.fail("a shape has too many dimensions")
					return false
				}
				ok := d.whole(&n)
				x.Shape = append(x.Shape, n)
				return ok
			})
		case "parameters":
			return d.parameters(map[string]func() bool{
				"binary_data_size": func() bool { return d.whole(&size) },
				"nulls":            func() bool { return d.string(&x.Nulls) },
			})
		case "data":
			data = d.at
			return d.skip()
		}
		return d.unknown("inputs", Short(name))
	})
	switch {
	case !ok:
		return false
	case size >= 0 && data >= 0:
		if t := d.filling.start(x); t != nil {
			t.refuse(valueError("wanted data or binary_data_size"), t.name)
		}
	case size > int64(len(d.after)):
		d.fail("there are fewer bytes after the JSON than its tensors have")
		return false
	case size >= 0:
		b := d.after[:size:size]
		d.after = d.after[size:]
		d.filling.AddRaw(x, b)
	case data < 0:
		if t := d.filling.start(x); t != nil {
			t.refuse(valueError("the tensor has no data"), t.name)
		}
	default:
		end := d.at
		d.at = data
		d.data(x)
		d.at = end
	}
	return !d.broken
}

// whole reads an integer that is not negative.
func (d *inferDecoder) whole(to *int64) bool {
	b, whole := d.number()
	n, err := strconv.ParseInt(text(b), 10, 64)
	if !whole || err != nil || n < 0 {
		d.fail("wanted an integer that is not negative")
		return false
	}
	*to = n
	return true
}

// data reads the values of a tensor, which are a list, or a list of lists of one value.
func (d *inferDecoder) data(x Tensor) {
	t := d.filling.start(x)
	if t == nil {
		return
	}
	fewer := valueError("wanted a list of %d values", t.n)
	if !d.take('[') {
		d.filling.refuse(fewer, t.name)
		return
	}
	items := 0
	t.set(func(i int, v *rowsql.Value) (Fault, bool) {
		if i > 0 && !d.take(',') {
			return Fault{}, true
		}
		d.space()
		nested := d.take('[')
		if d.space(); d.at < len(d.b) && d.b[d.at] == ']' {
			return Fault{}, true
		}
		items++
		at := d.at
		wrong := d.element(t, v)
		if wrong.Wrong() {
			if d.at = at; !d.skip() {
				return Fault{}, true
			}
		}
		if nested && !d.take(']') {
			items = -1
			return Fault{}, true
		}
		return wrong, false
	})
	if len(d.filling.errors) < MostErrors && (items != t.n || !d.take(']')) {
		d.filling.refuse(fewer, t.name)
	}
}

// unbounded is for numbers whose bounds are checked later.
var unbounded = &column{low: math.Inf(-1), high: math.Inf(1)}

// element reads a value.
func (d *inferDecoder) element(t *target, v *rowsql.Value) Fault {
	if d.literal("null") {
		return t.Null(v)
	}
	switch t.kind {
	case 'b':
		return d.boolean(t, v)
	case 'i':
		b, whole := d.number()
		n, err := strconv.ParseInt(text(b), 10, 64)
		switch {
		case !whole:
			return noInteger.public()
		case err != nil:
			return valueError("no INT%d is so large", t.bits)
		}
		return t.sized(n, v)
	case 'u':
		b, whole := d.number()
		n, err := strconv.ParseUint(text(b), 10, 64)
		switch {
		case !whole:
			return noInteger.public()
		case err != nil:
			return valueError("no UINT%d is so large, or negative", t.bits)
		}
		return t.unsigned(n, v)
	case 'f':
		if d.literal("NaN") {
			return t.Float(math.NaN(), v)
		}
		x, wrong := d.float(unbounded, t.bits)
		if wrong.kind != "" {
			return wrong.public()
		}
		if t.bits == 32 {
			x = float64(float32(x))
		}
		return t.Float(x, v)
	}
	b, ok := d.text()
	switch {
	case !ok:
		return t.Mismatch()
	case t.Type == "bytes":
		decoded, err := base64.StdEncoding.AppendDecode(nil, b)
		if err != nil {
			return noBase64.public()
		}
		return t.Text(text(decoded), v)
	}
	return t.Text(text(b), v)
}

func (d *inferDecoder) boolean(t *target, v *rowsql.Value) Fault {
	switch {
	case d.literal("true"):
		return t.Bool(true, v)
	case d.literal("false"):
		return t.Bool(false, v)
	}
	return noBool.public()
}
