package systemtest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// An archive is a test as written, with the places of its sections.
type archive struct {
	content  []byte
	comment  string
	sections []*section
	byName   map[string]*section
}

// A section is one file of the archive.
type section struct {
	name  string
	text  string
	line  int // of its marker
	begin int // of its text, in the content
	used  bool
}

// body is the text without the empty lines that part it from what follows.
func (s *section) body() string {
	body := strings.TrimRight(s.text, "\n")
	if body != "" {
		body += "\n"
	}
	return body
}

func parseArchive(b []byte) archive {
	if len(b) > 0 && b[len(b)-1] != '\n' {
		b = append(bytes.Clone(b), '\n')
	}
	parsed := txtar.Parse(b)
	a := archive{content: b, comment: string(parsed.Comment), byName: map[string]*section{}}
	at := len(parsed.Comment)
	for _, f := range parsed.Files {
		s := &section{name: f.Name, text: string(f.Data), line: 1 + bytes.Count(b[:at], []byte("\n"))}
		s.begin = at + bytes.IndexByte(b[at:], '\n') + 1
		at = s.begin + len(f.Data)
		a.sections = append(a.sections, s)
		if a.byName[s.name] == nil {
			a.byName[s.name] = s
		}
	}
	return a
}

// faults are sections of the same name.
func (a *archive) faults() []Failure {
	var out []Failure
	for _, s := range a.sections {
		if first := a.byName[s.name]; first != s {
			out = append(out, Failure{Line: s.line, Message: fmt.Sprintf("section -- %s -- is already on line %d", s.name, first.line)})
		}
	}
	return out
}

// use returns a section and notes that something names it.
func (a *archive) use(name string) *section {
	s := a.byName[name]
	if s != nil {
		s.used = true
	}
	return s
}

func (a *archive) useAll() {
	for _, s := range a.sections {
		s.used = true
	}
}

// with is the archive with goldens in place of those that failed. All else
// stays, byte for byte. It is nil where something else failed.
func (a *archive) with(failures []Failure) []byte {
	if len(failures) == 0 || slices.ContainsFunc(failures, func(f Failure) bool { return f.golden == "" }) {
		return nil
	}
	out := bytes.Clone(a.content)
	for _, s := range slices.Backward(a.sections) {
		for _, f := range failures {
			if f.golden == s.name {
				out = slices.Replace(out, s.begin, s.begin+len(s.body()), []byte(f.now)...)
			}
		}
	}
	sections := len(a.sections)
	for _, f := range failures {
		if a.byName[f.golden] == nil {
			out = fmt.Appendf(out, "-- %s --\n%s", f.golden, f.now)
			sections++
		}
	}
	if len(parseArchive(out).sections) != sections {
		return nil // a line of a golden looks like a marker
	}
	return out
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
