package engine

import (
	"bytes"
	"fmt"
)

// csvShape checks that all rows of a CSV file have as many fields as the first
// one. DuckDB ignores an empty field too many, and says less about where. The header
// is looked at before its error is: it may be a file of another kind.
type csvShape struct {
	dialect
	err     error
	file    string
	columns int // of the first row; 0 before its end

	line, start int  // the line that is read, and the one at which the row began
	delimiters  int  // of the row
	any         bool // the row has a byte, or a field in quotes
	empty       bool // the field has no byte yet
	quoted      bool // within quotes
	closed      bool // after them
	cr          bool // after a carriage return, which ended a row
	style       string
}

func newCSVShape(d dialect, file string) *csvShape {
	return &csvShape{dialect: d, file: file, line: 1, start: 1, empty: true}
}

// read reads the next bytes of the file.
func (s *csvShape) read(b []byte) {
	if s.err == nil {
		s.err = s.check(b)
	}
}

func (s *csvShape) check(b []byte) error {
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		line := b
		if end >= 0 {
			line = b[:end]
		}
		plain := bytes.TrimSuffix(line, []byte{'\r'})
		if end >= 0 && !s.quoted && !s.closed && bytes.IndexByte(line, s.quote) < 0 && bytes.IndexByte(plain, '\r') < 0 {
			// Most lines are one row, or its end.
			s.delimiters += bytes.Count(plain, []byte{s.delimiter})
			s.any = s.any || len(plain) > 0
			style := "LF"
			if len(plain) < len(line) {
				style = "CRLF"
			}
			if s.cr { // in two blocks, or the style of the line before
				if err := s.next(b[0]); err != nil {
					return err
				}
				b = b[1:]
				continue
			}
			if err := s.end(1, style); err != nil {
				return err
			}
			b = b[end+1:]
			continue
		}
		if end >= 0 {
			line = b[:end+1]
		}
		for _, c := range line {
			if err := s.next(c); err != nil {
				return err
			}
		}
		b = b[len(line):]
	}
	return nil
}

func (s *csvShape) next(c byte) error {
	cr := s.cr
	s.cr = false
	if cr {
		style := "CR"
		if c == '\n' {
			style = "CRLF"
		}
		if err := s.ends(style, s.line-1); err != nil {
			return err
		}
	}
	switch {
	case s.quoted:
		if c == s.quote {
			s.quoted, s.closed = false, true
		} else if c == '\n' {
			s.line++
		}
	case c == '\n' && cr: // the row has ended
	case c == '\n':
		return s.end(1, "LF")
	case c == '\r':
		s.cr = true
		return s.end(1, "")
	case c == s.delimiter:
		s.delimiters++
		s.any, s.empty, s.closed = true, true, false
	case c == s.quote && (s.empty || s.closed):
		s.quoted, s.closed = true, false
		s.any, s.empty = true, false
	default:
		s.any, s.empty = true, false
	}
	return nil
}

// ends notes how a line ends: all have to end as the first one.
func (s *csvShape) ends(style string, line int) error {
	if s.style == "" {
		s.style = style
	}
	if s.style != style {
		return fmt.Errorf("%s:%d: the line ends differently from the first one (%s, %s)", s.file, line, s.style, style)
	}
	return nil
}

// end ends a row, and adds to the lines. The style is empty if it is not known yet.
func (s *csvShape) end(lines int, style string) error {
	if style != "" {
		if err := s.ends(style, s.line); err != nil {
			return err
		}
	}
	fields, start := s.delimiters+1, s.start
	blank := !s.any
	s.line += lines
	s.start, s.delimiters = s.line, 0
	s.any, s.empty, s.closed = false, true, false
	switch {
	case s.columns == 0:
		s.columns = fields
	case blank: // DuckDB skips it, or it is a null if there is one column
	case fields != s.columns:
		return fmt.Errorf("%s:%d: the row has %d fields, the first one has %d", s.file, start, fields, s.columns)
	}
	return nil
}

// finish ends the last row, which need not have a line end. Quotes that are open
// are for DuckDB to report.
func (s *csvShape) finish() {
	if s.err == nil && s.any && !s.quoted {
		s.err = s.end(0, "")
	}
}
