package engine

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Text that stands for a value of a type, where DuckDB's own cast would take
// more than that and lose something without a word: it rounds "1.5" to a whole
// number, cuts the time off a date and the offset off a timestamp.
const (
	wholeText = `\s*[-+]?[0-9]+(\.0*)?\s*`
	dateText  = `\s*[0-9]{4,}[-/][0-9]{1,2}[-/][0-9]{1,2}([ T]0?0:00(:00(\.0*)?)?)?\s*`
	stampText = `\s*[0-9]{4,}[-/][0-9]{1,2}[-/][0-9]{1,2}([ T][0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]*)?)?\s*(Z|UTC|[-+]00(:?00)?)?)?\s*`
)

// fromText is the SQL that turns text, the SQL expression v, into a column of
// a type. It fails on text that does not stand for exactly one value.
func fromText(v, irType string, csv duck.CSV) string {
	typ := ir.Types[irType]
	// A text that does not match is made one that no cast takes, so that the
	// failure is the cast's.
	matching := func(pattern string) string {
		return fmt.Sprintf("CAST(CASE WHEN regexp_full_match(%[1]s, '%[2]s') THEN %[1]s WHEN %[1]s IS NOT NULL THEN 'not ' || %[1]s END AS %[3]s)", v, pattern, typ)
	}
	switch {
	case irType == "string":
		return v
	case isInteger(irType):
		return matching(wholeText)
	case isFloat(irType) && csv.Decimal != "" && csv.Decimal != ".":
		// A point would be a thousands separator, which nothing here removes.
		return fmt.Sprintf("CAST(CASE WHEN contains(%[1]s, '.') THEN 'not ' || %[1]s ELSE replace(%[1]s, %[2]s, '.') END AS %[3]s)", v, quote(csv.Decimal), typ)
	case irType == "date" && csv.DateFormat != "":
		return fmt.Sprintf("CAST(strptime(%s, %s) AS DATE)", v, quote(csv.DateFormat))
	case irType == "date":
		return matching(dateText)
	case strings.HasPrefix(irType, "timestamp") && csv.TimestampFormat != "":
		return fmt.Sprintf("CAST(strptime(%s, %s) AS %s)", v, quote(csv.TimestampFormat), typ)
	case irType == "timestamp":
		return matching(stampText)
	}
	return fmt.Sprintf("CAST(%s AS %s)", v, typ)
}

// fromTyped is the SQL that turns a column of a Parquet file into a declared
// type. What would lose a fraction, a time of day or a part of a number fails.
func fromTyped(v, duckType, irType string) string {
	typ := ir.Types[irType]
	switch {
	case duckType == typ:
		return v
	case duckType == "VARCHAR":
		return fromText(v, irType, duck.CSV{})
	case isInteger(irType) || irType == "bool" || irType == "date" || irType == "time":
		return fmt.Sprintf("CASE WHEN CAST(CAST(%[1]s AS %[2]s) AS %[3]s) IS NOT DISTINCT FROM %[1]s THEN CAST(%[1]s AS %[2]s) ELSE CAST('not ' || CAST(%[1]s AS VARCHAR) AS %[2]s) END", v, typ, duckType)
	}
	return fmt.Sprintf("CAST(%s AS %s)", v, typ)
}
