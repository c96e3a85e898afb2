package systemtest

import (
	"strings"

	"github.com/google/go-cmp/cmp"
)

// around is how many equal lines a difference shows on either side.
const around = 3

// difference compares lines: as text, one line each, "-" for what was wanted and
// "+" for what there is. first is the wanted line where it begins, from 0. Full
// shows all lines.
func difference(want, got []string, full bool) (first int, text string) {
	var d lineDiff
	// A nil slice would be compared as a whole, not line by line.
	if cmp.Equal(append([]string{}, want...), append([]string{}, got...), cmp.Reporter(&d)) {
		return 0, ""
	}
	d.flush()
	near := make([]bool, len(d.out))
	first = -1
	wanted := 0
	for i, line := range d.out {
		if line[0] != ' ' {
			if first < 0 {
				first = wanted
			}
			for j := max(0, i-around); j < min(len(near), i+around+1); j++ {
				near[j] = true
			}
		}
		if line[0] != '+' {
			wanted++
		}
	}
	var b strings.Builder
	for i, line := range d.out {
		switch {
		case near[i] || full:
			b.WriteString(line + "\n")
		case i == 0 || near[i-1]:
			b.WriteString("  ...\n")
		}
	}
	return first, b.String()
}

// A lineDiff takes down what cmp finds in two lists of lines. In a run of
// changes, what was wanted comes first.
type lineDiff struct {
	path           cmp.Path
	removed, added []string
	out            []string
}

func (d *lineDiff) PushStep(s cmp.PathStep) { d.path = append(d.path, s) }

func (d *lineDiff) PopStep() { d.path = d.path[:len(d.path)-1] }

func (d *lineDiff) Report(r cmp.Result) {
	if len(d.path) < 2 {
		return // the lists themselves
	}
	want, got := d.path.Last().Values()
	if r.Equal() {
		d.flush()
		d.out = append(d.out, "  "+want.String())
		return
	}
	if want.IsValid() {
		d.removed = append(d.removed, "- "+want.String())
	}
	if got.IsValid() {
		d.added = append(d.added, "+ "+got.String())
	}
}

func (d *lineDiff) flush() {
	d.out = append(append(d.out, d.removed...), d.added...)
	d.removed, d.added = nil, nil
}
