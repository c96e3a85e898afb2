package executors

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// A GPU is a device of the machine, as a pool lends it.
type GPU struct {
	Device
	Model  string   // "" if it is not known
	Memory int64    // bytes, 0 if they are not known
	Slices []Device // what it is cut into; Part is the name of the slice
}

// String is how a run records the device: its name, and what part of it.
func (d Device) String() string { return strings.TrimSpace(d.Name + " " + d.Part) }

func namesOf(ds []Device) []string {
	var names []string
	for _, d := range ds {
		names = append(names, d.String())
	}
	return names
}

// A gpuInventory is the GPUs of one pool, and who has what of them.
type gpuInventory struct {
	pool ir.Pool
	bins []bin
	held map[string]int64 // parts, by team
}

// A bin is a device that is lent whole or in shares, or one slice. It has less
// than nothing free if the pool came to be divided otherwise while it was lent.
type bin struct {
	gpu        int // whose slice it is, or which it is
	device     Device
	slice      string
	size, free int64 // in parts
}

// A lease is what a unit has of GPUs.
type lease struct {
	team   string
	grants []grant
}

type grant struct {
	pool  string
	bin   int
	parts int64
}

func (l lease) total() (n int64) {
	for _, g := range l.grants {
		n += g.parts
	}
	return n
}

// newGPUInventory lends the devices that were found for a pool. If none were, as many as
// it declares are counted, and have no names.
func newGPUInventory(p ir.Pool, found []GPU) *gpuInventory {
	r := &gpuInventory{pool: p, held: map[string]int64{}}
	for i := range int(p.GPU) {
		var g GPU
		if i < len(found) {
			g = found[i]
		}
		if len(p.Slices) == 0 {
			n := p.PerDevice("")
			r.bins = append(r.bins, bin{gpu: i, device: g.Device, size: n, free: n})
			continue
		}
		for _, s := range p.Slices {
			named := slices.DeleteFunc(slices.Clone(g.Slices), func(d Device) bool { return d.Part != s.Name })
			for k := range int(s.Count) {
				b := bin{gpu: i, slice: s.Name, size: 1, free: 1}
				if k < len(named) {
					b.device = named[k]
				}
				r.bins = append(r.bins, b)
			}
		}
	}
	return r
}

func (r *gpuInventory) clone() *gpuInventory {
	return &gpuInventory{pool: r.pool, bins: slices.Clone(r.bins), held: maps.Clone(r.held)}
}

// place finds room for the parts on as few devices as possible, and rather fills
// one up than opens another. It takes nothing.
func (r *gpuInventory) place(p ir.Parts) ([]grant, bool) {
	if p.Count == 0 {
		return nil, true
	}
	room := make([]int64, r.pool.GPU) // by device: how many times Each
	for _, b := range r.bins {
		if b.slice == p.Slice && b.free > 0 {
			room[b.gpu] += b.free / p.Each
		}
	}
	take := make([]int64, len(room))
	for left := p.Count; left > 0; {
		best := -1
		for i, n := range room {
			if n == 0 || best >= 0 && room[best] == n {
				continue
			}
			enough := n >= left
			if best < 0 || enough && (room[best] < left || n < room[best]) || !enough && n > room[best] {
				best = i
			}
		}
		if best < 0 {
			return nil, false
		}
		take[best] = min(left, room[best])
		left -= take[best]
		room[best] = 0
	}
	var grants []grant
	for i, b := range r.bins {
		if n := min(take[b.gpu], max(b.free, 0)/p.Each); b.slice == p.Slice && n > 0 {
			grants = append(grants, grant{r.pool.Name, i, n * p.Each})
			take[b.gpu] -= n
		}
	}
	return grants, true
}

// beyond reports whether so many parts more are more than the team is guaranteed.
// Without teams nothing is. lends says whether it may have them all the same, of
// what is idle.
func (r *gpuInventory) beyond(team string, more int64) (beyond, lends bool) {
	if len(r.pool.Teams) == 0 {
		return false, true
	}
	t := r.pool.Team(team)
	if t == nil {
		t = &ir.Team{Borrow: true}
	}
	return r.held[team]+more > t.GPU, t.Borrow
}

// yields reports whether what the team has beyond its guarantee is taken back.
func (r *gpuInventory) yields(team string) bool {
	over, _ := r.beyond(team, 0)
	t := r.pool.Team(team)
	return over && (t == nil || t.Yields)
}

// takeParts enters a lease, and giveParts takes it out.
func (l ledger) takeParts(t lease) { l.enter(t, 1) }
func (l ledger) giveParts(t lease) { l.enter(t, -1) }

func (l ledger) enter(t lease, sign int64) {
	for _, g := range t.grants {
		r := l[g.pool].gpus
		r.bins[g.bin].free -= sign * g.parts
		r.held[t.team] += sign * g.parts
	}
}

// place finds what a claim gets of the GPUs of its pool.
func (l ledger) place(c claim) (lease, bool) {
	grants, ok := l[c.pool].gpus.place(c.parts)
	return lease{c.team, grants}, ok
}

// satisfies reports whether a lease is what the claim would get.
func (l ledger) satisfies(t lease, c claim) bool {
	return t.total() == c.parts.Total() && !slices.ContainsFunc(t.grants, func(g grant) bool {
		b := l[g.pool].gpus.bins[g.bin]
		return g.pool != c.pool || b.slice != c.parts.Slice || g.parts > b.size || g.parts%c.parts.Each != 0
	})
}

// leased finds the devices that a run has, by what it recorded. What no pool has
// any more is nobody's to lend. Where devices have no names, whoever is there is
// counted as what it asks for.
func (l ledger) leased(c claim, devices []string) lease {
	if r := l[c.pool].gpus; len(r.bins) > 0 && r.bins[0].device.Name == "" {
		t, _ := l.place(c)
		return t
	}
	t := lease{team: c.team}
	for _, text := range devices {
		name, part, _ := strings.Cut(text, " ")
		for _, pool := range sortedKeys(l) {
			at := slices.IndexFunc(l[pool].gpus.bins, func(b bin) bool { return b.device.Name == name })
			if at >= 0 {
				t.grants = append(t.grants, grant{pool, at, l[pool].gpus.bins[at].partsOf(part)})
				break
			}
		}
	}
	return t
}

// partsOf is how much of the bin a recorded part is: "2/4" of a device, or all.
func (b bin) partsOf(part string) int64 {
	var n, of int64
	if _, err := fmt.Sscanf(part, "%d/%d", &n, &of); err != nil || n <= 0 || n > of {
		return b.size
	}
	return (n*b.size + of - 1) / of
}

// devices are what a lease is of, as a task gets them. They are none where they
// have no names.
func (l ledger) devices(t lease) []Device {
	ds := []Device{}
	for _, g := range t.grants {
		b := l[g.pool].gpus.bins[g.bin]
		d := b.device
		if d.Name == "" {
			continue
		}
		if g.parts < b.size {
			d.Part = fmt.Sprintf("%d/%d", g.parts, b.size)
		}
		ds = append(ds, d)
	}
	return ds
}

// machinePool is the machine as a pool, with the devices that were found there.
func machinePool(r ir.Resources, found []GPU) ir.Pool {
	for i, g := range found {
		if i == 0 {
			r.GPUModel, r.GPUMemory = g.Model, g.Memory
		}
		if r.GPUModel != g.Model {
			r.GPUModel = ""
		}
		r.GPUMemory = min(r.GPUMemory, g.Memory)
		r.GPU = int64(i + 1)
	}
	return ir.Pool{Name: MachinePool, Resources: r}
}
