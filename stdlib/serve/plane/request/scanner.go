package request

import (
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// deepest is how far a value that is skipped may be nested.
	deepest = 900
	// mostDigits is how long an integer may be.
	mostDigits = 4300
)

// A scanner reads JSON of RFC 8259 from left to right. As Python's, it takes NaN, Infinity and
// -Infinity for numbers, unless it is strict.
type scanner struct {
	b      []byte
	at     int
	rows   *Rows
	d      *Decoder
	outer  []Error // unknown fields beside the rows
	list   []Error // of their number
	errors []Error // of rows
	extra  []Error // of the row that is read: its unknown fields
	strict bool
	sized  bool // the body was found not to be too large
	broken bool // the rest of the body cannot be read
}

func (s *scanner) refuse(f fault, where ...any) {
	if len(s.errors) < MostErrors {
		s.errors = append(s.errors, Error{f.kind, append([]any{"body"}, where...), f.says})
	}
}

// fail is for what makes the whole body meaningless: it is the only error.
func (s *scanner) fail(says string) {
	if !s.broken {
		s.broken = true
		s.outer, s.list, s.errors = nil, nil, []Error{{"value_error", []any{"body"}, says}}
	}
}

func (s *scanner) space() {
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// take reads a character, if it comes next.
func (s *scanner) take(c byte) bool {
	if s.space(); s.at < len(s.b) && s.b[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *scanner) expect(c byte) bool {
	if s.take(c) {
		return true
	}
	s.fail("the body is no JSON: wanted " + string(rune(c)))
	return false
}

func (s *scanner) literal(word string) bool {
	if len(s.b)-s.at >= len(word) && string(s.b[s.at:s.at+len(word)]) == word {
		s.at += len(word)
		return true
	}
	return false
}

// name reads the name of a field and the colon after it.
func (s *scanner) name() ([]byte, bool) {
	s.space()
	name, ok := s.text()
	if !ok {
		s.fail("the body is no JSON: wanted the name of a field")
		return nil, false
	}
	return name, s.expect(':')
}

// text reads a string, if one comes next. The bytes are part of the body, or of scratch
// memory that lives as long as the rows if there is an escape.
func (s *scanner) text() (b []byte, ok bool) {
	if s.at >= len(s.b) || s.b[s.at] != '"' {
		return nil, false
	}
	from := s.at + 1
	for i := from; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			s.at = i + 1
			return s.b[from:i:i], true
		case c == '\\':
			return s.escaped(from, i)
		case c < ' ':
			s.fail("the body is no JSON: a control character in a string")
			return nil, false
		}
	}
	s.fail("the body is no JSON: a string has no end")
	return nil, false
}

// escaped reads a string with escapes, the first of which is at i.
func (s *scanner) escaped(from, i int) ([]byte, bool) {
	start := len(s.rows.scratch)
	out := append(s.rows.scratch, s.b[from:i]...)
	for i < len(s.b) {
		c := s.b[i]
		switch {
		case c == '"':
			s.at = i + 1
			s.rows.scratch = out
			return out[start:len(out):len(out)], true
		case c < ' ':
			s.fail("the body is no JSON: a control character in a string")
			return nil, false
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		if i+1 >= len(s.b) {
			break
		}
		if plain, ok := escapes[s.b[i+1]]; ok {
			out = append(out, plain)
			i += 2
			continue
		}
		r, size := s.unicode(i)
		if size == 0 {
			s.fail("the body is no JSON: an escape that is none")
			return nil, false
		}
		if r == utf8.RuneError && size == 6 && string(s.b[i+2:i+6]) != "FFFD" && string(s.b[i+2:i+6]) != "fffd" {
			s.fail("half of a surrogate pair is no text")
			return nil, false
		}
		out = utf8.AppendRune(out, r)
		i += size
	}
	s.fail("the body is no JSON: a string has no end")
	return nil, false
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unicode reads an escape \uXXXX, or two of a pair. Its size is 0 if there is none, and its
// rune utf8.RuneError for half of a pair.
func (s *scanner) unicode(i int) (r rune, size int) {
	first, ok := s.hex(i)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(first) {
		return first, 6
	}
	if second, ok := s.hex(i + 6); ok {
		if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
			return r, 12
		}
	}
	return utf8.RuneError, 6
}

func (s *scanner) hex(i int) (r rune, ok bool) {
	if i+6 > len(s.b) || s.b[i] != '\\' || s.b[i+1] != 'u' {
		return 0, false
	}
	for _, c := range s.b[i+2 : i+6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// number reads a number, and reports whether it is whole: without point and exponent. It
// returns nil, and stays where it is, if there is none.
func (s *scanner) number() (b []byte, whole bool) {
	i := s.at
	digits := func() int {
		from := i
		for i < len(s.b) && s.b[i] >= '0' && s.b[i] <= '9' {
			i++
		}
		return i - from
	}
	next := func(set string) bool {
		if i < len(s.b) {
			for _, c := range []byte(set) {
				if s.b[i] == c {
					i++
					return true
				}
			}
		}
		return false
	}
	next("-")
	from := i
	long := digits()
	if long == 0 || long > 1 && s.b[from] == '0' {
		return nil, false
	}
	whole = true
	if next(".") {
		if whole = false; digits() == 0 {
			return nil, false
		}
	}
	if next("eE") {
		whole = false
		next("+-")
		if digits() == 0 {
			return nil, false
		}
	}
	b = s.b[s.at:i]
	if long > mostDigits && !s.strict && integer(b) != nil {
		s.fail("a number has too many digits")
		return nil, false
	}
	s.at = i
	return b, whole
}

// skip reads over a value.
func (s *scanner) skip() bool { return s.skipTo(0) }

func (s *scanner) skipTo(depth int) bool {
	if depth > deepest {
		s.fail("the body is nested too deeply")
		return false
	}
	s.space()
	if s.at >= len(s.b) {
		s.fail("the body is no JSON: it ends too early")
		return false
	}
	switch s.b[s.at] {
	case '"':
		_, ok := s.text()
		return ok
	case '{', '[':
		object := s.b[s.at] == '{'
		end := byte(']')
		if object {
			end = '}'
		}
		s.at++
		var names map[string]bool
		for first := true; !s.take(end); first = false {
			if !first && !s.expect(',') {
				return false
			}
			if object {
				name, ok := s.name()
				if !ok || !s.strict && !s.once(&names, name) {
					return false
				}
			}
			if !s.skipTo(depth + 1) {
				return false
			}
		}
		return true
	}
	if s.literal("null") || s.literal("true") || s.literal("false") || !s.strict && s.noNumber() {
		return true
	}
	if b, _ := s.number(); b != nil {
		return true
	}
	s.fail("the body is no JSON: this is no value")
	return false
}

// noNumber reads what is no number in JSON but in Python.
func (s *scanner) noNumber() bool {
	return s.literal("NaN") || s.literal("Infinity") || s.literal("-Infinity")
}

// once notes the name of a field that is skipped. It fails if the object has it twice. The
// size of the body bounds how many names there are.
func (s *scanner) once(names *map[string]bool, name []byte) bool {
	if *names == nil {
		if s.d != nil && !s.sized {
			s.sized = true
			if says := s.d.size(s.b); says != "" {
				s.fail(says)
				return false
			}
		}
		*names = map[string]bool{}
	}
	if s.d == nil && len(*names) == mostNames {
		s.fail("an object has too many fields")
		return false
	}
	if (*names)[string(name)] {
		s.fail(twice)
		return false
	}
	(*names)[string(name)] = true
	return true
}

const twice = "a field is there twice"
