package measure

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// A sample is the values of a column in some rows. It is never changed once it is made.
type sample struct {
	filled  int64            // values that are not NULL
	ordered []float64        // the finite ones of a number or a time, in ascending order
	counts  map[string]int64 // how often each category occurs
	many    bool             // there are more categories than maxCategories, and counts has none
}

// join returns the sample of the rows of several samples.
func join(all []*sample) *sample {
	if len(all) == 1 {
		return all[0]
	}
	s := &sample{}
	runs := make([][]float64, 0, len(all))
	for _, one := range all {
		s.filled += one.filled
		s.many = s.many || one.many
		if len(one.ordered) > 0 {
			runs = append(runs, one.ordered)
		}
		for v, n := range one.counts {
			s.count(v, n)
		}
	}
	if s.many {
		s.counts = nil
	}
	s.ordered = mergeRuns(runs)
	return s
}

// count adds a category.
func (s *sample) count(v string, n int64) {
	if s.many {
		return
	}
	if s.counts == nil {
		s.counts = map[string]int64{}
	}
	if s.counts[v] += n; len(s.counts) > maxCategories {
		s.many, s.counts = true, nil
	}
}

// size is about how many bytes a sample takes.
func (s *sample) size() int64 {
	const entry = 64 // of a map, with the header of the text
	n := int64(128 + 8*cap(s.ordered) + entry*len(s.counts))
	for v := range s.counts {
		n += int64(len(v))
	}
	return n
}

// mergeRuns merges sorted lists, pair by pair.
func mergeRuns(runs [][]float64) []float64 {
	for len(runs) > 1 {
		next := runs[:0:0]
		for i := 0; i < len(runs); i += 2 {
			if i+1 == len(runs) {
				next = append(next, runs[i])
				continue
			}
			next = append(next, mergeTwo(runs[i], runs[i+1]))
		}
		runs = next
	}
	if len(runs) == 0 {
		return nil
	}
	return runs[0]
}

func mergeTwo(a, b []float64) []float64 {
	all := make([]float64, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0] <= b[0] {
			all, a = append(all, a[0]), a[1:]
		} else {
			all, b = append(all, b[0]), b[1:]
		}
	}
	return append(append(all, a...), b...)
}

// finite is how many values have a place in the distribution of a number.
func (s *sample) finite() int64 { return int64(len(s.ordered)) }

// limits are the least and the greatest value, or nil without one.
func (s *sample) limits() (low, high *float64) {
	if len(s.ordered) == 0 {
		return nil, nil
	}
	// Not those of the list: a figure may be kept longer than it.
	return ptr(s.ordered[0]), ptr(s.ordered[len(s.ordered)-1])
}

// outside is how many values are below low or above high.
func (s *sample) outside(low, high float64) int64 {
	above := sort.Search(len(s.ordered), func(i int) bool { return s.ordered[i] > high })
	return int64(sort.SearchFloat64s(s.ordered, low) + len(s.ordered) - above)
}

// distinct is how many different values samples have together, counted up to one more than most.
func distinct(most int, samples ...*sample) int {
	n, last := 0, math.Inf(-1)
	for n <= most {
		next := math.Inf(1)
		for _, s := range samples {
			if i := sort.Search(len(s.ordered), func(i int) bool { return s.ordered[i] > last }); i < len(s.ordered) {
				next = min(next, s.ordered[i])
			}
		}
		if math.IsInf(next, 1) {
			break
		}
		n, last = n+1, next
	}
	return n
}

// talliesOf counts the values that occur in two samples, as [counts] does.
func talliesOf(ref, cur *sample) []tally {
	n := map[[2]float64]float64{}
	if ref.counts != nil || cur.counts != nil {
		for v, x := range ref.counts {
			n[[2]float64{float64(x), float64(cur.counts[v])}]++
		}
		for v, y := range cur.counts {
			if _, known := ref.counts[v]; !known {
				n[[2]float64{0, float64(y)}]++
			}
		}
	} else {
		a, b := ref.ordered, cur.ordered
		for len(a) > 0 || len(b) > 0 {
			var x float64
			switch {
			case len(b) == 0 || len(a) > 0 && a[0] <= b[0]:
				x = a[0]
			default:
				x = b[0]
			}
			i, j := run(a, x), run(b, x)
			a, b = a[i:], b[j:]
			n[[2]float64{float64(i), float64(j)}]++
		}
	}
	all := make([]tally, 0, len(n))
	for rows, values := range n {
		all = append(all, tally{rows[0], rows[1], values})
	}
	// In one order, so that sums over them are always the same.
	slices.SortFunc(all, func(a, b tally) int {
		return cmp.Or(cmp.Compare(a.reference, b.reference), cmp.Compare(a.current, b.current))
	})
	return all
}

// run is how many values at the beginning of a sorted list are x.
func run(list []float64, x float64) (n int) {
	for n < len(list) && list[n] == x {
		n++
	}
	return n
}

// histogram counts the values between edges, as numpy.histogram does: an interval contains its lower
// edge, and the last one its upper edge, too. All values are between the first and the last edge.
func (s *sample) histogram(edges []float64) []float64 {
	bins := make([]float64, len(edges)-1)
	from := 0
	for i := range bins {
		to := len(s.ordered)
		if i < len(bins)-1 {
			to = sort.SearchFloat64s(s.ordered, edges[i+1])
		}
		bins[i] = float64(max(to-from, 0))
		from = max(from, to)
	}
	return bins
}
