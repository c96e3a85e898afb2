package compiler

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pythonImports returns the modules that Python code imports, without what follows a dot
// in their names, in order and once each. It omits relative imports. Code that is not valid
// Python may give anything.
func pythonImports(src string) []string {
	var found []string
	add := func(name string) {
		if isPythonName(name) && !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	for _, statement := range pythonStatements(src) {
		switch {
		case len(statement) < 2:
		case statement[0] == "from":
			add(statement[1])
		case statement[0] == "import":
			for i, token := range statement[1:] {
				if i == 0 || statement[i] == "," {
					add(token)
				}
			}
		}
	}
	return found
}

// pythonStatements splits Python code into simple statements, and these into tokens:
// names, and all other characters one by one. Comments, strings and white space are
// left out.
func pythonStatements(src string) [][]string {
	var all [][]string
	var now []string
	end := func() {
		if len(now) > 0 {
			all, now = append(all, now), nil
		}
	}
	depth := 0 // of brackets
	for src != "" {
		r, size := utf8.DecodeRuneInString(src)
		switch {
		case r == '#':
			size = len(src)
			if i := strings.IndexByte(src, '\n'); i >= 0 {
				size = i
			}
		case r == '"' || r == '\'':
			size = pythonString(src)
		case r == '\\': // joins two lines
			size = 1 + len(src[1:]) - len(strings.TrimPrefix(strings.TrimPrefix(src[1:], "\r"), "\n"))
		case isNameStart(r):
			size = len(src)
			if i := strings.IndexFunc(src, func(r rune) bool { return !isNameStart(r) && !unicode.IsDigit(r) }); i >= 0 {
				size = i
			}
			if rest := src[size:]; rest == "" || rest[0] != '"' && rest[0] != '\'' { // otherwise it belongs to a string
				now = append(now, src[:size])
			}
		case depth == 0 && (r == '\n' || r == ';' || r == ':'): // after a colon, a statement may begin on the same line
			end()
		case unicode.IsSpace(r):
		default:
			now = append(now, string(r))
			if strings.ContainsRune("([{", r) {
				depth++
			} else if strings.ContainsRune(")]}", r) {
				depth = max(depth-1, 0)
			}
		}
		src = src[size:]
	}
	end()
	return all
}

// pythonString returns the length of the string literal at the start of src.
func pythonString(src string) int {
	quote := src[:1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(src, triple) {
		quote = triple
	}
	for i := len(quote); i < len(src); i++ {
		switch {
		case src[i] == '\\':
			i++
		case strings.HasPrefix(src[i:], quote):
			return i + len(quote)
		case src[i] == '\n' && len(quote) == 1:
			return i // it is not valid, and ends with its line
		}
	}
	return len(src)
}

func isNameStart(r rune) bool { return r == '_' || unicode.IsLetter(r) }

func isPythonName(token string) bool {
	r, _ := utf8.DecodeRuneInString(token)
	return isNameStart(r)
}
