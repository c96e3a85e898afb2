package plane

import (
	"encoding/json"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A result is a column of an answer that has columns: a tensor or an Arrow array.
type result struct {
	ir.Column
	wide  int // values of a row, if it is a list
	value func(x *work, row, i int) rowsql.Value
}

// The names of results, which are those of the fields of a JSON answer.
const (
	predictionName    = "prediction"
	probabilityName   = "probability"
	probabilitiesName = "probabilities"
)

// newResults returns the columns of answers: the prediction, its probability and those of all
// classes if there are classes with probabilities, and the columns that answers repeat.
func (p *Plane) newResults() []result {
	outputs := p.Model.Outputs()
	number := func(x *work, row, i int) rowsql.Value { return rowsql.Float(x.outputs[row*outputs+i]) }
	all := []result{{ir.Column{Name: predictionName, Type: "float64"}, 0, number}}
	if classes := p.Model.Classes(); len(classes) > 0 {
		kind, values := classValues(p.Label, classes)
		all = []result{{ir.Column{Name: predictionName, Type: kind}, 0, func(x *work, row, _ int) rowsql.Value { return values[x.classes[row]] }}}
		if p.Model.Probabilities() {
			all = append(all,
				result{ir.Column{Name: probabilityName, Type: "float64"}, 0, func(x *work, row, _ int) rowsql.Value { return rowsql.Float(x.numbers[row]) }},
				result{ir.Column{Name: probabilitiesName, Type: "float64"}, len(classes), number})
		}
	}
	for i, c := range p.repeated {
		all = append(all, result{ir.Column{Name: c.Name, Type: c.Type, Nullable: c.Nullable}, 0,
			func(x *work, row, _ int) rowsql.Value { return x.returned[row*len(p.repeated)+i] }})
	}
	return all
}

// classValues are the classes as values of a type: that of the label, or texts if one of them
// is no value of it.
func classValues(label ir.Column, classes []json.RawMessage) (kind string, values []rowsql.Value) {
	for _, c := range classes {
		v, ok := classValue(label.Type, c)
		if !ok {
			kind, values = "string", nil
			for _, c := range classes {
				v, _ := classValue("string", c)
				values = append(values, v)
			}
			return kind, values
		}
		values = append(values, v)
	}
	return label.Type, values
}

func classValue(kind string, c json.RawMessage) (rowsql.Value, bool) {
	switch kind {
	case "bool":
		var b bool
		err := json.Unmarshal(c, &b)
		return rowsql.Bool(b), err == nil
	case "string":
		var s string
		if json.Unmarshal(c, &s) != nil {
			s = string(c)
		}
		return rowsql.String(s), true
	case "int8", "int16", "int32", "int64":
		var n int64
		err := json.Unmarshal(c, &n)
		return rowsql.Int(n), err == nil
	case "uint8", "uint16", "uint32", "uint64":
		var n uint64
		err := json.Unmarshal(c, &n)
		return rowsql.Uint(n), err == nil
	}
	return rowsql.Null, false
}

// classify notes the class and the number of every row, for metrics and for results.
func (p *Plane) classify(x *work) {
	x.classes, x.numbers = x.classes[:0], x.numbers[:0]
	n := p.Model.Outputs()
	classes := len(p.Model.Classes()) > 0
	for row := range x.rows.Len() {
		outputs := x.outputs[row*n : (row+1)*n]
		if !classes {
			x.numbers = append(x.numbers, outputs[0])
			continue
		}
		class, probability := p.Model.Class(outputs)
		x.classes, x.numbers = append(x.classes, class), append(x.numbers, probability)
	}
}
