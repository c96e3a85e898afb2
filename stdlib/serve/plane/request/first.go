package request

import (
	"unicode/utf8"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// First reads the first row of a body, and nothing behind it. It returns nil if there is none
// that is valid. Its memory is used as by [Decoder.Decode].
func (d *Decoder) First(body []byte, rows *Rows) []rowsql.Value {
	rows.Values, rows.Columns, rows.scratch = rows.Values[:0], len(d.columns), rows.scratch[:0]
	if len(rows.seen) < len(d.columns) {
		rows.seen = make([]bool, len(d.columns))
	}
	s := &rows.scanner
	*s = scanner{b: body, rows: rows, d: d}
	ok := utf8.Valid(body) && s.first(d)
	*s = scanner{}
	if !ok {
		return nil
	}
	return rows.Row(0)
}

func (s *scanner) first(d *Decoder) bool {
	if !s.take('{') {
		return false
	}
	for n := 0; n == 0 || s.expect(','); n++ {
		name, ok := s.name()
		if !ok {
			return false
		}
		if string(name) == d.list {
			return s.take('[') && s.row(d, 0) && !s.broken && len(s.errors) == 0
		}
		if !s.skip() {
			return false
		}
	}
	return false
}
