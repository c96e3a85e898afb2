package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// jsonScan reads the text of JSON lines beside DuckDB, for what that drops: it takes a number
// with a fraction or an exponent for a float64, whose digits are no longer those of the file,
// and a line that is null for a row without values. What is not JSON is left to DuckDB.
type jsonScan struct {
	file   string
	schema ir.Schema // nil if types are to be found: then it collects keys and faults

	keys   []string         // of all objects, in order, without a schema
	faults map[string]error // by key: the first number that is no float64

	columns map[string]int // of the schema, or of keys
	line    int            // of the current line, from 0
	depth   int
	text    bool   // in a text
	escaped bool   // behind a backslash in a text
	wants   byte   // of the object of the line: 'k' a key, 'v' a value, or 0
	key     []byte // that is being read
	column  int    // of the value that follows, or -1
	comma   bool   // behind a comma
	token   []byte // a number or a word that is the value of a column, or a line
}

func newJSONScan(file string, schema ir.Schema) *jsonScan {
	s := &jsonScan{file: file, schema: schema, columns: map[string]int{}, faults: map[string]error{}, column: -1}
	for i, c := range schema {
		s.columns[c.Name] = i
	}
	return s
}

// read reads the next part of the text, and returns the first fault in it.
func (s *jsonScan) read(text []byte, end bool) error {
	for _, c := range text {
		if s.text && c != '\n' {
			s.inText(c)
			continue
		}
		if err := s.outside(c); err != nil {
			return err
		}
	}
	if end {
		return s.outside('\n')
	}
	return nil
}

func (s *jsonScan) inText(c byte) {
	isKey := s.depth == 1 && s.wants == 'k'
	switch {
	case s.escaped:
		s.escaped = false
	case c == '\\':
		s.escaped = true
	case c == '"':
		if s.text = false; isKey {
			s.endKey()
		}
		return
	}
	if isKey {
		s.key = append(s.key, c)
	}
}

func (s *jsonScan) outside(c byte) (err error) {
	switch c {
	case '"':
		s.text, s.key = true, s.key[:0]
	case '{', '[':
		if s.depth++; s.depth == 1 && c == '{' {
			s.wants = 'k'
		}
	case '}', ']':
		if err = s.endToken(); s.comma && err == nil {
			err = fmt.Errorf("%s:%d: the line is not a JSON object: a comma comes before %q", s.file, s.line+1, string(c))
		}
		s.depth--
	case ':':
		if s.depth == 1 && s.wants == 'k' {
			s.wants = 'v'
		}
	case ',':
		if err = s.endToken(); s.depth == 1 && s.wants == 'v' {
			s.wants = 'k'
		}
		s.comma = true
		return err
	case ' ', '\t', '\r':
		return nil
	case '\n':
		err = s.endToken()
		s.line++
		s.depth, s.text, s.escaped, s.wants, s.column = 0, false, false, 0, -1
	default:
		if s.depth == 0 || s.depth == 1 && s.wants == 'v' && s.column >= 0 {
			s.token = append(s.token, c)
		}
	}
	s.comma = false
	return err
}

func (s *jsonScan) endKey() {
	i, ok := s.columns[string(s.key)]
	if !ok && (s.schema == nil || bytes.IndexByte(s.key, '\\') >= 0) {
		name := string(s.key)
		if json.Unmarshal([]byte(`"`+name+`"`), &name) != nil {
			name = string(s.key)
		}
		if i, ok = s.columns[name]; !ok && s.schema == nil {
			i, ok = len(s.keys), true
			s.columns[name], s.keys = i, append(s.keys, name)
		}
	}
	if s.column = i; !ok {
		s.column = -1
	}
}

// endToken checks a value that has ended.
func (s *jsonScan) endToken() error {
	if len(s.token) == 0 {
		return nil
	}
	token := string(s.token)
	s.token = s.token[:0]
	switch {
	case s.depth == 0 && token == "null":
		return fmt.Errorf("%s:%d: the line is not a JSON object", s.file, s.line+1)
	case s.depth != 1 || s.column < 0:
		return nil
	case s.schema != nil:
		return s.fault(token, s.schema[s.column])
	}
	key := s.keys[s.column]
	if s.faults[key] == nil && strings.Contains(token, ".") { // DuckDB keeps the digits of all others
		if err := s.fault(token, ir.Column{Name: key, Type: "float64"}); err != nil {
			s.faults[key] = err
		}
	}
	return nil
}

func (s *jsonScan) fault(token string, c ir.Column) error {
	ok, why := true, ""
	switch {
	case isInteger(c.Type):
		ok, why = isWhole(token)
	case isFloat(c.Type):
		ok, why = isPrinted(token, c.Type), ": "+notHeld
	}
	if ok {
		return nil
	}
	return fmt.Errorf("%s:%d: column %q: %s is not %s%s", s.file, s.line+1, c.Name, excerpt(token), article(c.Type), why)
}

const notHeld = "the type does not hold it exactly"

// isWhole reports whether a number of JSON with a fraction or an exponent is an integer that a
// float64 holds. It takes any other token, and leaves the range of a type to others.
func isWhole(token string) (ok bool, why string) {
	if !strings.ContainsAny(token, ".eE") {
		return true, ""
	}
	mantissa, power, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(token, "-")), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(strings.TrimRight(whole+fraction, "0"), "0")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return true, ""
	}
	zeros := len(whole+fraction) - len(strings.TrimRight(whole+fraction, "0")) - len(fraction)
	if n, err := strconv.Atoi(power); err == nil {
		zeros += n
	} else if power != "" && !strings.HasPrefix(power, "-") {
		return true, "" // out of range
	} else if power != "" {
		zeros = -1
	}
	if zeros < 0 {
		return false, ""
	}
	if f, err := strconv.ParseFloat(token, 64); err == nil && math.Abs(f) >= 1<<53 {
		return false, ": with a fraction or an exponent it is a float64, which does not hold every integer of this size; write it without"
	}
	return true, ""
}

// isPrinted reports whether a whole number, with any number of digits, is one that the
// nearest float prints. It takes any other token.
func isPrinted(token, typ string) bool {
	digits, size := 15, 64
	if typ == "float32" {
		digits, size = 6, 32
	}
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(token, "-"), ".")
	if len(whole) <= digits || strings.Trim(fraction, "0") != "" || strings.Trim(whole, "0123456789") != "" {
		return true
	}
	f, err := strconv.ParseFloat(whole, size)
	if err != nil {
		return true // out of range
	}
	printed, _, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, size), "e")
	return strings.Trim(whole, "0") == strings.Trim(strings.Replace(printed, ".", "", 1), "0")
}
