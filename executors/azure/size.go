package azure

import (
	"strconv"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A container with the workload profile Consumption has a quarter of a core up to 4 cores, in quarters, with 2 GiB for
// each core. Source: "Containers in Azure Container Apps".
const (
	quarter     = 250     // thousandths of a core
	most        = 4000    // thousandths of a core
	perCore     = 2 << 30 // bytes
	usualSize   = 1000    // thousandths of a core of a unit that says nothing
	longestTime = 7 * 24 * time.Hour
)

// size returns the smallest container that has what a unit needs, in thousandths of a core. Files are on the disk of
// the container, whose size follows from its cores: 1 GiB for a quarter, 2 for a half, 4 for one core, and otherwise 8.
func size(n ir.Resources) (milli int64, ok bool) {
	milli = usualSize
	if n.MilliCPU > 0 || n.Memory > 0 {
		milli = max(n.MilliCPU, (n.Memory*1000+perCore-1)/perCore, 1)
	}
	for milli = (milli + quarter - 1) / quarter * quarter; milli <= most; milli += quarter {
		if n.Disk <= diskOf(milli) {
			return milli, true
		}
	}
	return 0, false
}

func diskOf(milli int64) int64 {
	switch {
	case milli <= 250:
		return 1 << 30
	case milli <= 500:
		return 2 << 30
	case milli <= 1000:
		return 4 << 30
	}
	return 8 << 30
}

// cores and memoryOf write a size as Container Apps do: 1.5 and "3Gi".
func cores(milli int64) string { return strconv.FormatFloat(float64(milli)/1000, 'f', -1, 64) }

func memoryOf(milli int64) string {
	return strconv.FormatFloat(float64(milli)*2/1000, 'f', -1, 64) + "Gi"
}
