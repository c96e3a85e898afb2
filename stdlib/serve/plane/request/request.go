package request

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"unicode/utf8"
	"unsafe"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// MostErrors is how many errors of a body are reported.
const MostErrors = 10

// An Error is one thing that is wrong with a body. Its JSON is that of FastAPI.
type Error struct {
	Type string `json:"type"`
	Loc  []any  `json:"loc"` // names and indexes, from "body" on
	Msg  string `json:"msg"`
}

// A Decoder reads bodies. It is safe for concurrent use.
type Decoder struct {
	columns []column
	index   map[string]int
	most    int
	list    string // the name of the list of rows
	wanted  string // what it says to a body that is something else
}

type column struct {
	ir.Column
	read            func(s *scanner, c *column, v *rowsql.Value) fault
	low, high       float64 // of floats
	lowInt, highInt int64   // of signed integers and of times
	lowUint         uint64  // of unsigned ones
	highUint        uint64
	values          map[string]bool
	oneOf           string // what it says to other values
}

// Rows are the values of a request, row by row. Texts refer to the body.
type Rows struct {
	Values  []rowsql.Value
	Columns int
	seen    []bool
	order   []int // of the fields of the last row, as columns
	scratch []byte
	scanner scanner
}

// Len is the number of rows.
func (r *Rows) Len() int {
	if r.Columns == 0 {
		return 0
	}
	return len(r.Values) / r.Columns
}

// Row returns the values of a row.
func (r *Rows) Row(i int) []rowsql.Value { return r.Values[i*r.Columns : (i+1)*r.Columns] }

// New returns a decoder for rows of the columns, of at most most rows a request.
func New(columns ir.Schema, most int) (*Decoder, error) { return NewList("instances", columns, most) }

// NewList returns a decoder for rows in a list of another name than "instances".
func NewList(name string, columns ir.Schema, most int) (*Decoder, error) {
	d := &Decoder{index: map[string]int{}, most: most, list: name}
	for i, c := range columns {
		x, err := newColumn(c)
		if err != nil {
			return nil, err
		}
		d.columns = append(d.columns, x)
		d.index[c.Name] = i
	}
	d.wanted = "wanted an object with a list \"" + name + "\", such as " + shownExample(name, columns)
	return d, nil
}

func newColumn(c ir.Column) (column, error) {
	x := column{Column: c, low: math.Inf(-1), high: math.Inf(1)}
	var known bool
	if x.read, known = readers[c.Type]; !known {
		return x, fmt.Errorf("column %s: a request cannot have a %s", c.Name, c.Type)
	}
	if err := x.bound(); err != nil {
		return x, fmt.Errorf("column %s: %w", c.Name, err)
	}
	if len(c.Values) > 0 {
		x.values, x.oneOf = map[string]bool{}, oneOf(c.Values)
		for _, v := range c.Values {
			x.values[v] = true
		}
	}
	return x, nil
}

// bound prepares the bounds: of an integer, the whole numbers within them and its type.
func (c *column) bound() error {
	c.lowInt, c.highInt, c.highUint = math.MinInt64, math.MaxInt64, math.MaxUint64
	low, high := new(big.Rat).SetInt64(math.MinInt64), new(big.Rat).SetInt(new(big.Int).SetUint64(math.MaxUint64))
	size, whole := sizes[c.Type]
	switch {
	case whole && c.Type[0] == 'u':
		low.SetInt64(0)
		high.SetInt(new(big.Int).SetUint64(1<<size - 1))
	case whole:
		low.SetInt64(-1 << (size - 1))
		high.SetInt64(1<<(size-1) - 1)
	}
	switch c.Type {
	case "date", "timestamp", "timestamptz":
		return c.boundTimes()
	}
	if c.Min != "" {
		r, ok := new(big.Rat).SetString(c.Min.String())
		if !ok {
			return fmt.Errorf("min %s is not a number", c.Min)
		}
		c.low, _ = r.Float64()
		if r.Cmp(low) > 0 {
			low = r
		}
	}
	if c.Max != "" {
		r, ok := new(big.Rat).SetString(c.Max.String())
		if !ok {
			return fmt.Errorf("max %s is not a number", c.Max)
		}
		c.high, _ = r.Float64()
		if r.Cmp(high) < 0 {
			high = r
		}
	}
	if !whole {
		return nil
	}
	floor := func(r *big.Rat) *big.Int { return new(big.Int).Div(r.Num(), r.Denom()) }
	least := new(big.Int).Neg(floor(new(big.Rat).Neg(low)))
	most := floor(high)
	switch {
	case least.Cmp(most) > 0:
		return fmt.Errorf("no %s is at least %s and at most %s", c.Type, c.Min, c.Max)
	case c.Type[0] == 'u':
		c.lowUint, c.highUint = least.Uint64(), most.Uint64()
	default:
		c.lowInt, c.highInt = least.Int64(), most.Int64()
	}
	return nil
}

