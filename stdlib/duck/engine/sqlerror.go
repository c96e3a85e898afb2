package engine

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/duck"
)

// duckError is DuckDB's error, as JSON.
type duckError struct {
	Type     string `json:"exception_type"`
	Message  string `json:"exception_message"`
	Subtype  string `json:"error_subtype"`
	Position string `json:"position"`
	Entry    string `json:"type"`
}

// sqlError reads an error of the driver. The first skip bytes of what was run
// were not the user's; size is the length of the user's text, or -1 if there
// is none and offsets mean nothing.
func sqlError(ctx context.Context, err error, skip, size int) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text := err.Error()
	start := strings.Index(text, "{")
	var d duckError
	if start < 0 || json.Unmarshal([]byte(text[start:]), &d) != nil {
		if strings.HasPrefix(text, "incorrect argument count") {
			return &duck.SQLError{Message: "a query takes no parameters such as ? or $1", Offset: -1, Kind: "other"}
		}
		return err
	}
	e := &duck.SQLError{Offset: -1, Kind: d.kind()}
	if pos, err := strconv.Atoi(d.Position); err == nil && size >= 0 && pos >= skip {
		e.Offset = min(pos-skip, size)
	}
	e.Message, _, _ = strings.Cut(d.Message, "\n")
	e.Message = strings.TrimSpace(e.Message)
	e.Candidates = candidates(d.Message)
	switch {
	case e.Kind == "access":
		if m := quotedName.FindStringSubmatch(d.Message); m != nil {
			e.Message = "a query can read only its inputs, not a file such as " + strconv.Quote(m[1])
		}
	case strings.HasPrefix(e.Message, "CSV Error"), d.Type == "IO":
		e.Message = strings.TrimSpace(d.Message) // read further by the caller
	}
	return e
}

func (d duckError) kind() string {
	switch {
	case d.Subtype == "SYNTAX_ERROR" || d.Type == "Parser":
		return "syntax"
	case d.Type == "Permission":
		return "access"
	case d.Subtype == "COLUMN_NOT_FOUND" || strings.Contains(d.Message, "does not have a column named"):
		return "column"
	case d.Entry == "Table" || strings.HasPrefix(d.Message, "Referenced table"):
		return "table"
	case d.Subtype == "NO_MATCHING_FUNCTION" || strings.Contains(d.Entry, "Function") || strings.Contains(d.Message, "is not in the catalog"):
		return "function"
	}
	return "other"
}

var quotedName = regexp.MustCompile(`"((?:[^"]|"")*)"`)

// candidates finds the names that a message proposes. The list of overloads of
// a function is no such proposal.
func candidates(message string) []string {
	var names []string
	for _, line := range strings.Split(message, "\n") {
		if !strings.HasPrefix(line, "Candidate bindings") && !strings.HasPrefix(line, "Candidate tables") &&
			!strings.HasPrefix(line, "Did you mean") {
			continue
		}
		for _, m := range quotedName.FindAllStringSubmatch(line, -1) {
			names = append(names, strings.ReplaceAll(m[1], `""`, `"`))
		}
	}
	return names
}

// keepTables drops candidates for a table that are not among the inputs, such
// as the tables of DuckDB's own catalog.
func keepTables(err error, known func(string) bool) error {
	var e *duck.SQLError
	if errors.As(err, &e) && e.Kind == "table" {
		e.Candidates = slices.DeleteFunc(e.Candidates, func(n string) bool { return !known(n) })
	}
	return err
}
