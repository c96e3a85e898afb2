package planner_test

import (
	"fmt"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

// wide returns a system of n units: fetches, each followed by a chain of four.
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

// BenchmarkMake plans a system in which nothing changed, one in which everything did, and
// one that requests resources.
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
		asking := wide(n) // memory, which is not part of a definition
		for i := range asking.Units {
			asking.Units[i].Needs.Memory = 1 << 30
			if err := asking.Units[i].Define(); err != nil {
				b.Fatal(err)
			}
		}
		for name, s := range map[string]*ir.System{"same": s, "changed": changed, "asking": asking} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				for b.Loop() {
					w.plan(s)
				}
			})
		}
		w.close()
	}
}

// BenchmarkCompare compares a system with itself, and with one that differs in
// every unit.
func BenchmarkCompare(b *testing.B) {
	before, changed := wide(1000), wide(1000)
	for i := range changed.Units {
		u := &changed.Units[i]
		u.Seed = 1
		u.Outputs = []ir.Output{{Port: "table", Kind: ir.Table, Schema: ir.Schema{{Name: "x", Type: "int64"}}}}
		if err := u.Define(); err != nil {
			b.Fatal(err)
		}
	}
	for name, after := range map[string]*ir.System{"same": before, "changed": changed} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := planner.Compare(b.Context(), planner.Side{System: before}, planner.Side{System: after}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
