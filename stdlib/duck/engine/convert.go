package engine

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Text that stands for a value of a type. DuckDB's own casts take more and lose
// something without a word: they round "1.5" to a whole number, cut the time off a
// date, the offset off a timestamp and the digits after the sixth off a second.
const (
	wholeText   = `\s*[-+]?[0-9]+(\.0*)?\s*`
	notFinite   = `(?i)\s*[-+]?(inf|infinity|nan)\s*`
	nanText     = `(?i)\s*[-+]?nan\s*`
	hourText    = `([01]?[0-9]|2[0-3]):[0-9]{2}`
	secondText  = `(:[0-9]{2}(\.[0-9]{0,6}0*)?)?`
	dayText     = `\s*[0-9]{4,}[-/][0-9]{1,2}[-/][0-9]{1,2}`
	dateText    = dayText + `([ T]0?0:00(:00(\.0*)?)?)?\s*`
	timeText    = `\s*` + hourText + secondText + `\s*`
	stampText   = dayText + `([ T]` + hourText + secondText + `)?\s*`
	instantText = dayText + `[ T]` + hourText + secondText + `\s*(Z|UTC|[-+]([01][0-9]|2[0-3])(:?[0-5][0-9](:[0-5][0-9])?)?)\s*`
)

// textForm is how text stands for values.
type textForm struct {
	duck.CSV
	escaped bool // bytes are written as DuckDB prints them, such as \x41
}

// converted is the conversion of a column as SQL.
type converted struct {
	from  string // what is converted
	text  string // how it is shown; empty: as DuckDB prints it
	ok    string // whether it is exactly one value of the type; empty: it always is
	value string // that value
}

// sql is the value, and fails where there is none.
func (c converted) sql(col ir.Column) string {
	if c.ok == "" {
		return c.value
	}
	return fmt.Sprintf("CASE WHEN %s THEN %s WHEN %s IS NOT NULL THEN CAST(error('a value does not convert') AS %s) END", c.ok, c.value, c.from, ir.Types[col.Type])
}

// bad is the condition that there is no value. Text in a file that cannot be read
// has no value either.
func (c converted) bad() string {
	bad := fmt.Sprintf("TRY(%s) IS NULL", c.value)
	if c.ok != "" {
		bad = fmt.Sprintf("(NOT coalesce(TRY(%s), false) OR %s)", c.ok, bad)
	}
	return fmt.Sprintf("%s IS NOT NULL AND %s", c.from, bad)
}

// and adds a condition.
func (c converted) and(ok string) converted {
	if c.ok != "" {
		ok = fmt.Sprintf("(%s) AND (%s)", c.ok, ok)
	}
	c.ok = ok
	return c
}

// withoutNaN makes NaN null, or refuses it where nothing may be missing. nan is the
// condition for it.
func withoutNaN(col ir.Column, v, nan string, convert func(v string) converted) converted {
	switch {
	case col.NaN:
		return convert(v)
	case col.Nullable:
		return convert(fmt.Sprintf("(CASE WHEN NOT coalesce(%s, false) THEN %s END)", nan, v))
	}
	return convert(v).and("NOT " + nan)
}

func matches(v, pattern string) string {
	return fmt.Sprintf("regexp_full_match(%s, '%s')", v, pattern)
}

// fromText converts text, the SQL expression v.
func fromText(v string, col ir.Column, f textForm) converted {
	typ := ir.Types[col.Type]
	c := converted{from: v, value: fmt.Sprintf("CAST(%s AS %s)", v, typ)}
	comma := f.Decimal != "" && f.Decimal != "."
	// With a decimal comma, a point would separate thousands, which nothing here removes.
	point := func() string {
		if !comma {
			return v
		}
		return fmt.Sprintf("(CASE WHEN contains(%[1]s, '.') THEN 'not ' || %[1]s ELSE replace(%[1]s, %[2]s, '.') END)", v, quote(f.Decimal))
	}
	switch kind := kindOf(col); kind {
	case "string":
		c.value = v
	case "json":
		c.value, c.ok = v, validJSON(v)
	case "bytes":
		if !f.escaped {
			c.value = fmt.Sprintf("encode(%s)", v)
		}
	case "int":
		n := point()
		c.ok = matches(n, wholeText)
		c.value = fmt.Sprintf("CAST(%s AS %s)", n, typ)
	case "float":
		return withoutNaN(col, v, matches(v, nanText), func(v string) converted { return floatText(v, col, f) })
	case "date":
		c = strict(c, f.DateFormat, dateText)
		if f.DateFormat != "" {
			c.ok = fmt.Sprintf("CAST(CAST(%[1]s AS DATE) AS TIMESTAMP) = %[1]s", c.value)
			c.value = fmt.Sprintf("CAST(%s AS DATE)", c.value)
		}
	case "time":
		c = strict(c, "", timeText)
	case "timestamp", "timestamptz":
		pattern := stampText
		if kind == "timestamptz" {
			pattern = instantText
		}
		c = strict(c, f.TimestampFormat, pattern)
		if strings.Contains(f.TimestampFormat, "%n") {
			c.ok = fmt.Sprintf("epoch_ns(%s) %% 1000 = 0", c.value)
		}
		if f.TimestampFormat != "" {
			c.value = fmt.Sprintf("CAST(%s AS %s)", c.value, typ)
		}
	}
	return c
}