// boundTimes prepares the bounds of a date, in days, or of a time, in microseconds.
func (c *column) boundTimes() error {
	for _, b := range []struct {
		bound ir.Bound
		to    *int64
	}{{c.Min, &c.lowInt}, {c.Max, &c.highInt}} {
		if b.bound == "" {
			continue
		}
		t, _, ok := ir.ParseTime(b.bound.String())
		if !ok {
			return fmt.Errorf("the bound %s is no %s", b.bound, c.Type)
		}
		if *b.to = t.UnixMicro(); c.Type == "date" {
			*b.to = t.Unix() / 86_400
		}
	}
	return nil
}

// sizes are the bits of integers.
var sizes = map[string]uint{"int8": 8, "int16": 16, "int32": 32, "int64": 64, "uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}

// Decode reads a body into rows, whose memory it uses again. If there are errors, the rows
// mean nothing.
func (d *Decoder) Decode(body []byte, rows *Rows) []Error {
	rows.Values, rows.Columns, rows.scratch = rows.Values[:0], len(d.columns), rows.scratch[:0]
	if len(rows.seen) < len(d.columns) {
		rows.seen = make([]bool, len(d.columns))
	}
	s := &rows.scanner
	*s = scanner{b: body, rows: rows, d: d}
	s.document(d)
	errs := append(append(s.outer, s.list...), s.errors...)
	*s = scanner{} // so that it keeps no body
	if len(errs) == 0 {
		return nil
	}
	if says := d.size(body); says != "" {
		return []Error{{"value_error", []any{"body"}, says}}
	}
	return errs[:min(len(errs), MostErrors)]
}

// surplus is how many brackets and values beyond those of a valid body are still looked at.
const surplus = 100

// size refuses a body with more parts than a valid one has. An error of one that is hardly
// larger still says what is wrong.
func (d *Decoder) size(body []byte) (says string) {
	quotes, objects, lists, commas := 0, 0, 0, 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '\\':
			if i+1 < len(body) && (body[i+1] == '\\' || body[i+1] == '"') {
				i++
			}
			continue
		case '"':
			quotes++
			continue
		}
		if quotes%2 == 1 {
			continue
		}
		switch body[i] {
		case '{':
			objects++
		case '[':
			lists++
		case ',':
			commas++
		}
	}
	values := d.most*(len(d.columns)+1) + surplus
	if quotes > 4*values || objects > d.most+surplus || lists > surplus || commas > values {
		return fmt.Sprintf("wanted at most %d rows of %d fields, without lists or objects in them", d.most, len(d.columns))
	}
	return ""
}

