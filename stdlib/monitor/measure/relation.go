package measure

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A kind is how the values of a column are compared.
type kind string

const (
	number   kind = "number"
	moment   kind = "time" // a date, a time of day or a timestamp, in seconds
	category kind = "category"
	other    kind = "other" // bytes, lists, structs: their nulls are counted, and nothing else
)

// kindOf returns the kind of a type of DuckDB.
func kindOf(duckType string) kind {
	base, _, _ := strings.Cut(duckType, "(")
	switch {
	case strings.HasSuffix(duckType, "]"):
		return other
	case base == "BOOLEAN", base == "VARCHAR", base == "ENUM", base == "UUID":
		return category
	case base == "DATE", strings.HasPrefix(base, "TIME"):
		return moment
	case whole(base), base == "DECIMAL", base == "FLOAT", base == "DOUBLE":
		return number
	}
	return other
}

// whole reports whether a type of DuckDB has whole numbers.
func whole(duckType string) bool {
	return strings.HasSuffix(duckType, "INT") || strings.HasSuffix(duckType, "INTEGER")
}

// A relation is rows that are compared.
type relation struct {
	from    string // in SQL, after FROM
	columns []attribute
	parts   []part // whose rows these are together, if that is known
}

// An attribute is a column of a relation.
type attribute struct {
	name string
	typ  string // DuckDB's name of it
	in   string // its value in the parts, in SQL, if it has parts
}

var query = regexp.MustCompile(`(?i)^\s*(select|with|from|values|\()`)

// from writes a relation, or a SELECT in parentheses.
func from(relation string) string {
	if query.MatchString(relation) {
		return "(" + relation + "\n)"
	}
	return relation
}

// open reads which columns rows have. what names them in errors.
func open(ctx context.Context, db *sql.DB, what, of string) (r relation, err error) {
	r.from = from(of)
	rows, err := db.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM "+r.from+")")
	if err != nil {
		return r, fmt.Errorf("read the columns of the %s: %w", what, err)
	}
	defer rows.Close()
	for rows.Next() {
		var a attribute
		if err := rows.Scan(&a.name, &a.typ); err != nil {
			return r, err
		}
		r.columns = append(r.columns, a)
	}
	return r, rows.Err()
}

// column returns a column, or nil. Names are compared as DuckDB does, ignoring case.
func (r relation) column(name string) *attribute {
	for i, a := range r.columns {
		if strings.EqualFold(a.name, name) {
			return &r.columns[i]
		}
	}
	return nil
}

// where is the rows of a segment.
func (r relation) where(segment map[string]string, by []string) relation {
	if len(by) == 0 {
		return r
	}
	plain := make([]attribute, len(r.columns))
	for i, a := range r.columns {
		plain[i] = attribute{name: a.name, typ: a.typ}
	}
	conditions := make([]string, len(by))
	for i, name := range by {
		conditions[i] = text(name) + " = " + quote(segment[name])
	}
	return relation{from: "(SELECT * FROM " + r.from + " WHERE " + strings.Join(conditions, " AND ") + ")", columns: plain}
}

// read is the value in SQL, of a part if there are any.
func (a attribute) read() string {
	return cmp.Or(a.in, ident(a.name))
}

// finite is the value as a DOUBLE, and NULL if it is NULL, NaN or infinite.
func (a attribute) finite() string {
	c := a.read()
	switch base, _, _ := strings.Cut(a.typ, "("); {
	case base == "FLOAT" || base == "DOUBLE":
		return "CASE WHEN isfinite(" + c + ") THEN CAST(" + c + " AS DOUBLE) END"
	case kindOf(a.typ) == number:
		return "CAST(" + c + " AS DOUBLE)"
	case base == "DATE":
		return "CASE WHEN isfinite(" + c + ") THEN epoch(" + c + ") END"
	case base == "TIMESTAMP" || base == "TIMESTAMP WITH TIME ZONE":
		// epoch of a time with a zone is off in the last bits.
		return "CASE WHEN isfinite(" + c + ") THEN epoch_us(" + c + ") / 1e6 END"
	case strings.HasPrefix(base, "TIMESTAMP_"):
		return "CASE WHEN isfinite(CAST(" + c + " AS TIMESTAMP)) THEN epoch(CAST(" + c + " AS TIMESTAMP)) END"
	case kindOf(a.typ) == moment:
		return "epoch(CAST(" + c + " AS TIME))"
	}
	return "NULL"
}

// value is the value in a part: of a category as text, and of others as a DOUBLE, which is NaN if it is not
// NULL and has no place in the distribution.
func (a attribute) value() string {
	c := a.read()
	switch base, _, _ := strings.Cut(a.typ, "("); {
	case kindOf(a.typ) == category:
		return "CAST(" + c + " AS VARCHAR)"
	case base == "DOUBLE":
		return c
	}
	return "CASE WHEN " + c + " IS NOT NULL THEN coalesce(" + a.finite() + ", CAST('nan' AS DOUBLE)) END"
}

