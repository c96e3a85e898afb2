// Package diag defines how Tenon reports faults in a system: what is wrong, what was
// expected, every place that is involved, and a remedy.
//
// Faults are plain data, collected by the stages and printed once, at the top level. This
// package adds no colours of its own and reads no files.
package diag

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Pos is a place in a source file. Line and Col count from 1; Col counts
// bytes. A Pos without a line means the whole file.
type Pos struct {
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	Col  int    `json:"col,omitempty"`
}

func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Col == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// A Span is a place with the length of the text there and a short label that says how it
// is involved.
type Span struct {
	Pos
	Len   int    `json:"len,omitempty"` // bytes; 0 means the token that begins there
	Label string `json:"label,omitempty"`
}

// A Diagnostic is one fault, with one cause.
type Diagnostic struct {
	Message string `json:"message"`          // what is wrong, lower case, no full stop
	Wanted  string `json:"wanted,omitempty"` // what was expected
	Found   string `json:"found,omitempty"`  // what was found instead
	Path    string `json:"path,omitempty"`   // how one place leads to another, "sources.a.x -> features.b.y"
	Spans   []Span `json:"spans,omitempty"`  // the first is where to look
	Hint    string `json:"hint,omitempty"`   // the remedy
}

// List contains every fault of a system. As an error it prints them all.
type List []Diagnostic

func (l List) Error() string {
	var b strings.Builder
	for i, d := range l {
		if i > 0 {
			b.WriteString("; ")
		}
		if len(d.Spans) > 0 {
			fmt.Fprintf(&b, "%s: ", d.Spans[0].Pos)
		}
		b.WriteString(d.Message)
	}
	return b.String()
}

// Sort orders the faults by place and drops duplicates.
func (l List) Sort() List {
	slices.SortStableFunc(l, func(a, b Diagnostic) int {
		pa, pb := a.first(), b.first()
		return cmp.Or(
			cmp.Compare(pa.File, pb.File),
			cmp.Compare(pa.Line, pb.Line),
			cmp.Compare(pa.Col, pb.Col),
			cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.CompactFunc(l, func(a, b Diagnostic) bool {
		return a.first() == b.first() && a.Message == b.Message
	})
}

func (d Diagnostic) first() Pos {
	if len(d.Spans) == 0 {
		return Pos{}
	}
	return d.Spans[0].Pos
}

// Nearest returns the candidate that a misspelt name most likely means, or "".
func Nearest(name string, candidates []string) string {
	best, bestDist := "", max(1, len(name)/3)+1
	for _, c := range candidates {
		n, l := strings.ToLower(name), strings.ToLower(c)
		d := distance(n, l)
		if len(n) >= 3 && len(l) >= 3 && (strings.HasPrefix(l, n) || strings.HasPrefix(n, l)) {
			d = min(d, 1)
		}
		if d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

// DidYouMean returns the hint for a misspelt name: the nearest candidate or, if none is
// near, the candidates if they are few.
func DidYouMean(name string, candidates []string) string {
	if near := Nearest(name, candidates); near != "" && near != name {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if n := len(candidates); n > 0 && n <= 12 {
		sorted := slices.Sorted(slices.Values(candidates))
		return "available: " + strings.Join(sorted, ", ")
	}
	return ""
}

// distance is the optimal string alignment distance: edits of one character,
// and swaps of two neighbours.
func distance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
