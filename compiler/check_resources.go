package compiler

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/lang/diag"
)

// needsOf reads what an entity asks for, in whole thousandths and bytes.
func needsOf(e *entity) (ir.Resources, string) {
	needs, _ := e.fields.get("needs").(object)
	pool, _ := needs.get("pool").(string)
	return resourcesOf(needs), pool
}

func resourcesOf(o object) ir.Resources {
	var r ir.Resources
	if cpu, ok := o.get("cpu").(json.Number); ok {
		r.MilliCPU = milli(cpu)
	}
	memory, _ := o.get("memory").(string)
	disk, _ := o.get("disk").(string)
	r.Memory, r.Disk = size(memory), size(disk)
	if pids, ok := o.get("pids").(json.Number); ok {
		r.PIDs, _ = pids.Int64()
	}
	if gpu, ok := o.get("gpu").(object); ok {
		n, _ := gpu.get("count").(json.Number)
		r.GPU, _ = n.Int64()
		r.GPUModel, _ = gpu.get("model").(string)
	}
	return r
}

// milli is a number of cores in thousandths, rounded up.
func milli(n json.Number) int64 {
	r := number(n)
	return ceil(r.Mul(r, big.NewRat(1000, 1)))
}

func (c *compilation) pools() []ir.Pool {
	var pools []ir.Pool
	for _, id := range c.order {
		if e := c.entities[id]; e.section == "resources" {
			pools = append(pools, ir.Pool{Name: e.name, Resources: resourcesOf(e.fields)})
		}
	}
	slices.SortFunc(pools, func(a, b ir.Pool) int { return strings.Compare(a.Name, b.Name) })
	return pools
}

// checkResources proves that every unit fits a pool, and sets the one it draws
// from. Without any pool the machine decides when the plan is applied.
func (c *compilation) checkResources(units []ir.Unit, pools []ir.Pool) {
	reported := c.misfits
	for i := range units {
		u := &units[i]
		e := c.entities[u.Entity]
		if reported[u.Entity] {
			continue
		}
		candidates := slices.SortedStableFunc(slices.Values(pools), bySize)
		if u.Pool != "" {
			at := slices.IndexFunc(pools, func(p ir.Pool) bool { return p.Name == u.Pool })
			if at < 0 {
				reported[u.Entity] = true
				var names []string
				for _, p := range pools {
					names = append(names, p.Name)
				}
				c.fault(diag.Diagnostic{
					Message: fmt.Sprintf("%s draws from a pool %q that is not in resources", e, u.Pool),
					Spans:   []diag.Span{c.sys.At("", e.path("needs", "pool")...)},
					Hint:    diag.DidYouMean(u.Pool, names),
				})
				continue
			}
			candidates = pools[at : at+1]
		}
		if len(pools) == 0 {
			continue
		}
		var misfits []string
		fit := ""
		for _, p := range candidates {
			if why := misfit(u.Needs, p.Resources); why == "" {
				fit = p.Name
				break
			} else {
				misfits = append(misfits, p.Name+" has "+why)
			}
		}
		if fit == "" {
			reported[u.Entity] = true
			d := diag.Diagnostic{
				Message: fmt.Sprintf("%s fits no pool", e),
				Wanted:  amounts(u.Needs),
				Found:   strings.Join(misfits, "; "),
				Spans:   []diag.Span{c.sys.Label("asked for here", e.path("needs")...)},
				Hint:    "ask for less, or declare a pool that is large enough",
			}
			for _, p := range candidates {
				d.Spans = append(d.Spans, c.sys.Label("", "resources", p.Name))
			}
			c.fault(d)
			continue
		}
		u.Pool = fit
	}
}

// bySize orders pools by what is scarce, so that a unit draws from the least
// that it fits.
func bySize(a, b ir.Pool) int {
	return cmp.Or(cmp.Compare(a.GPU, b.GPU), cmp.Compare(a.MilliCPU, b.MilliCPU), cmp.Compare(a.Memory, b.Memory))
}

