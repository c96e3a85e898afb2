// Package golden compares an output with the lines of it that matter.
package golden

import (
	"fmt"
	"strings"
)

// ellipsis is a line that stands for any number of lines. At the end of a line, after a
// space, it stands for the rest of the line.
const ellipsis = "..."

// Match returns what of want the output lacks, or "". Without an ellipsis, both have the
// same lines. Otherwise what is between two ellipses is found as a block, in order.
func Match(got, want string) string {
	lines := split(got)
	blocks := [][]string{{}}
	for _, l := range split(want) {
		if l == ellipsis {
			blocks = append(blocks, []string{})
			continue
		}
		blocks[len(blocks)-1] = append(blocks[len(blocks)-1], l)
	}
	from := 0
	for i, b := range blocks {
		first, last := from, len(lines)-len(b)
		if i == 0 {
			last = first
		}
		if i == len(blocks)-1 {
			first = max(first, len(lines)-len(b))
			if i == 0 && first > 0 {
				last = -1
			}
		}
		at := first
		for at <= last && !has(lines, at, b) {
			at++
		}
		if at > last {
			return fmt.Sprintf("after line %d of the output, there is no\n%s", from, strings.Join(b, "\n"))
		}
		from = at + len(b)
	}
	return ""
}

func split(text string) []string {
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// has reports whether a block is in the lines at a place.
func has(lines []string, at int, block []string) bool {
	if at+len(block) > len(lines) {
		return false
	}
	for i, want := range block {
		got := lines[at+i]
		if start, open := strings.CutSuffix(want, " "+ellipsis); got != want && !(open && strings.HasPrefix(got, start)) {
			return false
		}
	}
	return true
}
