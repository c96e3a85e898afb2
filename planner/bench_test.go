package planner_test

import (
	"fmt"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// wide is a system of n units: fetches, each followed by a chain of four.
func wide(n int) *ir.System {
	var units []ir.Unit
	for i := range n {
		id := func(i int) string { return fmt.Sprintf("features/f%05d/build", i) }
		var opts []func(*ir.Unit)
		if i%5 > 0 {
			opts = append(opts, reads("in", id(i-1)+".table"))
		}
		units = append(units, job(id(i), append(opts, params(fmt.Sprintf(`{"i":%d}`, i)))...))
	}
	return sys(units...)
}

// BenchmarkMake plans a system of which nothing changed, and one of which
// everything did.
func BenchmarkMake(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		w := newWorld(b, b.TempDir())
		s := wide(n)
		w.apply(w.plan(s))
		changed := wide(n)
		for i := range changed.Units {
			changed.Units[i].Seed = 1
			if err := changed.Units[i].Define(); err != nil {
				b.Fatal(err)
			}
		}
		for name, s := range map[string]*ir.System{"same": s, "changed": changed} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				for b.Loop() {
					w.plan(s)
				}
			})
		}
		w.close()
	}
}
