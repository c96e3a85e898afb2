package rowsql

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A lookup is a plan's lookup as closures.
type lookup struct {
	plan    *Lookup
	steps   []step
	outputs []eval
	keys    []eval // from a row of outputs
	types   []sqlType
	after   eval
	order   func(a, b Value) int
}

func loadLookup(l *Lookup) (*lookup, error) {
	b, err := newBuilder(l.Input, l.Slots, nil)
	if err != nil {
		return nil, err
	}
	if len(l.Nulls) != len(l.Keys) {
		return nil, fmt.Errorf("the lookup %q has %d keys, and says of %d whether null equals null", l.Input.Name, len(l.Keys), len(l.Nulls))
	}
	x := &lookup{plan: l}
	if x.steps, err = b.steps(l.Steps); err != nil {
		return nil, err
	}
	if x.outputs, err = b.outputs(l.Outputs); err != nil {
		return nil, err
	}
	out := Input{Name: l.Input.Name}
	for _, o := range l.Outputs {
		out.Columns = append(out.Columns, Column{o.Name, o.Type})
	}
	if b, err = newBuilder(out, len(out.Columns), nil); err != nil {
		return nil, err
	}
	for _, k := range l.Keys {
		f, err := b.expr(k)
		if err != nil {
			return nil, err
		}
		t, _ := parseType(k.Type)
		if comparer(t) == nil {
			return nil, refuse(k.At, "joining by values of the type %s is not supported", k.Type)
		}
		x.keys, x.types = append(x.keys, f), append(x.types, t)
	}
	if l.After != nil {
		if x.after, err = b.expr(l.After); err != nil {
			return nil, err
		}
		t, _ := parseType(l.After.Type)
		if x.order = comparer(t); x.order == nil {
			return nil, refuse(l.After.At, "an ASOF join by values of the type %s is not supported", l.After.Type)
		}
	}
	return x, nil
}

// AppendKey appends a value of one of DuckDB's types so that two values are equal if and only if
// their bytes are.
func AppendKey(b []byte, v Value, typ string) []byte { return appendKey(b, v, classes[typ]) }

// appendKey appends a value so that two values are equal if and only if their bytes are.
func appendKey(b []byte, v Value, c class) []byte {
	if v.Null {
		return append(b, 0)
	}
	b = append(b, 1)
	switch c {
	case varchar, blob:
		b = binary.AppendUvarint(b, uint64(len(v.Text)))
		return append(b, v.Text...)
	case hugeint, decimal:
		b = binary.LittleEndian.AppendUint64(b, v.High)
	case float:
		v = Float(float64(v.Float32()))
		fallthrough
	case double:
		switch f := v.Float(); {
		case f == 0:
			v.Bits = 0
		case math.IsNaN(f):
			v.Bits = math.Float64bits(math.NaN())
		}
	}
	return binary.LittleEndian.AppendUint64(b, v.Bits)
}

func (b *builder) join(j *Join) (step, error) {
	if j.Lookup < 0 || j.Lookup >= len(b.lookups) || b.joined[j.Lookup] || len(j.Keys) != len(b.lookups[j.Lookup].Keys) ||
		len(b.lookups[j.Lookup].Nulls) != len(j.Keys) || (j.Asof == "") != (b.lookups[j.Lookup].After == nil) {
		return nil, fmt.Errorf("the plan joins lookup %d in a way that it is not made for", j.Lookup)
	}
	l := b.lookups[j.Lookup]
	type part struct {
		f     eval
		class class
		nulls bool
	}
	var keys []part
	for i, k := range j.Keys {
		f, err := b.expr(k)
		if err != nil {
			return nil, err
		}
		if k.Type != l.Keys[i].Type {
			return nil, fmt.Errorf("the plan compares %s with %s", k.Type, l.Keys[i].Type)
		}
		t, _ := parseType(k.Type)
		keys = append(keys, part{f, t.class, l.Nulls[i]})
	}
	index, inner := j.Lookup, j.Inner
	pick, err := b.pick(j, l)
	if err != nil {
		return nil, err
	}
	var at eval
	if j.Asof != "" {
		if at, err = b.expr(j.At); err != nil {
			return nil, err
		}
	}
	b.joined[index] = true
	var where []eval
	for _, w := range j.Where {
		f, err := b.condition(w)
		if err != nil {
			return nil, err
		}
		where = append(where, f)
	}
	return func(r *Row) bool {
		r.key = r.key[:0]
		rows := r.tables[index]
		for _, k := range keys {
			v := k.f(r)
			if v.Null && !k.nulls {
				return !inner
			}
			r.key = appendKey(r.key, v, k.class)
		}
		switch {
		case r.Fetched != nil && r.Fetched[index] != nil:
			x, there := r.fetch(index, at)
			if !there {
				r.missing = true
				return true // go on, so that what later joins need is known as well
			}
			if x == nil {
				return !inner
			}
			r.found[index] = x.row
		case rows == nil:
			return !inner
		default:
			key := rows.index.Find(r.key)
			if key < 0 {
				return !inner
			}
			i := pick(r, rows, key)
			if i < 0 {
				return !inner
			}
			r.found[index] = r.memory[index]
			rows.columns.Row(i, r.found[index])
		}
		for _, f := range where {
			if v := f(r); v.Null || v.Bits == 0 {
				r.found[index] = nil
				return !inner
			}
		}
		return true
	}, nil
}

// pick returns the function that chooses the row of a key, or -1.
func (b *builder) pick(j *Join, l Lookup) (func(r *Row, rows *Rows, key int) int, error) {
	if j.Asof == "" {
		return func(_ *Row, _ *Rows, key int) int { return key }, nil
	}
	at, err := b.expr(j.At)
	if err != nil {
		return nil, err
	}
	if j.At.Type != l.After.Type {
		return nil, fmt.Errorf("the plan compares %s with %s", j.At.Type, l.After.Type)
	}
	t, _ := parseType(j.At.Type)
	order := comparer(t)
	if order == nil {
		return nil, refuse(j.At.At, "an ASOF join by values of the type %s is not supported", t)
	}
	index := j.Lookup
	// Of the sorted rows, those before a bound are less than the value, or at most equal.
	equal, back := j.Asof == ">=" || j.Asof == "<", j.Asof[0] == '>'
	return func(r *Row, rows *Rows, key int) int {
		v := at(r)
		if v.Null {
			return -1
		}
		first, end := rows.ends(key)
		from, to := first, end
		for from < to {
			mid := int(uint(from+to) >> 1)
			if o := order(rows.after.Value(int(rows.order[mid]), 0), v); o < 0 || equal && o == 0 {
				from = mid + 1
			} else {
				to = mid
			}
		}
		switch {
		case back && from > first:
			from--
		case !back && from < end:
		default:
			return -1
		}
		i := int(rows.order[from])
		r.asof[index] = [2]Value{v, rows.after.Value(i, 0)}
		return i
	}, nil
}
