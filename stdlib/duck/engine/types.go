package engine

import (
	"strings"

	duckdb "github.com/duckdb/duckdb-go/v2"
)

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

func isInteger(irType string) bool {
	return strings.HasPrefix(irType, "int") || strings.HasPrefix(irType, "uint")
}

func isFloat(irType string) bool { return strings.HasPrefix(irType, "float") }