// misfit says what of a pool is too small, or "".
func misfit(need, have ir.Resources) string {
	var short []string
	if need.MilliCPU > have.MilliCPU {
		short = append(short, fmt.Sprintf("cpu %s", cores(have.MilliCPU)))
	}
	if need.Memory > have.Memory {
		short = append(short, fmt.Sprintf("memory %s", byteSize(have.Memory)))
	}
	switch {
	case need.GPU > have.GPU && have.GPU == 0:
		short = append(short, "no GPU")
	case need.GPU > have.GPU:
		short = append(short, fmt.Sprintf("%d GPUs", have.GPU))
	case need.GPU > 0 && need.GPUModel != "" && need.GPUModel != have.GPUModel:
		short = append(short, fmt.Sprintf("GPUs of model %q", have.GPUModel))
	}
	return strings.Join(short, ", ")
}

func amounts(r ir.Resources) string {
	var parts []string
	if r.MilliCPU > 0 {
		parts = append(parts, "cpu "+cores(r.MilliCPU))
	}
	if r.Memory > 0 {
		parts = append(parts, "memory "+byteSize(r.Memory))
	}
	if r.GPU > 0 {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%d GPU %s", r.GPU, r.GPUModel)))
	}
	return strings.Join(parts, ", ")
}

func cores(m int64) string { return strings.TrimSuffix(formatFloat(float64(m)/1000), ".0") }

func byteSize(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size {
			return strings.TrimSuffix(formatFloat(float64(n*10/u.size)/10), ".0") + u.name
		}
	}
	return fmt.Sprintf("%dB", n)
}

// target is the entry of targets that the system names, local processes if it
// names none.
func (c *compilation) target() ir.Target {
	name, err := c.sys.Lookup("target").String()
	if err != nil {
		return ir.Target{Name: "local", Executor: "process"}
	}
	e := c.entities["targets/"+name]
	if e == nil {
		if !c.broken["targets/"+name] && name != "local" {
			c.fault(diag.Diagnostic{
				Message: fmt.Sprintf("there is no target %q", name),
				Spans:   []diag.Span{c.sys.At("", "target")},
				Hint:    diag.DidYouMean(name, append(c.sys.EntityNames("targets"), "local")),
			})
		}
		return ir.Target{Name: "local", Executor: "process"}
	}
	settings, _ := plain(e.fields).(map[string]any)
	delete(settings, "name")
	delete(settings, "component")
	delete(settings, "executor")
	if len(settings) == 0 {
		settings = nil
	}
	return ir.Target{Name: name, Executor: e.string("executor"), Settings: settings}
}

// checkExecutor refuses what the target's executor cannot honour.
func (c *compilation) checkExecutor(units []ir.Unit, t ir.Target) {
	honour, ok := c.options.Executors[t.Executor]
	if !ok {
		var names []string
		for n := range c.options.Executors {
			names = append(names, n)
		}
		slices.Sort(names)
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("target %q needs the executor %q, which this tenon does not have", t.Name, t.Executor),
			Wanted:  "one of " + strings.Join(names, ", "),
			Spans:   []diag.Span{c.sys.Label("", "targets", t.Name), c.sys.At("chosen here", "target")},
			Hint:    "choose another target: `-t target=NAME` where the system has `target: string @tag(target)`",
		})
		return
	}
	said := map[string]bool{}
	for _, u := range units {
		if c.misfits[u.Entity] {
			continue
		}
		e := c.entities[u.Entity]
		var faults []Fault
		if honour != nil {
			faults = append(faults, honour(u)...)
		}
		for _, f := range faults {
			key := u.Entity + f.Field
			if said[key] {
				continue
			}
			said[key] = true
			c.fault(diag.Diagnostic{
				Message: fmt.Sprintf("the executor %q cannot honour %s of %s: %s", t.Executor, f.Field, e, f.Message),
				Spans:   []diag.Span{c.sys.Label("", e.path(strings.Split(f.Field, ".")...)...)},
				Hint:    f.Hint,
			})
		}
	}
}
