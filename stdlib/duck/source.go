package duck

import "github.com/tenon-ml/tenon/compiler/ir"

// A Source is files of one format that together are one table, in this order.
type Source struct {
	Files  []string
	Format string // "csv", "parquet" or "json" (one object a line); empty: by the name of the file
	CSV    CSV
}

// CSV says how to read CSV. The zero value is RFC 4180 in UTF-8 with a header.
type CSV struct {
	Delimiter string `json:"delimiter,omitempty"` // one character; default ","
	Quote     string `json:"quote,omitempty"`     // one character; default `"`
	// Header is whether the first row names the columns; default true.
	// Without one, Columns names them.
	Header *bool `json:"header,omitempty"`
	// Columns are the names of all columns in order, of a file without a header.
	Columns []string `json:"columns,omitempty"`
	// Nulls are the fields without quotes that mean null. By default that is the
	// empty field. An empty list leaves the empty string a value, so it is not omitted.
	Nulls []string `json:"nulls"`
	// QuotedNulls takes them in quotes, too.
	QuotedNulls     bool   `json:"quoted_nulls,omitempty"`
	Decimal         string `json:"decimal,omitempty"`          // "," for 1,5; default "."
	Encoding        string `json:"encoding,omitempty"`         // "utf-8", "latin-1", "windows-1252" or "utf-16"
	TimestampFormat string `json:"timestamp_format,omitempty"` // as in strptime
	DateFormat      string `json:"date_format,omitempty"`      // as in strptime
}

// An Inferred is what a column looks like from its data. Nullable, Min and Max
// are what was found; a column with NaN is nullable. Values are set if the column looks like an enumeration:
// text, at most twelve values, each ten times on average. Unique is set for
// whole numbers and text without a null or a repetition. The last one has no name if a file
// has a column without one, which a schema cannot have.
type Inferred struct {
	ir.Column
	DuckType string // what the column is
	Cast     string // the SQL type to cast it to in order to get Column.Type, if that differs
	Rows     int64
	Nulls    int64 // without NaN
	NaNs     int64
	Distinct int64
	// NullTexts counts what means null in a column of CSV, if there is no query.
	NullTexts map[string]int64 `json:",omitempty"`
}
