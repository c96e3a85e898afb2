package all_test

import (
	"testing"

	"github.com/tenon-ml/tenon/executors/all"
)

// Each executor says what it was tested against.
func TestTrials(t *testing.T) {
	names := all.Names()
	if len(all.Trials) != len(names) {
		t.Fatalf("%d executors have %d trials", len(names), len(all.Trials))
	}
	for i, x := range all.Trials {
		if x.Executor != names[i] || x.Tested == "" {
			t.Errorf("trial %d is %+v, want that of %s", i, x, names[i])
		}
	}
}
