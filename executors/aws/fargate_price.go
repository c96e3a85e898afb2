package aws

import (
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
)

// fargatePrices are what AWS charges for each hour of a core and of a GiB of a task on Linux, by architecture as Amazon ECS spells it, and for a GiB of
// disk beyond the 20 that each has. They are quoted, not taken from AWS's price list, and hold in one region.
var fargatePrices = struct {
	core, memory map[string]money.Amount
	disk         money.Amount
	region       string
	source, date string
}{
	map[string]money.Amount{"X86_64": 40_480_000, "ARM64": 32_380_000}, map[string]money.Amount{"X86_64": 4_445_000, "ARM64": 3_560_000},
	111_000, "us-east-1", "prices of AWS Fargate in us-east-1, as quoted by third parties", "2026-11-30",
}

// machine returns the architecture of tasks as Amazon ECS spells it.
func (e *Executor) machine() string {
	if e.opts.Architecture == "arm64" {
		return "ARM64"
	}
	return "X86_64"
}

// perHourOfTasks returns what the tasks of a service cost in an hour in a region, whether they answer or not.
func perHourOfTasks(u *ir.Unit, machine, region string) planner.PerHour {
	p, n := fargatePrices, instancesOf(*u)
	milli, memory, _ := size(u.Needs)
	core, known := p.core[machine]
	rate := core.Times(milli*n, 1000).Plus(p.memory[machine].Times(memory*n, 1024))
	if d := diskOf(u.Needs); d > 0 {
		rate = rate.Plus(p.disk.Times((d-leastDisk>>30)*n, 1))
	}
	x := planner.PerHour{Unit: u.ID, Of: fmt.Sprintf("%d x Fargate with %s vCPU and %d MiB", n, ir.FormatCores(milli), memory)}
	if known && region == p.region {
		x.Currency, x.Rate, x.Source, x.Date = "USD", rate, p.source, p.date
	}
	return x
}

// diskOf returns the disk of a task in GiB, or 0 for what every task has.
func diskOf(n ir.Resources) int64 {
	if n.Disk <= leastDisk {
		return 0
	}
	return (n.Disk-1)>>30 + 1
}
