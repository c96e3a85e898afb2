package compiler

import (
	"encoding/json"
	"fmt"
	"math/big"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/onnx"
	"github.com/tenon-ml/tenon/internal/diag"
)

// onnxFields are the fields of a graph that becomes a model, see tenon.#Unit.
type onnxFields struct {
	File    string `json:"file"`
	Inputs  string `json:"inputs"`
	Missing string `json:"missing"`
	Output  string `json:"output"`
	Classes string `json:"classes"`
}

// A graphCheck compares a graph with the columns of the model that it becomes.
type graphCheck struct {
	*lowerer
	*onnxFields
	e     *entity
	o     *ir.Signature
	graph *onnx.Model
	file  string
}

// checkONNX checks the graph of a stage, if it has one.
func (c *lowerer) checkONNX(e *entity, w work, code *ir.Code) {
	model := e.model()
	if w.run.ONNX == nil || c.broken[e.id()] || model == nil {
		return
	}
	k := graphCheck{lowerer: c, onnxFields: w.run.ONNX, e: e, o: model.signature}
	k.file = stringOf(e.fields.at(k.File))
	at := path.Clean(filepath.ToSlash(k.file))
	i := slices.IndexFunc(code.Files, func(f ir.CodeFile) bool { return f.Path == at })
	if i < 0 {
		return // there is no such file, which is known
	}
	var err error
	if k.graph, err = onnx.Read(c.blobs[code.Files[i].Digest]); err != nil {
		k.fault(fmt.Sprintf("%s cannot be the model of %s: %v", k.file, e, err), "", k.File)
		return
	}
	if k.closed() && k.inputs() && k.nulls() {
		k.output()
	}
}

// fault reports a fault at a field and the parts of it.
func (k *graphCheck) fault(message, hint, field string, more ...string) bool {
	k.fail(k.e, diag.Diagnostic{
		Message: message, Hint: hint, Spans: []diag.Span{k.sys.At("", k.e.path(append(strings.Split(field, "."), more...)...)...)},
	})
	return false
}

// closed reports whether the graph has all that it needs, and gives the same twice.
func (k *graphCheck) closed() bool {
	switch {
	case len(k.graph.External) > 0:
		return k.fault(fmt.Sprintf("%s has its weights in other files: %s", k.file, strings.Join(k.graph.External, ", ")),
			"save it as one file, such as with onnx.save(onnx.load(FILE), TO)", k.File)
	case len(k.graph.Foreign) > 0:
		return k.fault(fmt.Sprintf("%s uses operators that ONNX Runtime does not have: %s", k.file, strings.Join(k.graph.Foreign, ", ")),
			"export it with standard operators: libraries with operators of one's own are not loaded", k.File)
	case len(k.graph.Random) > 0:
		return k.fault(fmt.Sprintf("%s draws random numbers: %s", k.file, strings.Join(k.graph.Random, ", ")),
			"export it for inference: a prediction has to be the same each time", k.File)
	}
	return true
}

// inputs checks what each input of the graph is made of. It reports whether that is right.
func (k *graphCheck) inputs() bool {
	fields, _ := k.e.fields.at(k.Inputs).(object)
	var names []string
	for _, in := range k.graph.Inputs {
		names = append(names, in.Name)
	}
	for _, name := range fields.names() {
		if !slices.Contains(names, name) {
			hint := diag.DidYouMean(name, names)
			if hint == "" {
				hint = "it has " + strings.Join(names, ", ")
			}
			return k.fault(fmt.Sprintf("%s has no input %q", k.file, name), hint, k.Inputs, name)
		}
	}
	var all []string
	for _, c := range k.o.Input {
		all = append(all, c.Name)
	}
	read := map[string]bool{}
	for _, in := range k.graph.Inputs {
		if !fields.has(in.Name) && !slices.Contains(all, in.Name) {
			return k.fault(fmt.Sprintf("%s has an input %q, which is not a column of the model", k.file, in.Name),
				"name its columns, in order: "+listOf(fmt.Sprintf("%s: %q", k.Inputs, in.Name), all), k.File)
		}
		columns := k.columns(in)
		if !k.shape(in, columns, fields) {
			return false
		}
		for _, name := range columns {
			c := k.o.Input.Column(name)
			if c == nil {
				return k.fault(fmt.Sprintf("%s names a column %q that is not an input of the model", k.e, name), diag.DidYouMean(name, all), k.Inputs, in.Name)
			}
			if !k.reads(in, c) {
				return false
			}
			read[name] = true
		}
	}
	for _, name := range all {
		if !read[name] {
			d := diag.Diagnostic{
				Message: fmt.Sprintf("no input of %s reads the column %s", k.file, name), Hint: fmt.Sprintf("exclude it: exclude: [%q]", name),
				Spans: []diag.Span{k.sys.At("", k.e.path(k.File)...)},
			}
			if span, ok := k.inputSpan(k.e, name, ""); ok {
				d.Spans = append(d.Spans, span)
			}
			k.fail(k.e, d)
			return false
		}
	}
	return true
}

