package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"regexp"
	"strconv"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// plain returns a value as JSON has it. What is unknown is nil.
func plain(v tftypes.Value) (any, error) {
	if v.IsNull() || !v.IsKnown() {
		return nil, nil
	}
	switch t := v.Type(); {
	case t.Is(tftypes.String):
		var s string
		return s, v.As(&s)
	case t.Is(tftypes.Bool):
		var b bool
		return b, v.As(&b)
	case t.Is(tftypes.Number):
		n := new(big.Float)
		err := v.As(&n)
		return json.Number(n.Text('g', -1)), err
	case t.Is(tftypes.Object{}) || t.Is(tftypes.Map{}):
		var all map[string]tftypes.Value
		if err := v.As(&all); err != nil {
			return nil, err
		}
		out := map[string]any{}
		for name, x := range all {
			var err error
			if out[name], err = plain(x); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	var all []tftypes.Value
	if err := v.As(&all); err != nil {
		return nil, err
	}
	out := make([]any, len(all))
	for i, x := range all {
		var err error
		if out[i], err = plain(x); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// fit returns a value of JSON of a kind that is known, as that of a block in which nothing can be set, or of its own.
func fit(x any, t tftypes.Type) (tftypes.Value, error) {
	switch list, is := t.(tftypes.List); {
	case t.Is(plainly):
		return typed(x)
	case is:
		content, _ := x.([]any)
		all := make([]tftypes.Value, len(content))
		for i, e := range content {
			var err error
			if all[i], err = fit(e, list.ElementType); err != nil {
				return all[i], err
			}
		}
		return tftypes.NewValue(t, all), nil
	}
	object, _ := t.(tftypes.Object)
	content, there := x.(map[string]any)
	if !there {
		return tftypes.NewValue(t, nil), nil
	}
	all := map[string]tftypes.Value{}
	for name, inner := range object.AttributeTypes {
		var err error
		if all[name], err = fit(content[name], inner); err != nil {
			return all[name], err
		}
	}
	return tftypes.NewValue(t, all), nil
}

// typed returns a value of JSON of its own kind.
func typed(x any) (tftypes.Value, error) {
	switch x := x.(type) {
	case string:
		return tftypes.NewValue(tftypes.String, x), nil
	case bool:
		return tftypes.NewValue(tftypes.Bool, x), nil
	case json.Number:
		n, ok := new(big.Float).SetString(string(x))
		if !ok {
			return tftypes.Value{}, fmt.Errorf("%q is not a number", x)
		}
		return tftypes.NewValue(tftypes.Number, n), nil
	case []any:
		types, values := make([]tftypes.Type, len(x)), make([]tftypes.Value, len(x))
		for i, e := range x {
			v, err := typed(e)
			if err != nil {
				return v, err
			}
			types[i], values[i] = v.Type(), v
		}
		return tftypes.NewValue(tftypes.Tuple{ElementTypes: types}, values), nil
	case map[string]any:
		types, values := map[string]tftypes.Type{}, map[string]tftypes.Value{}
		for name, e := range x {
			v, err := typed(e)
			if err != nil {
				return v, err
			}
			types[name], values[name] = v.Type(), v
		}
		return tftypes.NewValue(tftypes.Object{AttributeTypes: types}, values), nil
	}
	return tftypes.NewValue(plainly, nil), nil
}

// attributes returns those of the value of a resource, which are nil if there is none.
func attributes(v *tfprotov5.DynamicValue, k tftypes.Object) (all map[string]tftypes.Value, err error) {
	if v == nil {
		return nil, nil
	}
	x, err := v.Unmarshal(k)
	if err != nil || x.IsNull() {
		return nil, err
	}
	return all, x.As(&all)
}

// dynamic returns attributes as the value of a resource, or one that is null.
func dynamic(all map[string]tftypes.Value, k tftypes.Object) (*tfprotov5.DynamicValue, error) {
	v := tftypes.NewValue(k, nil)
	if all != nil {
		v = tftypes.NewValue(k, all)
	}
	d, err := tfprotov5.NewDynamicValue(k, v)
	return &d, err
}

// texts returns attributes as JSON has them.
func texts(all map[string]tftypes.Value) (map[string]any, error) {
	out := map[string]any{}
	for name, v := range all {
		x, err := plain(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = x
	}
	return out, nil
}

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

var reference = regexp.MustCompile(`\{([a-z_]+)\}`)

// names returns the attributes that a text refers to.
func names(text string) (all []string) {
	for _, m := range reference.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

// fill returns a value of values.json for a resource.
func (p *provider) fill(x any, of string, set map[string]any) any {
	switch x := x.(type) {
	case string:
		return reference.ReplaceAllStringFunc(x, func(m string) string { return p.lookup(m[1:len(m)-1], of, set) })
	case []any:
		out := make([]any, len(x))
		for i, e := range x {
			out[i] = p.fill(e, of, set)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for name, e := range x {
			out[name] = p.fill(e, of, set)
		}
		return out
	}
	return x
}

func (p *provider) lookup(name, of string, set map[string]any) string {
	for _, x := range []any{set[name], p.set[name]} {
		if x != nil {
			return fmt.Sprint(x)
		}
	}
	if name == "digest" || name == "number" {
		b, _ := json.Marshal(set) // of JSON
		sum := sha256.Sum256(append([]byte(of), b...))
		if name == "digest" {
			return hex.EncodeToString(sum[:6])
		}
		return strconv.FormatUint(binary.BigEndian.Uint64(sum[:])>>24, 10)
	}
	return p.values.Defaults[name]
}
