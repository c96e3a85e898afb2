package engine

import (
	"strings"

	"github.com/tenon-ml/tenon/stdlib/duck"
)

// selectOnly returns the text of the query up to the end of its statement, and
// refuses anything that is not one SELECT. DuckDB's driver runs every statement
// of a text, so this is decided before the text reaches it.
func selectOnly(query string) (string, error) {
	word, start, end := "", 0, -1
	for i := 0; i < len(query); {
		n := token(query[i:])
		t := query[i : i+n]
		switch {
		case isSpace(t):
		case t == ";":
			if end < 0 && word != "" {
				end = i
			}
		case end >= 0:
			return "", &duck.SQLError{Message: "a query must be one statement; a second one starts here", Offset: i, Kind: "statement"}
		case word == "" && t != "(":
			word, start = t, i
		}
		i += n
	}
	switch strings.ToUpper(word) {
	case "SELECT", "WITH", "FROM", "VALUES":
	case "":
		return "", &duck.SQLError{Message: "the query is empty", Offset: 0, Kind: "statement"}
	default:
		return "", &duck.SQLError{Message: "a query starts with SELECT, WITH or FROM, not with " + word, Offset: start, Kind: "statement"}
	}
	if end >= 0 {
		query = query[:end]
	}
	return query, nil
}

func isSpace(t string) bool {
	return strings.HasPrefix(t, "--") || strings.HasPrefix(t, "/*") || strings.TrimSpace(t) == ""
}

// token returns the length of the first token of s: a comment, a quoted thing,
// a word, or one byte. It needs to know no more than what can hide a semicolon.
func token(s string) int {
	switch c := s[0]; {
	case strings.HasPrefix(s, "--"):
		if n := strings.IndexByte(s, '\n'); n >= 0 {
			return n
		}
		return len(s)
	case strings.HasPrefix(s, "/*"):
		return comment(s)
	case c == '\'' || c == '"':
		return quoted(s, 0, false)
	case (c == 'e' || c == 'E') && len(s) > 1 && s[1] == '\'':
		return quoted(s, 1, true)
	case c == '$':
		return dollar(s)
	case wordByte(c):
		n := 1
		for n < len(s) && (wordByte(s[n]) || s[n] == '$') {
			n++
		}
		return n
	}
	return 1
}

func wordByte(c byte) bool {
	return c == '_' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// comment measures a block comment; they nest.
func comment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(s)
}

// quoted measures a string or an identifier whose quote is at s[at].
func quoted(s string, at int, escapes bool) int {
	q := s[at]
	for i := at + 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == q && i+1 < len(s) && s[i+1] == q:
			i++
		case s[i] == q:
			return i + 1
		}
	}
	return len(s)
}

// dollar measures $$text$$, $tag$text$tag$ or a lone dollar sign.
func dollar(s string) int {
	n := 1
	for n < len(s) && wordByte(s[n]) {
		n++
	}
	if n == len(s) || s[n] != '$' || n > 1 && '0' <= s[1] && s[1] <= '9' {
		return 1
	}
	tag := s[:n+1]
	if end := strings.Index(s[len(tag):], tag); end >= 0 {
		return end + 2*len(tag)
	}
	return len(s)
}
