package executors

import (
	"fmt"
	"math"
	"runtime"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// MachinePool is the pool of units that name none: the machine itself.
const MachinePool = "machine"

// defaultMilliCPU is the claim of a job that requests no cores: the usual step keeps one
// core busy. A pool with less than one core lends all of it.
const defaultMilliCPU = 1000

// A claim is what a unit takes from a pool. GPUs are not in the amounts: its parts say
// what it gets of them.
type claim struct {
	pool string
	ir.Resources
	parts ir.Parts
	team  string
}

// A ledger keeps exact accounts of the pools.
type ledger map[string]*account

type account struct {
	total, used ir.Resources
	gpus        *gpuInventory
	unbounded   bool // nothing is taken from it
}

// newLedger opens one account per pool and one for the machine. An unknown machine has as
// many cores as Go sees and no other limit. found are the GPUs of each pool; without it
// they are only counted.
func newLedger(pools []ir.Pool, machine ir.Resources, found map[string][]GPU) ledger {
	if machine == (ir.Resources{}) {
		machine = ir.Resources{MilliCPU: int64(runtime.NumCPU()) * 1000, Memory: math.MaxInt64}
	}
	l := ledger{}
	for _, p := range append([]ir.Pool{machinePool(machine, found[MachinePool])}, pools...) {
		l[p.Name] = &account{total: p.Resources, gpus: newGPUInventory(p, found[p.Name])}
	}
	return l
}

func (l ledger) clone() ledger {
	c := make(ledger, len(l))
	for name, a := range l {
		c[name] = &account{total: a.total, used: a.used, gpus: a.gpus.clone(), unbounded: a.unbounded}
	}
	return c
}

// claimOf returns what the unit takes. A job holds it until it ends; a service holds it
// as long as it is deployed, and during a takeover its predecessor does not count. Only
// jobs have a default: a service or record that requests nothing is idle most of the
// time. A unit that does not run keeps the GPUs that it was given, whatever the pool is
// now.
func (l ledger) claimOf(u *ir.Unit, runs bool) (claim, error) {
	c := claim{pool: u.Pool, Resources: u.Draws(), team: u.Team}
	c.GPU, c.GPUMemory, c.GPUModel, c.GPUSlice, c.Nodes = 0, 0, "", "", 0
	if c.pool == "" {
		c.pool = MachinePool
	}
	a, ok := l[c.pool]
	if !ok {
		return c, fmt.Errorf("%s: no pool %q", u.ID, c.pool)
	}
	if a.unbounded {
		return claim{pool: c.pool, team: c.team}, nil
	}
	if u.Kind == ir.Job && c.MilliCPU == 0 {
		c.MilliCPU = min(defaultMilliCPU*max(u.Needs.Nodes, 1), a.total.MilliCPU)
	}
	parts, has := a.gpus.pool.Lend(u)
	switch {
	case has != "" && !runs:
		return c, nil
	case has != "":
		return c, fmt.Errorf("%s does not fit pool %s: it requests %s, but the pool has %s", u.ID, c.pool, ir.Count(u.Draws().GPU, "GPU"), has)
	}
	c.parts = parts
	return c, nil
}

// check refuses units that could never all run: a unit must fit its pool along with all
// deployed services.
func (l ledger) check(jobs, services map[string]claim) error {
	held := map[string]ir.Resources{}
	for _, c := range services {
		held[c.pool] = add(held[c.pool], c.Resources)
	}
	for _, name := range sortedKeys(services) {
		c := services[name]
		if lack := lacking(l[c.pool].total, held[c.pool]); lack != "" {
			return fmt.Errorf("%s does not fit pool %s: all its services request %s", name, c.pool, lack)
		}
		if lack := l.lackingParts(c, services, false); lack != "" {
			return fmt.Errorf("%s does not fit pool %s: all its services request %s", name, c.pool, lack)
		}
	}
	for _, name := range sortedKeys(jobs) {
		c := jobs[name]
		if lack := lacking(l[c.pool].total, c.Resources); lack != "" {
			return fmt.Errorf("%s does not fit pool %s: it requests %s", name, c.pool, lack)
		}
		if lack := lacking(l[c.pool].total, add(c.Resources, held[c.pool])); lack != "" {
			return fmt.Errorf("%s does not fit pool %s: with its services it needs %s", name, c.pool, lack)
		}
		if lack := l.lackingParts(c, services, true); lack != "" {
			return fmt.Errorf("%s does not fit pool %s: with its services it needs %s", name, c.pool, lack)
		}
	}
	return nil
}

// lackingParts is lacking for the GPU parts of all services together, and one job beside
// them.
func (l ledger) lackingParts(c claim, services map[string]claim, job bool) string {
	if c.parts.Count == 0 {
		return ""
	}
	p := l[c.pool].gpus.pool
	var same, team int64 // of the same kind, and of the same team
	for _, s := range services {
		if s.pool == c.pool && s.parts.Slice == c.parts.Slice {
			same += s.parts.Total()
		}
		if s.pool == c.pool && s.team == c.team {
			team += s.parts.Total()
		}
	}
	if job {
		same, team = same+c.parts.Total(), team+c.parts.Total()
	}
	if have := p.PerDevice(c.parts.Slice) * p.GPU; same > have {
		return fmt.Sprintf("%s of %d", partsOf(p, same), have)
	}
	if t := p.Team(c.team); t != nil && team > t.GPU && !(job && t.Borrow) {
		return fmt.Sprintf("%s of the %d that the team %s is guaranteed", partsOf(p, team), t.GPU, t.Name)
	}
	return ""
}

// partsOf describes an amount of what the pool lends.
func partsOf(p ir.Pool, n int64) string {
	switch {
	case p.Shares > 0:
		return ir.Count(n, "share") + " of GPUs"
	case len(p.Slices) > 0:
		return ir.Count(n, "slice") + " of GPUs"
	}
	return ir.Count(n, "GPU")
}

func (l ledger) fits(c claim) bool {
	a := l[c.pool]
	return lacking(a.total, add(a.used, c.Resources)) == ""
}

func (l ledger) take(c claim) { l[c.pool].used = add(l[c.pool].used, c.Resources) }
func (l ledger) give(c claim) { l[c.pool].used = sub(l[c.pool].used, c.Resources) }

// lacking lists the amounts of want that exceed have, or returns "". Disk only counts
// where a pool declares it.
func lacking(have, want ir.Resources) string {
	var s []string
	if want.MilliCPU > have.MilliCPU {
		s = append(s, fmt.Sprintf("%s cores of %s", ir.FormatCores(want.MilliCPU), ir.FormatCores(have.MilliCPU)))
	}
	if want.Memory > have.Memory {
		s = append(s, fmt.Sprintf("%d bytes of memory of %d", want.Memory, have.Memory))
	}
	if have.Disk > 0 && want.Disk > have.Disk {
		s = append(s, fmt.Sprintf("%d bytes of disk of %d", want.Disk, have.Disk))
	}
	return strings.Join(s, ", ")
}

func add(a, b ir.Resources) ir.Resources {
	return ir.Resources{
		MilliCPU: a.MilliCPU + b.MilliCPU, Memory: a.Memory + b.Memory,
		Disk: a.Disk + b.Disk,
	}
}

func sub(a, b ir.Resources) ir.Resources {
	return ir.Resources{
		MilliCPU: a.MilliCPU - b.MilliCPU, Memory: a.Memory - b.Memory,
		Disk: a.Disk - b.Disk,
	}
}
