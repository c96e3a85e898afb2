package compiler_test

import (
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/internal/diag"
)

// expressions has one of each type that a query can give.
var expressions = []string{
	"true", "n::TINYINT", "n::SMALLINT", "n::INTEGER", "n", "sum(n)", "n::UTINYINT", "n::USMALLINT", "n::UINTEGER", "n::UBIGINT",
	"n::UHUGEINT", "n::FLOAT", "avg(n)", "1.5", "sum(1.5)", "min('a')", "'a'::BLOB", "DATE '2026-01-01'", "TIME '10:00'", "TIMETZ '10:00+01'",
	"TIMESTAMP '2026-01-01'", "TIMESTAMPTZ '2026-01-01 00:00:00+00'", "TIMESTAMP_S '2026-01-01'", "TIMESTAMP_MS '2026-01-01'", "TIMESTAMP_NS '2026-01-01'",
	"INTERVAL 1 DAY", "[n]", "[[1.5]]", "{'a': n}", "MAP {'a': n}", "'a'::ENUM ('a', 'b')", "'101'::BIT",
	"'0b9d2c04-4d63-4b3b-9a1c-1b2f0f2b7f4e'::UUID", "array_value(1, 2)", "NULL", "1::BIGNUM", "count(*)",
}

// sqlSystem compiles a system with one query, and returns its fault, if it has one.
func sqlSystem(t *testing.T, query, schema string) *diag.Diagnostic {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cue.mod", "module.cue"), []byte(moduleFile))
	write(t, filepath.Join(dir, "system.cue"), []byte(`package system

import (
	"tenon.dev/col"
	"tenon.dev/feature"
	"tenon.dev/source"
	"tenon.dev/tenon"
)

tenon.#System
name: "system"
sources: a: source.#Parquet & {path: "a.parquet", schema: n: col.#Int64}
features: f: feature.#SQL & {
	in: a: sources.a.out
	sql: #"""
		`+query+`
		"""#
	schema: {
		n: col.#Int64
		`+schema+`
	}
}
`))
	_, _, err := load(dir, nil)
	var faults diag.List
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &faults) || len(faults) != 1:
		t.Fatalf("%s: %v", query, err)
	}
	return &faults[0]
}

var (
	castHint    = regexp.MustCompile(`CAST\((.*) AS ([A-Z ]+)\)(?: AS (\S+))? in the query`)
	addHint     = regexp.MustCompile("add `([^`]+)` to the schema")
	declareHint = regexp.MustCompile(`declare it as (\w+)`)
)

func TestTheHintForAnUndeclaredColumnCompiles(t *testing.T) {
	for _, named := range []bool{true, false} {
		for _, expr := range expressions {
			as := ""
			if named {
				as = " AS v"
			}
			if expr == "n" {
				continue // it is declared
			}
			d := sqlSystem(t, "SELECT n, "+expr+as+" FROM a GROUP BY n", "")
			if d == nil {
				t.Fatalf("%s: no fault", expr)
			}
			query, add := expr+as, addHint.FindStringSubmatch(d.Hint)
			if m := castHint.FindStringSubmatch(d.Hint); m != nil {
				if m[1] != "..." {
					expr = m[1]
				}
				query = "CAST(" + expr + " AS " + m[2] + ") AS " + m[3]
			}
			if add == nil {
				t.Errorf("%s: the hint proposes no column: %s", expr, d.Hint)
			} else if fault := sqlSystem(t, "SELECT n, "+query+" FROM a GROUP BY n", add[1]); fault != nil && (expr != "NULL" || !strings.Contains(fault.Hint, "set nullable: true")) {
				t.Errorf("%s: after %q: %v", expr, d.Hint, fault)
			}
		}
	}
}

func TestTheHintForAColumnOfAnotherTypeCompiles(t *testing.T) {
	for _, expr := range []string{"true", "sum(n)", "avg(n)", "1.5", "min('a')", "'a'::BLOB", "DATE '2026-01-01'", "TIMESTAMP_NS '2026-01-01'", "[n]"} {
		for _, declared := range []string{"bool", "int64", "string", "bytes", "date", "timestamptz"} {
			d := sqlSystem(t, "SELECT n, "+expr+" AS v FROM a GROUP BY n", "v: col."+compiler.ColumnDefinition(declared))
			if d == nil {
				continue // it has this type
			}
			proposals := strings.Split(d.Hint, ", or ")
			for _, hint := range proposals {
				query, column := expr, declared
				if m := declareHint.FindStringSubmatch(hint); m != nil {
					column = m[1]
				}
				if m := castHint.FindStringSubmatch(hint); m != nil {
					query = "CAST(" + expr + " AS " + m[2] + ")"
				}
				if fault := sqlSystem(t, "SELECT n, "+query+" AS v FROM a GROUP BY n", "v: col."+compiler.ColumnDefinition(column)); fault != nil {
					t.Errorf("%s as %s: after %q: %v", expr, declared, hint, fault)
				}
			}
		}
	}
}
