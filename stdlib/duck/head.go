package duck

import (
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A Head is a source whose files are compared with a schema as far as their heads show,
// see [Engine.Heads].
type Head struct {
	Source
	Schema ir.Schema
	All    bool // the source has no other files
	Times  bool // asks for the ranges of times in the statistics of Parquet files
	// Range asks for the range of this column of texts, which are read to the end.
	Range string
}

// A HeadResult is what the heads of the files of a source show.
type HeadResult struct {
	// Fault is why the files cannot be read as the schema, or nil.
	Fault *FileError `json:"fault,omitempty"`
	// Times are the first and the last time of columns, in microseconds since 1970, as far as
	// the statistics of Parquet files give them, or that of [Head.Range].
	Times map[string][2]int64 `json:"times,omitempty"`
}

// A FileError says why a file is not what its source declares.
type FileError struct {
	File   string // as the user knows it
	Line   int    // of the text of the file, from 1; 0: the whole file
	Col    int    // of the byte in the line, from 1; 0: the whole line
	Len    int    // bytes
	Text   string // what is wrong
	Hint   string // what to do instead
	Column string // the declared column, if it is about one
	Option string // the option of CSV, if it is about one
	// Delimiter is the one that the header may have instead.
	Delimiter string
	// Missing says that the file lacks the column. Names are those that it has.
	Missing bool
	Names   []Name
	Excerpt string // the line, if it is known
	// Headless says that the header looks like a row of values.
	Headless bool
}

// A Name is the name of a column in a file. Line and Col are where it is, from 1; Col and
// Len are bytes. They are 0 in Parquet.
type Name struct {
	Name           string
	Line, Col, Len int
}

func (e *FileError) Error() string {
	s := e.File
	if e.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, e.Line)
	}
	s += ": " + e.Text
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}
