package aws

import (
	"slices"
	"strings"
	"testing"
)

// The first job of a task is found among those that follow it, also if its name is as long as names may be.
func TestNumberedTrainingJobs(t *testing.T) {
	const sum = "0123456789abcdef"
	for _, first := range []string{"t-a-" + sum, strings.Repeat("z", mostTraining-1-sumLength) + "-" + sum, strings.Repeat("z", 43) + "-zz-" + sum} {
		names := []string{first}
		for n := 1; n <= 11; n++ {
			name := numbered(first, n)
			if len(name) > mostTraining || !strings.HasSuffix(name, sum) || slices.Contains(names, name) {
				t.Errorf("%s after %s", name, names)
			}
			names = append(names, name)
		}
		slices.Sort(names)
		if got := unnumbered(names); got != first {
			t.Errorf("found %s, want %s", got, first)
		}
	}
}