// columns returns the names of the columns that an input of the graph is made of.
func (k *graphCheck) columns(in onnx.Value) []string {
	fields, _ := k.e.fields.at(k.Inputs).(object)
	if !fields.has(in.Name) {
		return []string{in.Name}
	}
	if one := stringOf(fields.get(in.Name)); one != "" {
		return []string{one}
	}
	return stringsOf(fields.get(in.Name))
}

// shape checks that a tensor of so many columns fits an input.
func (k *graphCheck) shape(in onnx.Value, columns []string, fields object) bool {
	at := []string{k.File}
	if fields.has(in.Name) {
		at = []string{k.Inputs, in.Name}
	}
	says := fmt.Sprintf("the input %q of %s ", in.Name, k.file)
	switch s := in.Shape; {
	case !in.Tensor():
		return k.fault(says+"is a "+in.Type+", not a tensor", "", at[0], at[1:]...)
	case len(columns) == 0:
		return k.fault(says+"gets no column", "name its columns", at[0], at[1:]...)
	case s == nil:
	case len(s) == 0 || len(s) > 2:
		return k.fault(fmt.Sprintf("%shas %d dimensions, and columns make one or two: rows, and columns", says, len(s)), "", at[0], at[1:]...)
	case s[0] > 1:
		return k.fault(fmt.Sprintf("%stakes exactly %d rows", says, s[0]), "export the graph with a number of rows that varies", at[0], at[1:]...)
	case len(s) == 1 && len(columns) != 1, len(s) == 2 && s[1] != 0 && int(s[1]) != len(columns):
		wanted := 1
		if len(s) == 2 {
			wanted = int(s[1])
		}
		return k.fault(fmt.Sprintf("%stakes %d columns, and gets %d: %s", says, wanted, len(columns), strings.Join(columns, ", ")),
			"name its columns, in order", at[0], at[1:]...)
	}
	return true
}

// reads checks that an input of the graph can hold every value of a column.
func (k *graphCheck) reads(in onnx.Value, c *ir.Column) bool {
	float := in.Type == "float32" || in.Type == "float64"
	missing, _ := k.e.fields.at(k.Missing).(object)
	var says, hint string
	switch {
	case in.Type == "string" && c.Type != "string", in.Type == "bool" && c.Type != "bool", !float && in.Type != "string" && ir.Types[in.Type] == "",
		in.Type != "string" && !isNumber(c.Type) && c.Type != "bool":
		says = fmt.Sprintf("takes %s, but the column %s is %s %s", in.Type, c.Name, article(c.Type), c.Type)
		hint = "compute a column of this type in the query of the features"
	case in.Type == "string" && len(c.Values) == 0:
		says, hint = fmt.Sprintf("takes strings, but it is not known which the column %s has", c.Name), "declare values of the column"
	case c.Nullable && !float && !missing.has(c.Name):
		says = fmt.Sprintf("takes no nulls, but the column %s may be null", c.Name)
		hint = fmt.Sprintf("say what the graph gets for null: %s: %q: ...", k.Missing, c.Name)
	case !float && isNumber(in.Type) && !holds(in.Type, c):
		says = fmt.Sprintf("takes %s, which does not hold every %s of the column %s", in.Type, c.Type, c.Name)
		hint = "declare min and max of the column"
	default:
		return true
	}
	d := diag.Diagnostic{
		Message: fmt.Sprintf("the input %q of %s %s", in.Name, k.file, says), Hint: hint, Spans: []diag.Span{k.sys.At("", k.e.path(k.File)...)},
	}
	if span, ok := k.inputSpan(k.e, c.Name, ""); ok {
		d.Spans = append(d.Spans, span)
	}
	k.fail(k.e, d)
	return false
}

// nulls checks what the graph gets for null: it has to be a value that the inputs of the column take.
func (k *graphCheck) nulls() bool {
	missing, _ := k.e.fields.at(k.Missing).(object)
	var all []string
	for _, c := range k.o.Input {
		all = append(all, c.Name)
	}
	for _, name := range missing.names() {
		c := k.o.Input.Column(name)
		if c == nil {
			return k.fault(fmt.Sprintf("%s names a column %q that is not an input of the model", k.e, name), diag.DidYouMean(name, all), k.Missing, name)
		}
		value := missing.get(name)
		for _, in := range k.graph.Inputs {
			if !slices.Contains(k.columns(in), name) || takes(in.Type, value) {
				continue
			}
			text := fmt.Sprint(value)
			if s, ok := value.(string); ok {
				text = fmt.Sprintf("%q", s)
			}
			return k.fault(fmt.Sprintf("the input %q of %s takes %s, but gets %s for null in the column %s", in.Name, k.file, in.Type, text, name),
				"write a value of this type", k.Missing, name)
		}
	}
	return true
}

