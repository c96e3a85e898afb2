package rowsql_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

var checker = sync.OnceValues(engine.NewChecker)

// database is DuckDB as components run it.
var database = sync.OnceValue(func() *sql.DB {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		panic(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("SET TimeZone = 'UTC'; SET threads = 1"); err != nil {
		panic(err)
	}
	return db
})

type fataler interface{ Fatalf(string, ...any) }

// compile compiles a query, and passes the plan through JSON.
func compile(t fataler, tables []rowsql.Table, query string) (*rowsql.Plan, error) {
	c, err := checker()
	if err != nil {
		t.Fatalf("%v", err)
	}
	schemas := map[string]ir.Schema{}
	for _, table := range tables {
		schemas[table.Name] = table.Schema
	}
	bound, err := c.Bind(context.Background(), schemas, query)
	if err != nil {
		return nil, err
	}
	plan, err := rowsql.Compile(query, bound, tables)
	if err != nil {
		return nil, err
	}
	if all := plan.Refusals(nil, nil); len(all) > 0 {
		return nil, all[0]
	}
	b, err := json.Marshal(plan)
	if err != nil {
		t.Fatalf("%v", err)
	}
	plan = nil
	if err := json.Unmarshal(b, &plan); err != nil {
		t.Fatalf("%v", err)
	}
	return plan, nil
}

// refused reports whether an error says why a query is not computed row by row.
func refused(err error) bool {
	var r *rowsql.Refusal
	return errors.As(err, &r)
}

// literal writes a value in SQL.
func literal(v rowsql.Value, typ string) string {
	if v.Null {
		return "NULL::" + ir.Types[typ]
	}
	switch typ {
	case "bool":
		return strconv.FormatBool(v.Bool())
	case "int8", "int16", "int32", "int64":
		return fmt.Sprintf("CAST('%d' AS %s)", v.Int(), ir.Types[typ])
	case "uint8", "uint16", "uint32", "uint64":
		return fmt.Sprintf("CAST('%d' AS %s)", v.Bits, ir.Types[typ])
	case "float64":
		return fmt.Sprintf("CAST('%s' AS DOUBLE)", strconv.FormatFloat(v.Float(), 'g', -1, 64))
	case "float32":
		return fmt.Sprintf("CAST('%s' AS FLOAT)", strconv.FormatFloat(float64(v.Float32()), 'g', -1, 32))
	case "string":
		return "'" + strings.ReplaceAll(v.Text, "'", "''") + "'"
	case "date":
		switch v.Int() {
		case math.MaxInt32:
			return "DATE 'infinity'"
		case -math.MaxInt32:
			return "DATE '-infinity'"
		}
		return fmt.Sprintf("(DATE '1970-01-01' + CAST(%d AS INTEGER))", v.Int())
	case "timestamp":
		switch v.Int() {
		case math.MaxInt64:
			return "TIMESTAMP 'infinity'"
		case -math.MaxInt64:
			return "TIMESTAMP '-infinity'"
		}
		return fmt.Sprintf("make_timestamp(CAST(%d AS BIGINT))", v.Int())
	case "timestamptz":
		return literal(v, "timestamp") + "::TIMESTAMPTZ"
	case "time":
		return literal(v, "timestamp") + "::TIME"
	}
	panic(typ)
}

// load makes a table of DuckDB.
func load(t fataler, name string, schema ir.Schema, rows [][]rowsql.Value) {
	var columns []string
	for _, c := range schema {
		columns = append(columns, `"`+c.Name+`" `+ir.Types[c.Type])
	}
	mustExec(t, "CREATE OR REPLACE TABLE "+name+" ("+strings.Join(columns, ", ")+")")
	var all []string
	for _, r := range rows {
		var values []string
		for i, v := range r {
			values = append(values, literal(v, schema[i].Type))
		}
		all = append(all, "("+strings.Join(values, ", ")+")")
	}
	if len(all) > 0 {
		mustExec(t, "INSERT INTO "+name+" VALUES "+strings.Join(all, ", "))
	}
}

func mustExec(t fataler, query string) {
	if _, err := database().Exec(query); err != nil {
		t.Fatalf("%v\n%s", err, query)
	}
}

// texts runs a query of texts.
func texts(query string) ([][]string, error) {
	rows, err := database().Query(query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, _ := rows.Columns()
	var all [][]string
	for rows.Next() {
		values := make([]any, len(columns))
		dest := make([]any, len(columns))
		for i := range dest {
			dest[i] = &values[i]
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		line := make([]string, len(columns))
		for i, v := range values {
			switch v := v.(type) {
			case nil:
				line[i] = none
			case float64:
				line[i] = bitsOf(v)
			case float32:
				line[i] = bitsOf(float64(v))
			default:
				line[i] = fmt.Sprint(v)
			}
		}
		all = append(all, line)
	}
	return all, rows.Err()
}

// bitsOf writes a float so that different ones are different: zeros and NaNs have signs.
func bitsOf(f float64) string {
	if math.IsNaN(f) {
		return fmt.Sprintf("NaN %x", math.Float64bits(f)>>63)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// comparable is a value in SQL as texts reads it without loss.
func comparable(typ, e string) string {
	if typ == "DOUBLE" || typ == "FLOAT" {
		return e
	}
	return "CAST(" + e + " AS VARCHAR)"
}

// none is the text of null, and failed that of an error.
const (
	none   = "\u2205"
	failed = "!"
)

// run computes rows of a request, and returns the text of each output, or nothing for a
// row that the query drops.
func run(t testing.TB, plan *rowsql.Plan, tables []*rowsql.Rows, rows [][]rowsql.Value) ([][]string, []error) {
	t.Helper()
	prog, err := rowsql.Load(plan)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	r, out := prog.NewRow(), make([]rowsql.Value, len(plan.Outputs))
	all, errs := make([][]string, len(rows)), make([]error, len(rows))
	for i, in := range rows {
		keep, err := prog.Run(r, tables, in, out)
		if errs[i] = err; err != nil || !keep {
			continue
		}
		for j, v := range out {
			all[i] = append(all[i], textOf(t, v, plan.Outputs[j].Type))
		}
	}
	return all, errs
}

func textOf(t testing.TB, v rowsql.Value, typ string) string {
	if v.Null {
		return none
	}
	switch typ {
	case "DOUBLE":
		return bitsOf(v.Float())
	case "FLOAT":
		return bitsOf(float64(v.Float32()))
	}
	s, err := v.Format(typ)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return s
}
