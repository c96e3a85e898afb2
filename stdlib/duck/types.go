package duck

import (
	"strings"

	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// irTypes is ir.Types from the other side.
var irTypes = func() map[string]string {
	m := map[string]string{}
	for name, duck := range ir.Types {
		m[duck] = name
	}
	return m
}()

// plainTypes are the names of the types that ir.Types has, by DuckDB's number.
var plainTypes = map[duckdb.Type]string{
	duckdb.TYPE_BOOLEAN: "BOOLEAN",
	duckdb.TYPE_TINYINT: "TINYINT", duckdb.TYPE_SMALLINT: "SMALLINT", duckdb.TYPE_INTEGER: "INTEGER", duckdb.TYPE_BIGINT: "BIGINT",
	duckdb.TYPE_UTINYINT: "UTINYINT", duckdb.TYPE_USMALLINT: "USMALLINT", duckdb.TYPE_UINTEGER: "UINTEGER", duckdb.TYPE_UBIGINT: "UBIGINT",
	duckdb.TYPE_FLOAT: "FLOAT", duckdb.TYPE_DOUBLE: "DOUBLE",
	duckdb.TYPE_VARCHAR: "VARCHAR", duckdb.TYPE_BLOB: "BLOB",
	duckdb.TYPE_DATE: "DATE", duckdb.TYPE_TIME: "TIME",
	duckdb.TYPE_TIMESTAMP: "TIMESTAMP", duckdb.TYPE_TIMESTAMP_TZ: "TIMESTAMP WITH TIME ZONE",
}

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

func isInteger(irType string) bool {
	return strings.HasPrefix(irType, "int") || strings.HasPrefix(irType, "uint")
}

func isFloat(irType string) bool { return strings.HasPrefix(irType, "float") }