// takes reports whether an input of the graph can hold a value. A bool is 0 or 1 for one of numbers.
func takes(typ string, value any) bool {
	switch v := value.(type) {
	case string:
		return typ == "string"
	case bool:
		return typ != "string"
	case json.Number:
		low, high, whole := limitsOf(typ)
		if !whole {
			return typ != "string" && typ != "bool"
		}
		x, ok := new(big.Rat).SetString(string(v))
		return ok && x.IsInt() && low.Cmp(x.Num()) <= 0 && x.Num().Cmp(high) <= 0
	}
	return false
}

// integers are the bits of types of integers, less one for the sign.
var integers = map[string]uint{"int8": 7, "int16": 15, "int32": 31, "int64": 63, "uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}

// holds reports whether a type of integers has all values of a column.
func holds(typ string, c *ir.Column) bool {
	if c.Type == "bool" || c.Type == typ {
		return true
	}
	least, most, ok := limitsOf(c.Type)
	if !ok {
		return false // of fractions
	}
	if n, ok := new(big.Int).SetString(string(c.Min), 10); ok {
		least = n
	}
	if n, ok := new(big.Int).SetString(string(c.Max), 10); ok {
		most = n
	}
	low, high, _ := limitsOf(typ)
	return low.Cmp(least) <= 0 && most.Cmp(high) <= 0
}

// limitsOf returns the least and the largest value of a type of integers.
func limitsOf(typ string) (least, most *big.Int, ok bool) {
	bits, ok := integers[typ]
	least, one := new(big.Int), big.NewInt(1)
	most = new(big.Int).Sub(new(big.Int).Lsh(one, bits), one)
	if strings.HasPrefix(typ, "int") {
		least.Neg(new(big.Int).Add(most, one))
	}
	return least, most, ok
}

// output checks the output that predicts, and its classes.
func (k *graphCheck) output() {
	var names, fit []string
	for _, o := range k.graph.Outputs {
		names = append(names, o.Name)
		if o.Type == "float32" || o.Type == "float64" {
			fit = append(fit, o.Name)
		}
	}
	name, at := stringOf(k.e.fields.at(k.Output)), k.Output
	if name == "" {
		at = k.File
		if len(fit) != 1 {
			hint := "name the one that predicts: " + k.Output + ": ..."
			if slices.ContainsFunc(k.graph.Outputs, func(o onnx.Value) bool { return !o.Tensor() }) {
				hint = "with skl2onnx, convert with options={\"zipmap\": False}: maps of probabilities are not read"
			}
			k.fault(fmt.Sprintf("%s has %d outputs of numbers, of which one predicts; its outputs are %s", k.file, len(fit), strings.Join(names, ", ")), hint, at)
			return
		}
		name = fit[0]
	}
	i := slices.Index(names, name)
	if i < 0 {
		k.fault(fmt.Sprintf("%s has no output %q", k.file, name), diag.DidYouMean(name, names), at)
		return
	}
	o := k.graph.Outputs[i]
	if !slices.Contains(fit, name) {
		k.fault(fmt.Sprintf("the output %q of %s is of %s, not of float32 or float64", name, k.file, o.Type), "", at)
		return
	}
	k.width(o, at)
}

// width checks that an output has a number for each class, or one.
func (k *graphCheck) width(o onnx.Value, at string) {
	classes, declared := k.e.fields.at(k.Classes).([]any)
	label := k.o.Output
	if k.o.Task != "classification" {
		if declared {
			k.fault(fmt.Sprintf("%s predicts a number, which has no classes", k.e), "leave out "+k.Classes, k.Classes)
			return
		}
	} else if !declared && label.Type != "bool" {
		k.fault(fmt.Sprintf("it is not known which class each number of the output %q of %s is for", o.Name, k.file),
			fmt.Sprintf("list them in its order: %s: [...]", k.Classes), k.File)
		return
	}
	wanted := max(1, len(classes))
	if k.o.Task == "classification" && !declared {
		wanted = 2
	}
	got := 1
	switch {
	case o.Shape == nil:
		return
	case len(o.Shape) == 2:
		got = int(o.Shape[1])
	case len(o.Shape) != 1:
		k.fault(fmt.Sprintf("the output %q of %s has %d dimensions, wanted one or two: rows, and numbers", o.Name, k.file, len(o.Shape)), "", at)
		return
	}
	if got != 0 && got != wanted && !(got == 1 && wanted == 2) {
		if declared {
			at = k.Classes
		}
		k.fault(fmt.Sprintf("the output %q of %s has %d numbers for a row, wanted %d", o.Name, k.file, got, wanted), "", at)
	}
}
