package duck

import (
	"strings"

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