// document reads the object around the rows.
func (s *scanner) document(d *Decoder) {
	if !utf8.Valid(s.b) {
		at := 0
		for {
			r, size := utf8.DecodeRune(s.b[at:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			at += size
		}
		s.fail(fmt.Sprintf("the body is no UTF-8 at byte %d", at))
		return
	}
	if !s.take('{') {
		if s.skip() && s.end() {
			s.fail(d.wanted)
		}
		return
	}
	found, rows := false, false
	var names map[string]bool
	for n := 0; !s.take('}'); n++ {
		if n > 0 && !s.expect(',') {
			return
		}
		name, ok := s.name()
		if !ok {
			return
		}
		switch {
		case string(name) != d.list:
			if n < MostErrors {
				s.outer = append(s.outer, Error{extra.kind, []any{"body", short(name)}, extra.says})
			}
			if !s.once(&names, name) || !s.skip() {
				return
			}
		case found:
			s.fail(twice)
			return
		default:
			found, rows = true, s.take('[')
			if rows && !s.instances(d) || !rows && !s.skip() {
				return
			}
		}
	}
	if s.end() && !rows {
		s.fail(d.wanted)
	}
}

// end fails if there is more after the document.
func (s *scanner) end() bool {
	if s.space(); s.at < len(s.b) {
		s.fail("the body is no JSON: there is more after its end")
		return false
	}
	return true
}

var (
	extra    = fault{"extra_forbidden", "Extra inputs are not permitted"}
	missing  = fault{"missing", "Field required"}
	noObject = fault{"model_type", "Input should be a valid dictionary or instance of Instance"}
)

// instances reads the list of rows from its first item on.
func (s *scanner) instances(d *Decoder) bool {
	n := 0
	list := ""
	for ; !s.take(']'); n++ {
		if n > 0 && !s.expect(',') {
			return false
		}
		if n == d.most {
			list = fmt.Sprintf("the list may have at most %d items", d.most)
		}
		if list != "" {
			s.rows.Values = s.rows.Values[:0] // they mean nothing any more
		}
		if len(s.errors) >= MostErrors {
			if !s.skip() {
				return false
			}
		} else if !s.row(d, n) {
			return false
		}
	}
	if n == 0 {
		list = "the list has to have at least 1 item"
	}
	if list != "" {
		s.list = []Error{{"value_error", []any{"body", d.list}, list}}
	}
	return true
}

func (s *scanner) row(d *Decoder, n int) bool {
	if !s.take('{') {
		s.refuse(noObject, d.list, n)
		return s.skip()
	}
	from := len(s.rows.Values)
	s.rows.Values = slices.Grow(s.rows.Values, len(d.columns))[:from+len(d.columns)]
	values, seen := s.rows.Values[from:], s.rows.seen[:len(d.columns)]
	for i := range values {
		values[i], seen[i] = rowsql.Null, false
	}
	var faults map[int]fault // by column
	var names map[string]bool
	s.extra = s.extra[:0]
	for field := 0; !s.take('}'); {
		if field > 0 && !s.expect(',') {
			return false
		}
		name, ok := s.name()
		if !ok {
			return false
		}
		i, known := d.column(s.rows, field, name)
		if field++; !known {
			if len(s.extra) < MostErrors {
				s.extra = append(s.extra, Error{extra.kind, []any{"body", d.list, n, short(name)}, extra.says})
			}
			if !s.once(&names, name) || !s.skip() {
				return false
			}
			continue
		}
		if seen[i] {
			s.fail(twice)
			return false
		}
		seen[i] = true
		c := &d.columns[i]
		if s.space(); c.Nullable && s.literal("null") {
			continue
		}
		at := s.at
		wrong := c.read(s, c, &values[i])
		if s.broken {
			return false
		}
		if wrong.kind != "" {
			if faults == nil {
				faults = map[int]fault{}
			}
			faults[i] = wrong
			if s.at = at; !s.skip() {
				return false
			}
		}
	}
	for i, there := range seen {
		c := &d.columns[i]
		if !there && !c.Nullable {
			s.refuse(missing, d.list, n, short([]byte(c.Name)))
		} else if wrong := faults[i]; wrong.kind != "" {
			s.refuse(wrong, d.list, n, short([]byte(c.Name)))
		}
	}
	for _, e := range s.extra {
		if len(s.errors) < MostErrors {
			s.errors = append(s.errors, e)
		}
	}
	return true
}

// column returns the column of a field. Rows mostly have their fields in the order of the row
// before, so it looks there first.
func (d *Decoder) column(rows *Rows, field int, name []byte) (i int, known bool) {
	if field < len(rows.order) {
		if i := rows.order[field]; i < len(d.columns) && d.columns[i].Name == string(name) {
			return i, true
		}
	}
	if i, known = d.index[string(name)]; known {
		if field < len(rows.order) {
			rows.order[field] = i
		} else if field == len(rows.order) && field < len(d.columns) {
			rows.order = append(rows.order, i)
		}
	}
	return i, known
}

// short is a name as an error shows it.
func short(name []byte) string {
	const most = 100 // characters
	n := 0
	for i := range string(name) {
		if n == most {
			return string(name[:i])
		}
		n++
	}
	return string(name)
}

// text returns bytes as a string without a copy.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
