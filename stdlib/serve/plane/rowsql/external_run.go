package rowsql

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// DuckDB prepares expressions that plans leave to DuckDB, if the program links it. The
// returned function runs query with its arguments and returns the one value of the result.
// It is safe for concurrent use. A program sets DuckDB before it loads plans.
var DuckDB func(query string) (func(args []any) (any, error), error)

// outsourced builds an expression that DuckDB computes.
func (c *call) outsourced() (eval, error) {
	inputs, output := make([]string, len(c.args)), irType(c.Type)
	for i, a := range c.Expr.Args {
		if inputs[i] = irType(a.Type); inputs[i] == "" {
			return nil, refuse(c.At, "DuckDB is not given a value of the type %s", a.Type)
		}
	}
	if output == "" {
		return nil, refuse(c.At, "DuckDB does not return a value of the type %s", c.Type)
	}
	if DuckDB == nil {
		return func(r *Row) Value { return r.fail(c.err("this program has no DuckDB")) }, nil
	}
	run, err := DuckDB(question(c.Name, inputs, output))
	if err != nil {
		return nil, fmt.Errorf("prepare %s for DuckDB: %w", c.Name, err)
	}
	var known memo
	return func(r *Row) Value {
		values := make([]Value, len(c.args))
		for i, f := range c.args {
			if values[i] = f(r); len(values[i].Text) > mostGiven {
				return r.fail(c.err("DuckDB is not given a text of more than %d bytes", mostGiven))
			}
		}
		if r.err != nil {
			return Null
		}
		key := keyOf(values)
		if v, ok := known.get(key); ok {
			return v
		}
		args := make([]any, len(values))
		for i, v := range values {
			args[i] = given(v, inputs[i])
		}
		found, err := run(args)
		if err != nil {
			return r.fail(c.err("%v", err))
		}
		v, err := got(found, output)
		if err != nil {
			return r.fail(c.err("%v", err))
		}
		known.put(key, v)
		return v
	}, nil
}

// mostGiven limits a text, in bytes. What levenshtein takes grows with the square of it, and
// DuckDB stops for nothing within one value.
const mostGiven = 16 << 10

// A memo has recent results of an expression. A feature is the same for the same values, and
// what callers send repeats: carriers, dates, words.
type memo struct {
	mu   sync.RWMutex
	by   map[string]Value
	size int
}

// mostKnown limits the memory of a memo, in bytes of its keys and texts.
const mostKnown = 4 << 20

func (m *memo) get(key string) (Value, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v, ok := m.by[key]
	return v, ok
}

func (m *memo) put(key string, v Value) {
	const entry = 100 // bytes of a map for each of its entries, about
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.size > mostKnown || m.by == nil {
		m.by, m.size = map[string]Value{}, 0
	}
	m.by[key] = v
	m.size += entry + len(key) + len(v.Text)
}

// keyOf is a text that differs for different values.
func keyOf(values []Value) string {
	var b []byte
	for _, v := range values {
		if v.Null {
			b = append(b, 'n')
			continue
		}
		b = binary.LittleEndian.AppendUint64(append(b, 'v'), v.Bits)
		b = append(binary.AppendUvarint(b, uint64(len(v.Text))), v.Text...)
	}
	return string(b)
}

// question is a query that computes an expression from parameters. Times are numbers in it,
// as they are in a [Value].
func question(expression string, inputs []string, output string) string {
	var columns []string
	for i, typ := range inputs {
		p := "$" + strconv.Itoa(i+1)
		switch typ {
		case "date":
			p = "DATE '1970-01-01' + CAST(" + p + " AS INTEGER)"
		case "uint64": // database/sql refuses the upper half of them
			p = "CAST(" + p + " AS VARCHAR)"
		case "timestamp":
			p = "make_timestamp(CAST(" + p + " AS BIGINT))"
		case "timestamptz":
			p = "CAST(make_timestamp(CAST(" + p + " AS BIGINT)) AS TIMESTAMPTZ)"
		case "time":
			p = "CAST(make_timestamp(CAST(" + p + " AS BIGINT)) AS TIME)"
		}
		columns = append(columns, "CAST("+p+" AS "+ir.Types[typ]+") AS "+argument(i))
	}
	switch output {
	case "date":
		expression = "CASE WHEN isinf(" + expression + ") THEN error('the date is infinite') ELSE " + expression + " - DATE '1970-01-01' END"
	case "timestamp", "timestamptz":
		expression = "CASE WHEN isinf(" + expression + ") THEN error('the time is infinite') ELSE epoch_us(" + expression + ") END"
	case "time":
		expression = "epoch_us(" + expression + ")"
	}
	return "SELECT " + expression + " FROM (SELECT " + strings.Join(columns, ", ") + ")"
}

// given is a value as database/sql takes it.
func given(v Value, typ string) any {
	switch {
	case v.Null:
		return nil
	case typ == "bool":
		return v.Bool()
	case typ == "float64":
		return v.Float()
	case typ == "float32":
		return v.Float32()
	case typ == "string":
		return v.Text
	case typ == "uint64":
		return strconv.FormatUint(v.Bits, 10)
	}
	return v.Int()
}

// got reads a value that database/sql returned.
func got(found any, typ string) (Value, error) {
	switch v := found.(type) {
	case nil:
		return Null, nil
	case bool:
		return Bool(v), nil
	case float64:
		return Float(v), nil
	case float32:
		return Float32(v), nil
	case string:
		return String(v), nil
	case int8:
		return Int(int64(v)), nil
	case int16:
		return Int(int64(v)), nil
	case int32:
		return Int(int64(v)), nil
	case int64:
		return Int(v), nil
	case uint8:
		return Uint(uint64(v)), nil
	case uint16:
		return Uint(uint64(v)), nil
	case uint32:
		return Uint(uint64(v)), nil
	case uint64:
		return Uint(v), nil
	case *big.Int:
		if v.IsInt64() {
			return Int(v.Int64()), nil
		}
	}
	return Null, fmt.Errorf("DuckDB returned a %T for a %s", found, typ)
}
