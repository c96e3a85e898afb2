package gpu

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// Match assigns the found devices to pools, and returns an error for pools that need
// more devices than there are. A pool gets the smallest devices that match its
// declaration. A model matches if it contains all words of the declared name. Unknown
// properties of a device count as matching. If no pool has GPUs, all devices without
// slices belong to the machine's own pool.
func Match(pools []ir.Pool, found []executors.GPU) (map[string][]executors.GPU, error) {
	out := map[string][]executors.GPU{}
	if !slices.ContainsFunc(pools, func(p ir.Pool) bool { return p.GPU > 0 }) {
		out[executors.MachinePool] = slices.DeleteFunc(slices.Clone(found), func(g executors.GPU) bool { return len(g.Slices) > 0 })
		return out, nil
	}
	free := slices.Clone(found)
	bySize := func(a, b executors.GPU) int { // devices with unknown properties last
		known := func(g executors.GPU) int {
			if g.Model == "" || g.Memory == 0 {
				return 0
			}
			return 1
		}
		return cmp.Or(cmp.Compare(known(b), known(a)), cmp.Compare(a.Memory, b.Memory))
	}
	var errs []error
	for _, p := range slices.SortedStableFunc(slices.Values(pools), pickiest) {
		fits := slices.DeleteFunc(slices.Clone(free), func(g executors.GPU) bool { return !fit(p, g) })
		slices.SortStableFunc(fits, bySize)
		if n := int64(len(fits)); n < p.GPU {
			errs = append(errs, fmt.Errorf("pool %s declares %s, but this machine has %d of them; %s", p.Name, describe(p), n, list(found)))
			continue
		}
		lent := fits[:p.GPU]
		slices.SortFunc(lent, func(a, b executors.GPU) int { return byName(a.Device, b.Device) })
		if p.GPU > 0 {
			out[p.Name] = lent
		}
		free = slices.DeleteFunc(free, func(g executors.GPU) bool {
			return slices.ContainsFunc(lent, func(l executors.GPU) bool { return l.Name == g.Name })
		})
	}
	return out, errors.Join(errs...)
}

// pickiest orders pools with stricter requirements first.
func pickiest(a, b ir.Pool) int {
	return cmp.Or(
		cmp.Compare(len(b.Slices), len(a.Slices)),
		cmp.Compare(len(ir.ModelWords(b.GPUModel)), len(ir.ModelWords(a.GPUModel))),
		cmp.Compare(b.GPUMemory, a.GPUMemory),
		strings.Compare(a.Name, b.Name),
	)
}

func fit(p ir.Pool, g executors.GPU) bool {
	if p.GPU == 0 || p.GPUMemory > 0 && g.Memory > 0 && g.Memory < p.GPUMemory {
		return false
	}
	if g.Model != "" && !ir.IsModel(g.Model, p.GPUModel) {
		return false
	}
	for _, s := range p.Slices {
		n := int64(0)
		for _, d := range g.Slices {
			if d.Part == s.Name {
				n++
			}
		}
		if n < s.Count {
			return false
		}
	}
	return (len(p.Slices) > 0) == (len(g.Slices) > 0)
}

func describe(p ir.Pool) string {
	text := ir.Count(p.GPU, "GPU")
	if p.GPUModel != "" {
		text += " " + p.GPUModel
	}
	if p.GPUMemory > 0 {
		text += " of " + ir.FormatSize(p.GPUMemory)
	}
	var cuts []string
	for _, s := range p.Slices {
		cuts = append(cuts, ir.Count(s.Count, "slice")+" "+s.Name)
	}
	if len(cuts) > 0 {
		text += ", each in " + strings.Join(cuts, " and ")
	}
	return text
}

// list lists the names of devices, up to a maximum.
func list(gpus []executors.GPU) string {
	const most = 8
	var names []string
	for _, g := range gpus[:min(most, len(gpus))] {
		text := strings.TrimSpace(g.Name + " " + g.Model)
		if g.Memory > 0 {
			text += " of " + ir.FormatSize(g.Memory)
		}
		if n := len(g.Slices); n > 0 {
			text += " in " + ir.Count(int64(n), "slice")
		}
		names = append(names, text)
	}
	switch more := len(gpus) - most; {
	case len(gpus) == 0:
		return "neither CDI specifications nor nvidia-smi report any GPU"
	case more > 0:
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return "found " + strings.Join(names, "; ")
}
