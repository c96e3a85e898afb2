package compiler

import (
	"encoding/json"

	"cuelang.org/go/cue"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// columns decodes a schema. It returns nil if there is none.
func columns(v cue.Value) (ir.Schema, error) {
	if !v.Exists() {
		return nil, nil
	}
	it, err := v.Fields()
	if err != nil {
		return nil, err
	}
	s := ir.Schema{}
	for it.Next() {
		col, err := column(it.Selector().Unquoted(), it.Value())
		if err != nil {
			return nil, err
		}
		s = append(s, col)
	}
	return s, nil
}

// column lists its fields instead of looking each up: every question to CUE allocates a
// context, and a system has many columns.
func column(name string, v cue.Value) (ir.Column, error) {
	col := ir.Column{Name: name}
	it, err := v.Fields()
	if err != nil {
		return col, err
	}
	for it.Next() {
		x := it.Value()
		switch it.Selector().Unquoted() {
		case "type":
			col.Type, _ = x.String()
		case "nullable":
			col.Nullable, _ = x.Bool()
		case "unique":
			col.Unique, _ = x.Bool()
		case "nan":
			col.NaN, _ = x.Bool()
		case "json":
			col.JSON, _ = x.Bool()
		case "min":
			col.Min, err = numberOf(x)
		case "max":
			col.Max, err = numberOf(x)
		case "values":
			err = x.Decode(&col.Values)
		case "unit":
			col.Unit, _ = x.String()
		case "description":
			col.Description, _ = x.String()
		}
		if err != nil {
			return col, err
		}
	}
	return col, nil
}

func numberOf(x cue.Value) (json.Number, error) {
	n, err := decode(x, false)
	if err != nil {
		return "", err
	}
	number, _ := n.(json.Number)
	return number, nil
}
