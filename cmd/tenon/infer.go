package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

func inferCommand(a *app) *cobra.Command {
	var query, format, delimiter, encoding string
	var nulls []string
	var asJSON, bounds bool
	c := &cobra.Command{
		Use: "infer FILE... [--sql QUERY]", Short: "Write the column declarations of a file or a query",
		Long: `Reads all rows of CSV, Parquet or JSON lines, or of a query over them, and prints
the column declarations in CUE: types, nulls and values. A comment says what was taken
for a missing value. What the rows happen to lie between becomes a rule only with
--bounds.

The name of a file in a query is its base name; NAME=FILE gives it another one.`,
		Example: `  tenon infer data/customers.csv
  tenon infer customers.csv orders.parquet --sql "SELECT * FROM orders JOIN customers USING (customer_id)"
  tenon infer c=data/2024-*.csv --sql "SELECT c.age, count(*) AS n FROM c GROUP BY 1"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return &usageError{fmt.Errorf("tenon infer needs a file; see tenon infer --help")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if format != "" && !slices.Contains([]string{"csv", "parquet", "json"}, format) {
				return &usageError{fmt.Errorf("--format must be csv, parquet or json, not %q", format)}
			}
			if nulls == nil {
				nulls = defaultNulls
			}
			sources, err := inferSources(args, format, duck.CSV{Delimiter: delimiter, Encoding: encoding, Nulls: nulls})
			if err != nil {
				return err
			}
			if query == "" && len(sources) > 1 {
				return &usageError{fmt.Errorf("several files need a query: use --sql \"SELECT ...\"")}
			}
			cols, err := a.duck.Infer(c.Context(), query, sources)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(cols)
			}
			_, err = fmt.Fprint(a.stdout, columnsAsCUE(cols, bounds, nulls))
			return err
		},
	}
	c.Flags().StringVar(&query, "sql", "", "infer the columns of this `QUERY` over the files")
	c.Flags().StringVar(&format, "format", "", "`FORMAT` of the files: csv, parquet or json (default: by their names)")
	c.Flags().StringVar(&delimiter, "delimiter", "", "`CHARACTER` between the fields of CSV (default \",\")")
	c.Flags().StringVar(&encoding, "encoding", "", "`ENCODING` of CSV: utf-8, latin-1, windows-1252 or utf-16")
	c.Flags().StringArrayVar(&nulls, "null", nil, "a `TEXT` that is null in CSV without quotes (default: as source.#CSV)")
	c.Flags().BoolVar(&bounds, "bounds", false, "add the least and the greatest number or time as min and max")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// defaultNulls are those of source.#CSV.
var defaultNulls = []string{"", "NA", "NULL"}

func inferSources(args []string, format string, csv duck.CSV) (map[string]duck.Source, error) {
	sources := map[string]duck.Source{}
	for _, arg := range args {
		name, pattern, named := strings.Cut(arg, "=")
		if _, err := os.Stat(arg); err == nil || !named || strings.ContainsRune(name, filepath.Separator) {
			pattern, named = arg, false // a folder may have a "=" in its name
		}
		files := []string{pattern}
		info, err := os.Stat(pattern)
		if err == nil && info.IsDir() {
			return nil, fmt.Errorf("%s is a folder: name its files, such as %q", pattern, filepath.Join(pattern, "*.csv"))
		}
		if err == nil && !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file: copy what it gives to a file", pattern)
		}
		if err != nil {
			found, gerr := filepath.Glob(pattern)
			if gerr != nil || len(found) == 0 {
				return nil, fmt.Errorf("no such file: %s", pattern)
			}
			files = found
		}
		if !named {
			name, _, _ = strings.Cut(filepath.Base(pattern), ".")
		}
		if _, twice := sources[name]; twice {
			return nil, &usageError{fmt.Errorf("two files are called %s: name one of them with NAME=FILE", name)}
		}
		sources[name] = duck.Source{Files: files, Format: format, CSV: csv}
	}
	return sources, nil
}

// columnsAsCUE formats a schema so that it can be pasted.
func columnsAsCUE(cols []duck.Inferred, bounds bool, nulls []string) string {
	width := 0
	for _, c := range cols {
		width = max(width, len(label(c.Name)))
	}
	var b strings.Builder
	b.WriteString("schema: {\n")
	inFile, unnamed := false, false
	for _, c := range cols {
		if c.Name == "" {
			unnamed = true
			continue
		}
		fmt.Fprintf(&b, "\t%s col.%s", pad(label(c.Name)+":", width+1), compiler.ColumnDefinition(c.Type))
		if rules := rules(c.Column, bounds); rules != "" {
			fmt.Fprintf(&b, " & {%s}", rules)
		}
		var notes []string
		if c.Cast != "" && !c.JSON {
			notes = append(notes, fmt.Sprintf("%s in SQL: write CAST(... AS %s)", c.DuckType, c.Cast))
		} else if c.Cast != "" {
			notes = append(notes, fmt.Sprintf("%s in SQL: write CAST(to_json(...) AS VARCHAR)", c.DuckType))
		}
		if m := missing(c); m != "" {
			notes = append(notes, m)
		}
		if len(notes) > 0 {
			b.WriteString(" // " + strings.Join(notes, "; "))
		}
		b.WriteByte('\n')
		inFile = inFile || len(c.NullTexts) > 0
	}
	b.WriteString("}\n")
	if unnamed {
		b.WriteString("// A column without a name is left out: a schema cannot name it.\n")
	}
	switch {
	case !slices.Equal(nulls, defaultNulls):
		fmt.Fprintf(&b, "// Read with nulls: %s, which source.#CSV needs as well.\n", strings.ReplaceAll(fmt.Sprintf("%q", nulls), "\" \"", "\", \""))
	case inFile:
		b.WriteString("// Fields without quotes were taken for null: nulls of source.#CSV says which, --null here.\n")
	}
	return b.String()
}

// missing says what was taken for a missing value.
func missing(c duck.Inferred) string {
	var parts []string
	for _, text := range slices.Sorted(maps.Keys(c.NullTexts)) {
		name := fmt.Sprintf("%q", text)
		if text == "" {
			name = "empty"
		}
		parts = append(parts, fmt.Sprintf("%d %s", c.NullTexts[text], name))
	}
	if len(parts) == 0 && c.Nulls > 0 {
		parts = append(parts, fmt.Sprint(c.Nulls))
	}
	if c.NaNs > 0 {
		parts = append(parts, fmt.Sprintf("%d NaN", c.NaNs))
	}
	if len(parts) == 0 {
		return ""
	}
	return "null: " + strings.Join(parts, ", ")
}

func label(name string) string {
	for i, r := range name {
		if !(r == '_' && i > 0 || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' && i > 0) {
			return fmt.Sprintf("%q", name)
		}
	}
	return name
}

// cueBound writes a bound as CUE.
func cueBound(b ir.Bound) string {
	text, _ := b.MarshalJSON()
	return string(text)
}

func rules(c ir.Column, bounds bool) string {
	var parts []string
	if c.Nullable {
		parts = append(parts, "nullable: true")
	}
	if c.JSON {
		parts = append(parts, "json: true")
	}
	if c.Unique {
		parts = append(parts, "unique: true")
	}
	if bounds && c.Min != "" {
		parts = append(parts, "min: "+cueBound(c.Min))
	}
	if bounds && c.Max != "" {
		parts = append(parts, "max: "+cueBound(c.Max))
	}
	if len(c.Values) > 0 {
		quoted := make([]string, len(c.Values))
		for i, v := range c.Values {
			quoted[i] = fmt.Sprintf("%q", v)
		}
		parts = append(parts, "values: ["+strings.Join(quoted, ", ")+"]")
	}
	return strings.Join(parts, ", ")
}