// text is the value of a column as text; NULL is "NULL".
func text(name string) string { return "coalesce(CAST(" + ident(name) + " AS VARCHAR), 'NULL')" }

func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// double writes a number in SQL. As a text it is read exactly, as a literal it would be a DECIMAL.
func double(x float64) string {
	return "CAST('" + strconv.FormatFloat(x, 'g', -1, 64) + "' AS DOUBLE)"
}

// one runs a query, and returns its only row as numbers. NULL is invalid.
func one(ctx context.Context, db *sql.DB, selects []string, from string) ([]sql.NullFloat64, error) {
	values, dest := make([]sql.NullFloat64, len(selects)), make([]any, len(selects))
	for i := range values {
		dest[i] = &values[i]
		selects[i] = "CAST(" + selects[i] + " AS DOUBLE)"
	}
	err := db.QueryRowContext(ctx, "SELECT "+strings.Join(selects, ", ")+" FROM "+from).Scan(dest...)
	return values, err
}

// each calls f for each row of a query. It goes below database/sql, which takes most of the time
// for many rows of few columns.
func each(ctx context.Context, db *sql.DB, query string, f func(row []driver.Value) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(c any) error {
		q, ok := c.(driver.QueryerContext)
		if !ok {
			return errors.New("the driver of the database does not run queries")
		}
		rows, err := q.QueryContext(ctx, query, nil)
		if err != nil {
			return err
		}
		defer rows.Close()
		row := make([]driver.Value, len(rows.Columns()))
		for n := 0; ; n++ {
			if n%(1<<16) == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			if err := rows.Next(row); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := f(row); err != nil {
				return err
			}
		}
	})
}

// A tally says how often a value or an interval occurs in the reference and in the window. Values with
// the same numbers are one tally: every figure of counts is a sum over them. So a window with any
// number of values that the reference does not have takes little memory.
type tally struct {
	reference, current float64
	values             float64 // that occur so often
}

// counts returns how often the values of a category occur in two relations, or false if the reference has
// more than maxCategories. DuckDB joins them, so they may have any number.
func counts(ctx context.Context, db *sql.DB, reference, current relation, a, b attribute) (all []tally, ok bool, err error) {
	group := func(r relation, a attribute) string {
		return "(SELECT v, count(*) AS n FROM (SELECT CAST(" + ident(a.name) + " AS VARCHAR) AS v FROM " + r.from + ") WHERE v IS NOT NULL GROUP BY v)"
	}
	q := fmt.Sprintf("SELECT CAST(coalesce(r.n, 0) AS DOUBLE) AS x, CAST(coalesce(c.n, 0) AS DOUBLE) AS y, CAST(count(*) AS DOUBLE) FROM %s AS r FULL JOIN %s AS c USING (v) GROUP BY x, y ORDER BY x, y",
		group(reference, a), group(current, b))
	known := 0.0
	err = each(ctx, db, q, func(row []driver.Value) error {
		n, err := floats(row)
		if err != nil {
			return err
		}
		if all = append(all, tally{n[0], n[1], n[2]}); n[0] > 0 {
			known += n[2]
		}
		return nil
	})
	return all, known <= maxCategories, err
}

func floats(row []driver.Value) ([]float64, error) {
	all := make([]float64, len(row))
	for i, v := range row {
		x, ok := v.(float64)
		if !ok {
			return nil, fmt.Errorf("%T instead of a number", v)
		}
		all[i] = x
	}
	return all, nil
}

// segments returns the groups of the values of columns in the current rows, the largest first, at
// most so many, and how many there are.
func segments(ctx context.Context, db *sql.DB, r relation, by []string, most int) (all []map[string]string, n int64, err error) {
	texts := make([]string, len(by))
	for i, name := range by {
		if r.column(name) == nil {
			return nil, 0, fmt.Errorf("the rows have no column %q to divide by; they have %s", name, strings.Join(r.names(), ", "))
		}
		texts[i] = text(name)
	}
	list := strings.Join(texts, ", ")
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT DISTINCT "+list+" FROM "+r.from+")").Scan(&n); err != nil {
		return nil, 0, err
	}
	q := fmt.Sprintf("SELECT %s FROM %s GROUP BY ALL ORDER BY count(*) DESC, %s LIMIT %d", list, r.from, list, most)
	err = each(ctx, db, q, func(row []driver.Value) error {
		s := map[string]string{}
		for i, name := range by {
			s[name] = fmt.Sprint(row[i])
		}
		all = append(all, s)
		return nil
	})
	return all, n, err
}

func (r relation) names() []string {
	names := make([]string, len(r.columns))
	for i, a := range r.columns {
		names[i] = a.name
	}
	slices.Sort(names)
	return names
}
