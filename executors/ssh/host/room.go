package host

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// defaultMilliCPU is what a job takes that requests no cores: the usual one keeps one busy.
const defaultMilliCPU = 1000

// capacityOf returns what the host has for jobs, in thousandths of a core and bytes. What is
// not declared is what the machine has.
func capacityOf(declared ir.Resources) ir.Resources {
	if declared.MilliCPU == 0 {
		declared.MilliCPU = int64(runtime.NumCPU()) * 1000
	}
	if declared.Memory == 0 {
		declared.Memory = memory()
	}
	return declared
}

// claimed returns what a job takes.
func claimed(claim, capacity ir.Resources) ir.Resources {
	if claim.MilliCPU == 0 {
		claim.MilliCPU = min(defaultMilliCPU, capacity.MilliCPU)
	}
	return claim
}

// used adds up what everything takes that runs, whoever started it. Only a service that another one
// replaces, in the folder of that run, does not count: both run for a moment.
func (s *server) used(ctx context.Context, replaced string) (sum ir.Resources) {
	s.each(ctx, func(rec record) {
		if replaced != "" && rec.Run == replaced {
			return
		}
		sum.MilliCPU += rec.Claim.MilliCPU
		sum.Memory += rec.Claim.Memory
	})
	return sum
}

// beyond says what of a claim a capacity does not have beside what is used, or returns "".
func beyond(claim, capacity, used ir.Resources) string {
	var all []string
	if free := capacity.MilliCPU - used.MilliCPU; claim.MilliCPU > free {
		all = append(all, fmt.Sprintf("it needs %s of %s cores, of which %s are free", ir.FormatCores(claim.MilliCPU), ir.FormatCores(capacity.MilliCPU), ir.FormatCores(max(free, 0))))
	}
	if free := capacity.Memory - used.Memory; claim.Memory > free {
		all = append(all, fmt.Sprintf("it needs %s of %s of memory, of which %s is free", ir.FormatSize(claim.Memory), ir.FormatSize(capacity.Memory), ir.FormatSize(max(free, 0))))
	}
	return strings.Join(all, "; ")
}

// memory returns the memory of the machine in bytes. What is not known does not limit.
func memory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return math.MaxInt64
	}
	var kib int64
	_, rest, _ := strings.Cut(string(b), "MemTotal:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return math.MaxInt64
	}
	return kib << 10
}
