// Package collector delays the garbage collector of the program that imports it,
// until the heap has a size that every machine has. To collect less takes longer
// than to leave it, and most commands end before. From then on the collector works
// as usual, or as [Percent] says.
//
// It acts when it is initialised, because other packages already allocate enough
// for a collection when they are.
package collector

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

// smallHeap is that size, in bytes.
const smallHeap = 64 << 20

var (
	mu      sync.Mutex
	usual   = 100 // percent
	percent = usual
	waiting bool // for a heap that is not small
)

func init() {
	if !ours() {
		return
	}
	usual = debug.SetGCPercent(-1)
	percent, waiting = usual, true
	debug.SetMemoryLimit(smallHeap)
	// What nothing refers to is gone after the first collection.
	type mark struct{ _ [16]byte } // large enough to be an allocation of its own
	runtime.AddCleanup(new(mark), func(struct{}) {
		mu.Lock()
		defer mu.Unlock()
		waiting = false
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(math.MaxInt64)
	}, struct{}{})
}

// ours reports whether the user leaves the collector to this package.
func ours() bool { return os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" }

// Percent sets by how much the heap may grow before it is collected again, until the
// result is called: less takes more time and less memory.
func Percent(p int) (restore func()) {
	if !ours() {
		return func() {}
	}
	set := func(p int) {
		mu.Lock()
		defer mu.Unlock()
		percent = p
		if !waiting {
			debug.SetGCPercent(p)
		}
	}
	set(p)
	return func() { set(usual) }
}
