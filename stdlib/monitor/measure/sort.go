package measure

import (
	"math"
	"slices"
)

// sortFloats sorts finite numbers in ascending order, by the digits of their bits. For a million
// numbers that is several times as fast as comparing them.
func sortFloats(x []float64) {
	if len(x) < 1000 { // counting digits would take longer
		slices.Sort(x)
		return
	}
	const bits, digits = 11, 6
	const most = 1<<bits - 1
	var count [digits][1 << bits]int
	keys := make([]uint64, len(x))
	for i, f := range x {
		k := math.Float64bits(f)
		// Negative numbers have the sign bit, and their order is the reverse.
		if k>>63 == 1 {
			k = ^k
		} else {
			k |= 1 << 63
		}
		keys[i] = k
		for d := range count {
			count[d][k>>(bits*d)&most]++
		}
	}
	spare := make([]uint64, len(x))
	for d := range count {
		at, full := 0, false
		for i, n := range count[d] {
			full = full || n == len(x)
			count[d][i] = at
			at += n
		}
		if full { // all have the same digit
			continue
		}
		for _, k := range keys {
			c := &count[d][k>>(bits*d)&most]
			spare[*c] = k
			*c++
		}
		keys, spare = spare, keys
	}
	for i, k := range keys {
		if k>>63 == 1 {
			k &^= 1 << 63
		} else {
			k = ^k
		}
		x[i] = math.Float64frombits(k)
	}
}
