package engine

import (
	"fmt"
	"strings"
)

// DuckDB would add a column for each "name=value" in a path, and the path itself
// for a name that it does not know. A table is what is in its file.
const contentOnly = "hive_partitioning = false, filename = false"

// globs spells a path so that DuckDB does not take it for a pattern.
var globs = strings.NewReplacer("[", "[[]", "*", "[*]", "?", "[?]")

// reads is a call of a table function that reads one file. Every read goes
// through it.
func reads(function, path, options string) string {
	if options != "" {
		options += ", "
	}
	return fmt.Sprintf("%s(%s, %s%s)", function, quote(globs.Replace(path)), options, contentOnly)
}

// parquet is the SQL for the rows of a Parquet file.
func parquet(path string) string { return reads("read_parquet", path, "") }

// jsonLines is the SQL for the rows of JSON lines. The columns are SQL, such as
// {"a": 'JSON'}.
func jsonLines(path, columns string) string {
	return reads("read_json", path, "format = 'newline_delimited', records = true, compression = 'uncompressed', columns = "+columns)
}

// jsonObjects is the SQL for the rows of JSON lines as one column, json.
func jsonObjects(path string) string {
	return reads("read_ndjson_objects", path, "compression = 'uncompressed'")
}
