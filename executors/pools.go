package executors

import (
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// MachinePool is the pool of units that name none: the machine itself.
const MachinePool = "machine"

// defaultMilliCPU is what a job that asks for no cores is counted with: the
// usual step keeps one core busy. A pool of less than a core lends all it has.
const defaultMilliCPU = 1000

// A claim is what a unit draws from a pool while it is there.
type claim struct {
	pool string
	ir.Resources
}

// A ledger keeps exact account of the pools.
type ledger map[string]*account

type account struct {
	total, used ir.Resources
}

// newLedger opens one account per pool and one for the machine. A machine of
// which nothing is known has as many cores as Go sees and no other bound.
func newLedger(pools []ir.Pool, machine ir.Resources) ledger {
	if machine == (ir.Resources{}) {
		machine = ir.Resources{MilliCPU: int64(runtime.NumCPU()) * 1000, Memory: math.MaxInt64}
	}
	l := ledger{MachinePool: {total: machine}}
	for _, p := range pools {
		l[p.Name] = &account{total: p.Resources}
	}
	return l
}

// claimOf says what the unit draws. A job holds it until it ends; a service for
// as long as it stands, and during a takeover its predecessor is not counted
// beside it. Only jobs have a default: a service or record that asks for
// nothing is idle most of the time.
func (l ledger) claimOf(u *ir.Unit) (claim, error) {
	c := claim{pool: u.Pool, Resources: u.Needs}
	if c.pool == "" {
		c.pool = MachinePool
	}
	a, ok := l[c.pool]
	if !ok {
		return c, fmt.Errorf("%s: there is no pool %q", u.ID, c.pool)
	}
	if u.Kind == ir.Job && c.MilliCPU == 0 {
		c.MilliCPU = min(defaultMilliCPU, a.total.MilliCPU)
	}
	if c.GPU > 0 && c.GPUModel != "" && a.total.GPUModel != "" && c.GPUModel != a.total.GPUModel {
		return c, fmt.Errorf("%s asks for the GPU %s; pool %s has %s", u.ID, c.GPUModel, c.pool, a.total.GPUModel)
	}
	return c, nil
}

// check refuses a set of units that could never all run: a unit that would not
// fit its pool beside all the services that stand there.
func (l ledger) check(jobs, services map[string]claim) error {
	held := map[string]ir.Resources{}
	for _, c := range services {
		held[c.pool] = add(held[c.pool], c.Resources)
	}
	for _, name := range sortedKeys(services) {
		c := services[name]
		if lack := lacking(l[c.pool].total, held[c.pool]); lack != "" {
			return fmt.Errorf("%s does not fit pool %s: all services there ask for %s", name, c.pool, lack)
		}
	}
	for _, name := range sortedKeys(jobs) {
		c := jobs[name]
		if lack := lacking(l[c.pool].total, c.Resources); lack != "" {
			return fmt.Errorf("%s does not fit pool %s: it asks for %s", name, c.pool, lack)
		}
		if lack := lacking(l[c.pool].total, add(c.Resources, held[c.pool])); lack != "" {
			return fmt.Errorf("%s does not fit pool %s: with the services there it needs %s", name, c.pool, lack)
		}
	}
	return nil
}

func (l ledger) fits(c claim) bool {
	a := l[c.pool]
	return lacking(a.total, add(a.used, c.Resources)) == ""
}

func (l ledger) take(c claim) { l[c.pool].used = add(l[c.pool].used, c.Resources) }
func (l ledger) give(c claim) { l[c.pool].used = sub(l[c.pool].used, c.Resources) }

// lacking names the amounts of want that are more than there is, or is "".
// Disk is only counted where a pool says how much it has.
func lacking(have, want ir.Resources) string {
	var s []string
	if want.MilliCPU > have.MilliCPU {
		s = append(s, fmt.Sprintf("%s cores of %s", cores(want.MilliCPU), cores(have.MilliCPU)))
	}
	if want.Memory > have.Memory {
		s = append(s, fmt.Sprintf("%d bytes of memory of %d", want.Memory, have.Memory))
	}
	if have.Disk > 0 && want.Disk > have.Disk {
		s = append(s, fmt.Sprintf("%d bytes of disk of %d", want.Disk, have.Disk))
	}
	if want.GPU > have.GPU {
		s = append(s, fmt.Sprintf("%d GPUs of %d", want.GPU, have.GPU))
	}
	return strings.Join(s, ", ")
}

func cores(milli int64) string {
	return strconv.FormatFloat(float64(milli)/1000, 'f', -1, 64)
}

func add(a, b ir.Resources) ir.Resources {
	return ir.Resources{
		MilliCPU: a.MilliCPU + b.MilliCPU, Memory: a.Memory + b.Memory,
		Disk: a.Disk + b.Disk, GPU: a.GPU + b.GPU,
	}
}

func sub(a, b ir.Resources) ir.Resources {
	return ir.Resources{
		MilliCPU: a.MilliCPU - b.MilliCPU, Memory: a.Memory - b.Memory,
		Disk: a.Disk - b.Disk, GPU: a.GPU - b.GPU,
	}
}