// validJSON is the condition that text is JSON. DuckDB also takes NaN, infinity and commas
// at the end of lists for it, which other readers refuse.
func validJSON(v string) string {
	return fmt.Sprintf("json_valid(%s) AND %s", v, standardJSON(v))
}

// standardJSON is the condition that what DuckDB takes for JSON is JSON.
func standardJSON(v string) string {
	outside := fmt.Sprintf(`regexp_replace(%s, '"([^"\\]|\\.)*"', '0', 'g')`, v)
	return fmt.Sprintf(`NOT regexp_matches(%s, '(?i)nan|inf|,\s*[]}]')`, outside)
}

// strict takes the text that matches a pattern, or reads it in a format of
// strptime.
func strict(c converted, format, pattern string) converted {
	if format != "" {
		c.value = fmt.Sprintf("strptime(%s, %s)", c.from, quote(format))
		return c
	}
	return c.and(matches(c.from, pattern))
}

// floatText converts to the nearest float. A whole number has to be one that the
// float prints: 9007199254740993 is not one.
func floatText(v string, col ir.Column, f textForm) converted {
	typ := ir.Types[col.Type]
	n, digits := v, 15
	if col.Type == "float32" {
		digits = 6
	}
	if f.Decimal != "" && f.Decimal != "." {
		n = fmt.Sprintf("(CASE WHEN contains(%[1]s, '.') THEN 'not ' || %[1]s ELSE replace(%[1]s, %[2]s, '.') END)", v, quote(f.Decimal))
	}
	ok := fmt.Sprintf("CASE WHEN contains(%[1]s, '_') THEN false WHEN isfinite(CAST(%[1]s AS %[2]s)) THEN"+
		" CASE WHEN length(%[1]s) > %[3]d AND %[4]s THEN trim(regexp_extract(%[1]s, '[0-9]+'), '0') = trim(regexp_replace(regexp_replace(CAST(CAST(%[1]s AS %[2]s) AS VARCHAR), 'e.*$', ''), '[^0-9]', '', 'g'), '0') ELSE true END"+
		" ELSE %[5]s END", n, typ, digits, matches(n, wholeText), matches(n, notFinite))
	return converted{from: v, ok: ok, value: fmt.Sprintf("CAST(%s AS %s)", n, typ)}
}

// fromTyped converts a typed column, the SQL expression v. The table of
// conversions allows it.
func fromTyped(v string, f found, col ir.Column) converted {
	if f.kind == "text" {
		return fromText(fmt.Sprintf("CAST(%s AS VARCHAR)", v), col, textForm{})
	}
	if f.kind == "float" {
		return withoutNaN(col, v, fmt.Sprintf("isnan(%s)", v), func(v string) converted { return fromNumber(v, f, col) })
	}
	c := fromNumber(v, f, col)
	if exists := within(v, f.span()); exists != "" {
		// Before any other condition, which may fail for what is no time.
		if c.ok != "" {
			exists = fmt.Sprintf("CASE WHEN %s THEN %s ELSE false END", exists, c.ok)
		}
		c.ok, c.text = exists, shownTime(v, f.span())
	}
	return c
}

