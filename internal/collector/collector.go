// Package collector delays the garbage collector of the program that imports it,
// until the heap has a size that every machine has. To collect less takes longer
// than to leave it, and most commands end before. From then on the collector works
// as usual.
//
// It acts when it is initialised, because other packages already allocate enough
// for a collection when they are.
package collector

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
)

// smallHeap is that size, in bytes.
const smallHeap = 64 << 20

func init() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return // the user has other plans
	}
	percent := debug.SetGCPercent(-1)
	debug.SetMemoryLimit(smallHeap)
	// What nothing refers to is gone after the first collection.
	type mark struct{ _ [16]byte } // large enough to be an allocation of its own
	runtime.AddCleanup(new(mark), func(percent int) {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(math.MaxInt64)
	}, percent)
}
