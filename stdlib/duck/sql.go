package duck

import (
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A Description is what a query gives, what it compares, and what keeps it from giving
// the same rows again.
type Description struct {
	Columns []Column
	// Compared is left out where there is one input, which is compared with
	// itself at most.
	Compared     []Comparison
	Unrepeatable []Unrepeatable
	// Misfits are texts in the query that do not convert to the type that they have to.
	Misfits []Misfit
	// Tree is DuckDB's parse tree, see json_serialize_sql, or nil if there is none.
	Tree []byte
}

// A Misfit is a text that stands for no value of a type, such as '2024-02-30' for a DATE.
// The type is DuckDB's name for it, [UnitOfTime], or words. Offset is the byte in the query.
// If Fault is set, Text is an expression of constants that DuckDB fails to compute, and Fault
// its message.
type Misfit struct {
	Text   string
	Type   string
	Fault  string
	Offset int
}

// UnitOfTime is what date_trunc and others take, such as 'day'.
const UnitOfTime = "unit of time"

// An Unrepeatable is a part of a query that may give another result for the same rows.
type Unrepeatable struct {
	Message string // "random gives another result every time"
	Hint    string
	Offset  int // of the byte in the query, or -1
}

// A Column is one column of a result, with DuckDB's name for its type, such as
// "BIGINT" or "DECIMAL(18,3)". [SuggestCast] relates it to a type of the IR.
type Column struct {
	Name string
	Type string
}

// An Operand is a column of an input table, as a query names it.
type Operand struct {
	Table  string // the input
	Column string
	Type   string // of the IR
}

// A Comparison is a place where a query compares two columns of its inputs,
// such as the condition of a join. Offset is the byte in the query.
type Comparison struct {
	Left, Right Operand
	Offset      int
}

// A SQLError is what DuckDB has against a query.
type SQLError struct {
	// Message is DuckDB's own, one line, without its prefix and its excerpt.
	Message string
	// Offset is the byte in the query text that the message is about, or -1.
	Offset int
	// Candidates are the names of tables, columns or functions that could have
	// been meant, the nearest first as far as DuckDB knows.
	Candidates []string
	// Kind is "syntax", "statement" (more than one, or not a SELECT), "table",
	// "column" or "function" (an unknown one, or for a function, arguments it
	// does not take), "access" (to a file), or "other".
	Kind string
}

func (e *SQLError) Error() string { return e.Message }

// irTypes is ir.Types from the other side.
var irTypes = func() map[string]string {
	m := map[string]string{}
	for name, duck := range ir.Types {
		m[duck] = name
	}
	return m
}()

// SuggestCast returns the type of the IR that is nearest to a type of DuckDB,
// and the SQL type to cast to in order to get it. They are the type itself
// where the IR has it; the caller can tell by sqlType == duckType. Whole
// numbers of more than 64 bits become int64, which fails on a value that does
// not fit; decimals become float64; what has no counterpart becomes a string.
func SuggestCast(duckType string) (irType, sqlType string) {
	base, _, _ := strings.Cut(duckType, "(")
	switch {
	case strings.HasSuffix(duckType, "]"):
		irType = "string"
	case irTypes[duckType] != "":
		irType = irTypes[duckType]
	case base == "DECIMAL":
		irType = "float64"
	case base == "HUGEINT" || base == "BIGNUM":
		irType = "int64"
	case base == "UHUGEINT":
		irType = "uint64"
	case strings.HasPrefix(base, "TIMESTAMP_"):
		irType = "timestamp"
	case base == "TIME WITH TIME ZONE" || base == "TIME_NS":
		irType = "time"
	default:
		irType = "string"
	}
	return irType, ir.Types[irType]
}

// CanCast reports whether DuckDB casts values of one of its types to a type of the IR,
// given by its SQL name. Single values may still not fit. It does not list the rare casts
// of types without a counterpart in the IR to others than text.
func CanCast(from, to string) bool {
	irType, sqlType := SuggestCast(from)
	if sqlType != from && irType == "string" { // a list, a struct and the like
		return to == "VARCHAR"
	}
	a, b := castFamily(sqlType), castFamily(to)
	switch {
	case from == "BIGNUM" && (to == "BOOLEAN" || to == "FLOAT"):
		return false
	case a == b, a == "text", b == "text":
		return true
	case a == "timestamp":
		return b == "date" || b == "time" && sqlType == "TIMESTAMP"
	}
	return a == "date" && b == "timestamp"
}

// castFamily groups the types that DuckDB casts to each other.
func castFamily(sqlType string) string {
	switch sqlType {
	case "VARCHAR":
		return "text"
	case "BLOB":
		return "bytes"
	case "DATE":
		return "date"
	case "TIME":
		return "time"
	case "TIMESTAMP", "TIMESTAMP WITH TIME ZONE":
		return "timestamp"
	}
	return "number"
}
