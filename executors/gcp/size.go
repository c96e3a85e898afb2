package gcp

import (
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A containerSize is a number of cores, with the least and the most memory in MiB.
type containerSize struct{ cores, least, most int64 }

// sizes are the containers of Cloud Run.
var sizes = []containerSize{
	{1, 512, 4096}, {2, 512, 8192}, {4, 2048, 16_384}, {6, 4096, 24_576}, {8, 4096, 32_768},
}

const (
	usualMemory = 2048            // MiB of a unit that says nothing
	mostTime    = 168 * time.Hour // of a job
)

// size returns the smallest container of Cloud Run that has what a unit needs: cores, and memory in
// MiB. Files of a container are in its memory, so that the disk that a unit needs is memory too.
func size(n ir.Resources) (cores, mebibytes int64, ok bool) { return sizeIn(sizes, n) }

func sizeIn(sizes []containerSize, n ir.Resources) (cores, mebibytes int64, ok bool) {
	memory := int64(usualMemory)
	if n.Memory > 0 {
		memory = (n.Memory-1)>>20 + 1
	}
	if n.Disk > 0 {
		memory += (n.Disk-1)>>20 + 1
	}
	for _, s := range sizes {
		if n.MilliCPU <= s.cores*1000 && memory <= s.most {
			return s.cores, max(memory, s.least), true
		}
	}
	return 0, 0, false
}
