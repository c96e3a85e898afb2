package planner

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// sort returns the indices of units in an order in which each comes after those it reads
// from. Among several candidates, the first in the list comes first.
func sort(units []ir.Unit) ([]int, error) {
	index := make(map[string]int, len(units))
	var errs []error
	for i := range units {
		u := &units[i]
		if _, twice := index[u.ID]; twice {
			errs = append(errs, fmt.Errorf("duplicate unit %s", u.ID))
		}
		index[u.ID] = i
	}
	for i := range units {
		u := &units[i]
		for _, in := range u.Inputs {
			if in.Incumbent {
				continue
			}
			if i, ok := index[in.Unit]; !ok {
				errs = append(errs, fmt.Errorf("%s reads from %s, which does not exist", u.ID, in.Unit))
			} else if !slices.ContainsFunc(units[i].Outputs, func(o ir.Output) bool { return o.Port == in.From }) {
				errs = append(errs, fmt.Errorf("%s reads port %s of %s, which has no such port", u.ID, in.From, in.Unit))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	order := partialOrder(units)
	if len(order) < len(units) {
		return nil, fmt.Errorf("units form a cycle: %s", strings.Join(cycle(units, index, order), " reads from "))
	}
	return order, nil
}

// partialOrder returns as much of the order as exists: it leaves out units in a cycle, and
// those that read from one.
func partialOrder(units []ir.Unit) []int {
	index := make(map[string]int, len(units))
	for i := range units {
		index[units[i].ID] = i
	}
	next := make([][]int, len(units))
	waits := make([]int, len(units))
	for i := range units {
		for _, in := range units[i].Inputs {
			if !in.Incumbent {
				j := index[in.Unit]
				next[j] = append(next[j], i)
				waits[i]++
			}
		}
	}
	var ready ints
	for i, n := range waits {
		if n == 0 {
			ready = append(ready, i)
		}
	}
	order := make([]int, 0, len(units))
	for len(ready) > 0 {
		i := heap.Pop(&ready).(int)
		order = append(order, i)
		for _, j := range next[i] {
			if waits[j]--; waits[j] == 0 {
				heap.Push(&ready, j)
			}
		}
	}
	return order
}

// cycle returns one cycle among the units that are not in order.
func cycle(units []ir.Unit, index map[string]int, order []int) []string {
	done := map[int]bool{}
	for _, i := range order {
		done[i] = true
	}
	at := 0
	for done[at] {
		at++
	}
	var path []string
	seen := map[int]int{}
	for {
		if from, ok := seen[at]; ok {
			return append(path[from:], units[at].ID)
		}
		seen[at] = len(path)
		path = append(path, units[at].ID)
		// Every remaining unit reads from another remaining one.
		i := slices.IndexFunc(units[at].Inputs, func(in ir.Input) bool { return !in.Incumbent && !done[index[in.Unit]] })
		at = index[units[at].Inputs[i].Unit]
	}
}

// ints is a heap with the smallest element first.
type ints []int

func (h ints) Len() int           { return len(h) }
func (h ints) Less(i, j int) bool { return h[i] < h[j] }
func (h ints) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *ints) Push(x any)        { *h = append(*h, x.(int)) }
func (h *ints) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
