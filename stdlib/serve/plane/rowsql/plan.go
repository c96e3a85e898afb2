package rowsql

// A Plan computes one row. It is plain data, so that it can be stored and read without
// DuckDB.
type Plan struct {
	Version int      `json:"version"`
	Request Input    `json:"request"`
	Lookups []Lookup `json:"lookups,omitempty"`
	// Slots is the number of values that are kept for a row: first the columns of the
	// request, then what steps compute.
	Slots   int      `json:"slots"`
	Steps   []Step   `json:"steps,omitempty"`
	Outputs []Output `json:"outputs"`
}

// Version is the layout of plans that this package writes and reads.
const Version = 1

// An Input is a table that the query reads. Names of types are DuckDB's.
type Input struct {
	Name    string   `json:"name"`
	Columns []Column `json:"columns"`
}

// A Column is a column of an input.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// A Lookup is a table of which each row of the request gets at most one row.
type Lookup struct {
	Input Input `json:"input"`
	// Slots, Steps and Outputs make the rows of the lookup from those of its input.
	Slots   int      `json:"slots"`
	Steps   []Step   `json:"steps,omitempty"`
	Outputs []Output `json:"outputs"`
	// Keys are computed from a row of the lookup. Together with After they are unique.
	Keys []*Expr `json:"keys,omitempty"`
	// Nulls says of each key whether null equals null.
	Nulls []bool `json:"nulls,omitempty"`
	// After is the value of which ASOF takes the nearest one.
	After *Expr `json:"after,omitempty"`
}

// A Step is one of its fields. Steps follow one another.
type Step struct {
	Filter  *Expr    `json:"filter,omitempty"` // the row is dropped unless it is true
	Compute *Compute `json:"compute,omitempty"`
	Join    *Join    `json:"join,omitempty"`
	Window  *Window  `json:"window,omitempty"`
}

// A Compute keeps the value of an expression.
type Compute struct {
	Slot int    `json:"slot"`
	Name string `json:"name,omitempty"` // of the column
	Expr *Expr  `json:"expr"`
}

// A Join finds the row of a lookup.
type Join struct {
	Lookup int     `json:"lookup"`
	Inner  bool    `json:"inner,omitempty"` // the row is dropped if there is none
	Keys   []*Expr `json:"keys,omitempty"`  // in the order of those of the lookup
	// Asof is the comparison of At with the value of the lookup: ">=", ">", "<=", "<".
	Asof string `json:"asof,omitempty"`
	At   *Expr  `json:"at,omitempty"`
	// Where are conditions on both rows. A row for which one does not hold is not found.
	Where []*Expr `json:"where,omitempty"`
}

// An Output is a column of the result.
type Output struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Expr *Expr  `json:"expr"`
}

// An Expr is an expression. Its types are what DuckDB's binder decided, casts included.
type Expr struct {
	// Op is "slot", "lookup", "constant", "cast", "case", "and", "or", "not", "is null",
	// "is not null", "coalesce", "in", "not in", "compare", "call", "duckdb", "python" or
	// "refused".
	Op   string  `json:"op"`
	Name string  `json:"name,omitempty"` // of a call: the function; of a comparison: the operator; of "duckdb": the text
	Type string  `json:"type"`
	Args []*Expr `json:"args,omitempty"`
	// Index is the slot, or the column of the lookup From.
	Index int `json:"index,omitempty"`
	From  int `json:"from,omitempty"`
	// Value is a constant as text; nil is null.
	Value *string `json:"value,omitempty"`
	Try   bool    `json:"try,omitempty"`
	At    int     `json:"at"` // the byte in the query, or -1

	refusal *Refusal // of an expression that cannot be computed, see refused.go
}

// each calls f for an expression and all in it.
func (e *Expr) each(f func(*Expr)) {
	if e == nil {
		return
	}
	f(e)
	for _, a := range e.Args {
		a.each(f)
	}
}
