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
	Model  string   // "" if unknown
	Memory int64    // bytes, 0 if unknown
	Slices []Device // how it is partitioned; Part is the name of the slice
}

// String is how a run records the device: its name and the part of it.
func (d Device) String() string { return strings.TrimSpace(d.Name + " " + d.Part) }

func namesOf(ds []Device) []string {
	var names []string
	for _, d := range ds {
		names = append(names, d.String())
	}
	return names
}

// A gpuInventory is the GPUs of one pool, and which leases hold them.
type gpuInventory struct {
	pool ir.Pool
	bins []bin
	held map[string]int64 // parts, by team
}

// A bin is a device that is lent whole or in shares, or one slice. Its free space is
// negative if the division of the pool changed while it was lent.
type bin struct {
	gpu        int // index of the GPU
	device     Device
	slice      string
	size, free int64 // in parts
}

// A lease is the GPUs that a unit holds.
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

// newGPUInventory lends the devices that were found for a pool. If none were found, it
// counts as many as the pool declares, without names.
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

// place finds room for the parts on as few devices as possible, and prefers partly used
// ones. It takes nothing.
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

// beyond reports whether that many more parts exceed the guarantee of the team. Without
// teams nothing does. lends says whether the team may borrow idle ones nevertheless.
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

// yields reports whether what the team has beyond its guarantee is reclaimed.
func (r *gpuInventory) yields(team string) bool {
	over, _ := r.beyond(team, 0)
	t := r.pool.Team(team)
	return over && (t == nil || t.Yields)
}

// takeParts adds a lease, and giveParts removes it.
func (l ledger) takeParts(t lease) { l.enter(t, 1) }
func (l ledger) giveParts(t lease) { l.enter(t, -1) }

func (l ledger) enter(t lease, sign int64) {
	for _, g := range t.grants {
		r := l[g.pool].gpus
		r.bins[g.bin].free -= sign * g.parts
		r.held[t.team] += sign * g.parts
	}
}

// place finds the GPUs that a claim gets from its pool.
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

// leased finds the devices that a run holds, from what it recorded. It ignores devices
// that are no longer in a pool. Where devices have no names, the run counts with what its
// unit requests.
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

// partsOf returns the size of a recorded part: "2/4" of a device, or all of it.
func (b bin) partsOf(part string) int64 {
	var n, of int64
	if _, err := fmt.Sscanf(part, "%d/%d", &n, &of); err != nil || n <= 0 || n > of {
		return b.size
	}
	return (n*b.size + of - 1) / of
}

// devices returns the devices of a lease as a task gets them, or none if they have no
// names.
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

// machinePool returns the machine as a pool, with the devices that were found on it.
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
