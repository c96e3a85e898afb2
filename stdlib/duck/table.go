package duck

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A Table is a Parquet file to be written: where, with which columns in which
// order, and how its rows are sorted.
type Table struct {
	Path    string
	Schema  ir.Schema
	OrderBy []string // columns; empty keeps the order of the query
	Keys    []string // columns that identify a row
}

// A Reference says that the values of columns occur together in those of another table. A
// row with a null in one of them refers to nothing.
type Reference struct {
	Columns []string
	Keys    []string // columns of the other table, in the same order
	Path    string   // of the other table, a Parquet file; it may be the table itself
	Table   string   // the name of the other table for the user: "sources.shops"
}

// A Violation is one way in which a table is not what its schema says.
type Violation struct {
	Column string // of the rules "keys" and "references": all of them, as "shop, day"
	// Rule is "missing", "extra" or "type" of the column itself, and "not
	// null", "nan", "time", "min", "max", "values", "json" or "unique" of its rows; "keys"
	// and "references" of several columns together.
	Rule     string
	Wanted   string   // the type, bound or values of the schema; for "time" what there has to be; for "references" the other table and its columns
	Found    string   // the type that is there, for the rule "type"
	Count    int64    // rows; for "unique" and "keys" those that repeat an earlier one
	Examples []string // up to three, such as "-3 (row 17)"; rows count from 1
}

func (v Violation) String() string {
	rows := fmt.Sprintf("%d rows", v.Count)
	if v.Count == 1 {
		rows = "1 row"
	}
	such := ""
	if len(v.Examples) > 0 {
		such = ", such as " + v.Examples[0]
	}
	column := fmt.Sprintf("column %q: ", v.Column)
	switch v.Rule {
	case "missing":
		return column + "missing, wanted " + v.Wanted
	case "extra":
		return column + "not in the schema"
	case "type":
		return column + v.Found + ", wanted " + v.Wanted
	case "not null":
		return column + rows + " null" + such
	case "nan":
		return column + rows + " NaN" + such + "; write null, or declare nan: true"
	case "time":
		return column + rows + " not " + v.Wanted + such
	case "json":
		return column + rows + " not JSON" + such
	case "min":
		return column + rows + " below min " + v.Wanted + such
	case "max":
		return column + rows + " above max " + v.Wanted + such
	case "values":
		return column + rows + " outside " + v.Wanted + such
	case "keys":
		return "keys " + v.Column + ": " + rows + " repeated" + such + "; keys identify a row"
	case "unique":
		return column + rows + " repeated" + such
	case "references":
		table, _, _ := strings.Cut(v.Wanted, " ")
		refer := "refer"
		if v.Count == 1 {
			refer = "refers"
		}
		return fmt.Sprintf("%s: %s %s to no row of %s, such as %s; add what is missing to %s, or remove or correct these rows",
			v.Column, rows, refer, v.Wanted, strings.Join(v.Examples, " and "), table)
	}
	return column + v.Rule + " " + v.Wanted + such
}

// A Preview is the beginning of a table.
type Preview struct {
	Columns []string
	Rows    [][]string // as text, with "NULL" for a null
	Total   int64      // rows of the table
}

// Rows are a table written down as text. A nil is null.
type Rows struct {
	Columns []string
	Values  [][]*string
}

// A ValueError is a text that stands for no value of its column's type.
type ValueError struct {
	Input  string // of an evaluation
	Row    int    // counts from 0
	Column string
	Type   string
	Value  string
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("column %q is %s, which %q is not", e.Column, e.Type, e.Value)
}

// A Literal is an input of [Engine.Evaluate]. Columns of the schema that the
// rows do not have are null.
type Literal struct {
	Schema ir.Schema
	Rows   Rows
}

// An Evaluated is what a query gives, and which rules are broken: by the result,
// and by what was given of each input.
type Evaluated struct {
	Rows   Rows
	Broken []Violation
	Inputs map[string][]Violation
}
