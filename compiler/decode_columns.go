package compiler

import (
	"encoding/json"
	"strconv"

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
			col.Min, err = boundOf(x)
		case "max":
			col.Max, err = boundOf(x)
		case "values":
			err = x.Decode(&col.Values)
		case "unit":
			col.Unit, _ = x.String()
		case "description":
			col.Description, _ = x.String()
		case "private":
			col.Private, err = x.Bool()
			col.Public = !col.Private
		}
		if err != nil {
			return col, err
		}
	}
	for _, b := range []*ir.Bound{&col.Min, &col.Max} {
		if t, ok := ir.TimeBound(col.Type, b.String()); ok {
			*b = t // others are refused later
		}
	}
	return col, nil
}

// boundOf returns a number, or a text as it is written.
func boundOf(x cue.Value) (ir.Bound, error) {
	b, err := decode(x)
	if err != nil {
		return "", err
	}
	switch b := b.(type) {
	case json.Number:
		return ir.Bound(b), nil
	case string:
		if json.Valid([]byte(b)) {
			return ir.Bound(strconv.Quote(b)), nil // "5" is no number
		}
		return ir.Bound(b), nil
	}
	return "", nil
}
