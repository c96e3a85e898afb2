package engine

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A rule says what happens to the values of one kind where another is declared.
type rule int

const (
	refused rule = iota // the whole column; note is what to do instead
	exact               // every value has a counterpart
	checked             // each value; note is the condition
)

type conversion struct {
	rule rule
	note string
}

// The kinds of values that a source may hold, and those that a schema declares,
// in the order of the documentation. A "number" is one of JSON that has a
// fraction, an exponent or more than 64 bits. A "json" is a string with json: true.
var (
	foundKinds    = []string{"text", "bool", "int", "number", "float", "decimal", "bytes", "date", "time", "timestamp", "timestamptz", "uuid", "nested", "other"}
	declaredKinds = []string{"bool", "int", "float", "string", "json", "bytes", "date", "time", "timestamp", "timestamptz"}
)

const (
	inRange    = "it is a whole number within the range of the type"
	sameNumber = "the float is the same number"
	nearest    = "it is a decimal number within the range; it becomes the nearest float, and a whole number has to be one that the float prints"
	microsOnly = "it is a whole number of microseconds"
	setZone    = "it has no zone: declare col.#Timestamp, and set the zone in SQL, such as x AT TIME ZONE 'Europe/Zurich'"
	dropZone   = "it is a point in time: declare col.#TimestampTZ, and choose the zone in SQL, such as x AT TIME ZONE 'Europe/Zurich'"
	asJSON     = "declare col.#String & {json: true}, and it is read as JSON"
)

// conversions has what happens for each declared kind and each kind that is
// found, whatever the format of the file. What is missing is refused.
var conversions = map[string]map[string]conversion{
	"bool": {
		"text":    {checked, "it is true, false, t, f, yes, no, y, n, 1 or 0, in any case"},
		"bool":    {exact, ""},
		"int":     {checked, "it is 0 or 1"},
		"float":   {checked, "it is 0 or 1"},
		"decimal": {refused, "declare a number"},
	},
	"int": {
		"text":    {checked, inRange + "; a zero fraction is accepted"},
		"bool":    {refused, "declare col.#Bool, and cast it in SQL"},
		"int":     {checked, inRange},
		"number":  {checked, inRange + "; with a fraction or an exponent it is below 2^53"},
		"float":   {checked, inRange},
		"decimal": {checked, inRange},
	},
	"float": {
		"text":    {checked, nearest},
		"bool":    {refused, "declare col.#Bool, and cast it in SQL"},
		"int":     {checked, sameNumber},
		"number":  {checked, nearest},
		"float":   {checked, sameNumber},
		"decimal": {checked, "the float prints as the same digits; otherwise declare col.#String"},
	},
	"string": {
		"text":        {exact, ""},
		"bool":        {exact, ""},
		"int":         {exact, ""},
		"number":      {refused, "its digits are not kept: declare a float, or write text"},
		"float":       {exact, ""},
		"decimal":     {exact, ""},
		"bytes":       {checked, "they are UTF-8; otherwise declare col.#Bytes"},
		"date":        {exact, ""},
		"time":        {exact, ""},
		"timestamp":   {exact, ""},
		"timestamptz": {exact, ""},
		"uuid":        {exact, ""},
		"nested":      {refused, asJSON},
	},
	"json": {
		"text":   {checked, "it is JSON; of JSON lines, the text in quotes"},
		"bool":   {exact, ""},
		"int":    {exact, ""},
		"number": {exact, "as a float64"},
		"bytes":  {checked, "they are JSON in UTF-8"},
		"nested": {exact, ""},
	},
	"bytes": {
		"text":  {exact, ""},
		"bytes": {exact, ""},
		"uuid":  {refused, "declare col.#String"},
	},
	"date": {
		"text":        {checked, "it is a date in the format of the source, without a time of day other than 00:00"},
		"date":        {exact, ""},
		"timestamp":   {checked, "it is midnight"},
		"timestamptz": {refused, dropZone},
	},
	"time": {
		"text": {checked, "it is a time of day in whole microseconds, without a zone"},
		"time": {checked, microsOnly},
	},
	"timestamp": {
		"text":        {checked, "it is a date and time in the format of the source, in whole microseconds, without a zone"},
		"date":        {exact, ""},
		"timestamp":   {checked, microsOnly},
		"timestamptz": {refused, dropZone},
	},
	"timestamptz": {
		"text":        {checked, "it is a date and time in the format of the source, in whole microseconds, with a zone"},
		"date":        {refused, setZone},
		"timestamp":   {refused, setZone},
		"timestamptz": {checked, microsOnly},
	},
}

// conversionOf looks up the table.
func conversionOf(found string, c ir.Column) conversion { return conversions[kindOf(c)][found] }

// kindOf is the kind of a declared column.
func kindOf(c ir.Column) string {
	switch {
	case isInteger(c.Type):
		return "int"
	case isFloat(c.Type):
		return "float"
	case c.JSON:
		return "json"
	}
	return c.Type
}

// found is what a typed column of a file holds.
type found struct {
	kind  string
	typ   string // DuckDB's
	nanos bool   // of a time: read as TIMESTAMP_NS
}

// span is the entry of [spans] for the values.
func (f found) span() string {
	switch {
	case f.kind == "time" && f.nanos:
		return "TIME in nanoseconds"
	case f.nanos:
		return "TIMESTAMP_NS"
	}
	return f.typ
}

// withDigit is the type of a decimal with a digit before the point, and whether f.typ has none.
// Without one, DuckDB does not read 1e-05.
func (f found) withDigit() (typ string, none bool) {
	var precision, scale int
	if _, err := fmt.Sscanf(f.typ, "DECIMAL(%d,%d)", &precision, &scale); err != nil || precision > scale {
		return f.typ, false
	}
	return fmt.Sprintf("DECIMAL(%d,%d)", min(precision+1, 38), scale), true
}

// foundType finds the kind of a type of DuckDB.
func foundType(typ string) found {
	base, _, _ := strings.Cut(typ, "(")
	f := found{kind: "other", typ: typ}
	switch base {
	case "VARCHAR", "JSON", "ENUM":
		f.kind = "text"
	case "BOOLEAN":
		f.kind = "bool"
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT":
		f.kind = "int"
	case "FLOAT", "DOUBLE":
		f.kind = "float"
	case "DECIMAL":
		f.kind = "decimal"
	case "BLOB":
		f.kind = "bytes"
	case "DATE":
		f.kind = "date"
	case "TIME", "TIME WITH TIME ZONE":
		f.kind = "time"
	case "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS":
		f.kind, f.nanos = "timestamp", base == "TIMESTAMP_NS"
	case "TIMESTAMP WITH TIME ZONE":
		f.kind = "timestamptz"
	case "UUID":
		f.kind = "uuid"
	case "STRUCT", "MAP", "UNION":
		f.kind = "nested"
	}
	if strings.HasSuffix(typ, "]") { // of a list, whatever it holds
		f.kind = "nested"
	}
	return f
}
