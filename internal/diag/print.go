package diag

import (
	"fmt"
	"io"
	"strings"
)

// A Style marks parts of the text, for a terminal. The zero Style marks nothing.
type Style struct {
	Error, Place, Caret, Note func(string) string
}

func apply(f func(string) string, s string) string {
	if f == nil {
		return s
	}
	return f(s)
}

// Print writes the faults with the source lines that they refer to. source returns the
// content of a file by the name in its positions, or nil.
func Print(w io.Writer, l List, source func(file string) []byte, style Style) error {
	var b strings.Builder
	for i, d := range l {
		if i > 0 {
			b.WriteByte('\n')
		}
		d.print(&b, source, style)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (d Diagnostic) print(b *strings.Builder, source func(string) []byte, style Style) {
	fmt.Fprintf(b, "%s %s\n", apply(style.Error, "error:"), d.Message)
	width := 1
	for _, s := range d.Spans {
		width = max(width, len(fmt.Sprint(s.Line)))
	}
	gutter := strings.Repeat(" ", width)
	for _, s := range d.Spans {
		fmt.Fprintf(b, "%s--> %s", gutter, apply(style.Place, s.Pos.String()))
		line, ok := sourceLine(source, s.Pos)
		if !ok {
			if s.Label != "" {
				fmt.Fprintf(b, ": %s", s.Label)
			}
			b.WriteByte('\n')
			continue
		}
		b.WriteByte('\n')
		fmt.Fprintf(b, "%*d | %s\n", width, s.Line, printable(line))
		if s.Col > 0 {
			caret := strings.Repeat("^", caretLen(line, s))
			if s.Label != "" {
				caret += " " + s.Label
			}
			fmt.Fprintf(b, "%s | %s%s\n", gutter, indent(line, s.Col), apply(style.Caret, caret))
		}
	}
	note := func(name, text string) {
		if text == "" {
			return
		}
		lines := strings.Split(text, "\n")
		fmt.Fprintf(b, "%s = %s %s\n", gutter, apply(style.Note, name+":"), lines[0])
		for _, more := range lines[1:] {
			fmt.Fprintf(b, "%s   %s %s\n", gutter, strings.Repeat(" ", len(name)+1), more)
		}
	}
	note("wanted", d.Wanted)
	note("found", d.Found)
	note("path", d.Path)
	note("help", d.Hint)
}

func sourceLine(source func(string) []byte, p Pos) (string, bool) {
	if source == nil || p.Line < 1 {
		return "", false
	}
	lines := strings.Split(string(source(p.File)), "\n")
	if p.Line > len(lines) {
		return "", false
	}
	line := strings.TrimRight(lines[p.Line-1], "\r")
	if p.Col > len(line)+1 {
		return "", false
	}
	return line, line != ""
}

// printable replaces control characters one for one, to keep them off the terminal.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '.'
		}
		return r
	}, line)
}

// indent returns the white space that moves a caret under column col. It keeps tabs, so
// that both lines match for any tab width.
func indent(line string, col int) string {
	var b strings.Builder
	for _, r := range line[:col-1] {
		if r == '\t' {
			b.WriteRune('\t')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func caretLen(line string, s Span) int {
	rest := line[min(s.Col-1, len(line)):]
	n := s.Len
	if n <= 0 {
		n = tokenLen(rest)
	}
	return max(1, len([]rune(rest[:min(n, len(rest))])))
}

// tokenLen returns the length of the CUE token at the start of s, as far as a caret needs
// it: a string, or a run of name characters.
func tokenLen(s string) int {
	if strings.HasPrefix(s, `"`) && !strings.HasPrefix(s, `"""`) {
		for i := 1; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
	}
	for i, r := range s {
		if !isName(r) {
			return i
		}
	}
	return len(s)
}

func isName(r rune) bool {
	return r == '_' || r == '#' || r == '.' || r == '-' ||
		'0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r > 127
}
