package compiler

import (
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A monitor compares columns of every type but bytes.
func TestEveryTypeHasTestsThatFit(t *testing.T) {
	want := map[string]int{"bytes": 0, "bool": 3, "string": 3}
	for typ := range ir.Types {
		n, ok := want[typ]
		if !ok {
			n = 6 // numbers and times
		}
		if got := fitting(typ); len(got) != n {
			t.Errorf("the tests of %s are %q, want %d", typ, got, n)
		}
	}
}