func fromNumber(v string, f found, col ir.Column) converted {
	typ, kind := ir.Types[col.Type], kindOf(col)
	c := converted{from: v, value: fmt.Sprintf("CAST(%s AS %s)", v, typ)}
	if f.typ == typ && !f.nanos {
		return converted{from: v, value: v}
	}
	if f.nanos {
		micros := fmt.Sprintf("CAST(%s AS TIMESTAMP)", v)
		switch kind {
		case "string":
			if f.kind == "timestamptz" {
				c.value = fmt.Sprintf("CAST(%s AS VARCHAR) || '+00'", v)
			}
			if f.kind == "time" {
				c.value = fmt.Sprintf("substr(CAST(%s AS VARCHAR), 12)", v)
			}
			return c
		case "date":
			c.ok = fmt.Sprintf("CAST(CAST(CAST(%[1]s AS DATE) AS TIMESTAMP_NS) AS TIMESTAMP_NS) = %[1]s", v)
			return c
		}
		c.ok, c.value = fmt.Sprintf("epoch_ns(%s) %% 1000 = 0", v), fmt.Sprintf("CAST(%s AS %s)", micros, typ)
		return c
	}
	switch kind + " of " + f.kind {
	case "bool of int", "bool of float":
		c.ok = v + " IN (0, 1)"
	case "int of float":
		c.ok = fmt.Sprintf("trunc(%[1]s) = %[1]s", v)
	case "int of decimal":
		c.ok = fmt.Sprintf("CAST(%s AS %s) = %s", c.value, f.typ, v)
	case "float of int":
		c.ok = fmt.Sprintf("CAST(%s AS HUGEINT) = %s", c.value, v)
	case "float of float":
		if f.typ == "DOUBLE" {
			c.ok = fmt.Sprintf("CAST(%s AS DOUBLE) = %s", c.value, v)
		}
	case "float of decimal":
		// By way of text: DuckDB divides, and the quotient is not always the nearest.
		c.value = fmt.Sprintf("CAST(CAST(%s AS VARCHAR) AS %s)", v, typ)
		wider, _ := f.withDigit()
		c.ok = fmt.Sprintf("CAST(CAST(%s AS VARCHAR) AS %s) = %s", c.value, wider, v)
	case "string of decimal":
		if _, none := f.withDigit(); none { // DuckDB prints .5
			c.value = fmt.Sprintf(`regexp_replace(CAST(%s AS VARCHAR), '^(-?)\.', '\10.')`, v)
		}
	case "string of bytes":
		c.value = fmt.Sprintf("decode(%s)", v)
	case "json of bytes":
		c.value = fmt.Sprintf("decode(%s)", v)
		c.ok = validJSON(c.value)
	case "json of bool", "json of int", "json of nested":
		c.value = fmt.Sprintf("CAST(to_json(%s) AS VARCHAR)", v)
		if f.kind == "nested" { // which may hold NaN
			c.ok = standardJSON(c.value)
			if !strings.Contains(f.typ, "VARCHAR") { // whose text may be the word
				c.ok += fmt.Sprintf(` AND NOT regexp_matches(%s, '"-?infinity"')`, c.value)
			}
		}
	case "date of timestamp":
		c.ok = fmt.Sprintf("CAST(%s AS TIMESTAMP) = CAST(%s AS TIMESTAMP)", c.value, v)
	case "time of time": // with an offset, which Parquet does not have
		c.ok = fmt.Sprintf("CAST(%s AS %s) = %s", c.value, f.typ, v)
	}
	return c
}

// jsonKinds relates the types of DuckDB's JSON to the kinds of the table.
var jsonKinds = []struct{ typ, kind string }{
	{"VARCHAR", "text"}, {"BOOLEAN", "bool"}, {"BIGINT", "int"}, {"UBIGINT", "int"}, {"DOUBLE", "number"}, {"ARRAY", "nested"}, {"OBJECT", "nested"},
}

// fromJSON converts a value of JSON, the SQL expression v of the type JSON, each by
// its own type. A number may have lost digits, which [jsonScan] has refused before.
func fromJSON(v string, col ir.Column) converted {
	if kindOf(col) == "json" {
		c := converted{from: v, value: fmt.Sprintf("CAST(%s AS VARCHAR)", v)}
		return c.and(standardJSON(c.value))
	}
	var allowed []string
	for _, k := range jsonKinds {
		if conversionOf(k.kind, col).rule != refused {
			allowed = append(allowed, quote(k.typ))
		}
	}
	plain := fmt.Sprintf("(CASE WHEN json_type(%[1]s) = 'VARCHAR' THEN %[1]s ->> '$' ELSE CAST(%[1]s AS VARCHAR) END)", v)
	c := fromText(plain, col, textForm{})
	return c.and(fmt.Sprintf("json_type(%s) IN (%s)", v, strings.Join(allowed, ", ")))
}
