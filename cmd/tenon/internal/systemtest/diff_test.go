package systemtest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDifference(t *testing.T) {
	for name, tt := range map[string]struct {
		want, got string
		first     int
		diff      string
	}{
		"the same":              {"a b", "a b", 0, ""},
		"both empty":            {"", "", 0, ""},
		"something for nothing": {"", "a b", 0, "+ a|+ b|"},
		"nothing for something": {"a b", "", 0, "- a|- b|"},
		"what was wanted first": {"a b c d", "a x y d", 1, "  a|- b|- c|+ x|+ y|  d|"},
		"an added line":         {"a c", "a b c", 1, "  a|+ b|  c|"},
		"lines around it":       {"1 2 3 4 5 6 7 8 9", "1 2 3 4 5 6 7 9", 7, "  ...|  5|  6|  7|- 8|  9|"},
		"two places": {"a 1 2 3 4 5 6 7 b", "x 1 2 3 4 5 6 7 y", 0,
			"- a|+ x|  1|  2|  3|  ...|  5|  6|  7|- b|+ y|"},
	} {
		t.Run(name, func(t *testing.T) {
			first, diff := difference(strings.Fields(tt.want), strings.Fields(tt.got), false)
			if d := cmp.Diff(tt.diff, strings.ReplaceAll(diff, "\n", "|")); d != "" || first != tt.first {
				t.Errorf("begins at %d\n%s", first, d)
			}
			if _, full := difference(strings.Fields(tt.want), strings.Fields(tt.got), true); strings.Contains(full, "...") {
				t.Errorf("not all lines: %s", full)
			}
		})
	}
}
