package compiler

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/lang"
)

// setNeeds reads what an entity requests, in whole thousandths and bytes.
func setNeeds(u *ir.Unit, e *entity) {
	needs, _ := e.fields.get("needs").(object)
	u.Needs = resourcesOf(needs)
	u.Pool, _ = needs.get("pool").(string)
	u.AnyOf = stringsOf(needs.get("any_of"))
	u.Team, _ = needs.get("team").(string)
	u.Priority = int(whole(needs.get("priority")))
}

func whole(v any) int64 {
	n, _ := v.(json.Number)
	i, _ := n.Int64()
	return i
}

func resourcesOf(o object) ir.Resources {
	var r ir.Resources
	if cpu, ok := o.get("cpu").(json.Number); ok {
		r.MilliCPU = ir.ParseCores(string(cpu))
	}
	memory, _ := o.get("memory").(string)
	disk, _ := o.get("disk").(string)
	r.Memory, r.Disk = ir.ParseSize(memory), ir.ParseSize(disk)
	r.PIDs, r.Nodes = whole(o.get("pids")), whole(o.get("nodes"))
	if gpu, ok := o.get("gpu").(object); ok {
		r.GPU = whole(gpu.get("count"))
		each, _ := gpu.get("memory").(string)
		r.GPUMemory = ir.ParseSize(each)
		r.GPUModel, _ = gpu.get("model").(string)
		r.GPUSlice, _ = gpu.get("slice").(string)
	}
	return r
}

func (c *checker) pools() []ir.Pool {
	var pools []ir.Pool
	for _, id := range c.order {
		if e := c.entities[id]; e.section == "resources" {
			pools = append(pools, c.pool(e))
		}
	}
	slices.SortFunc(pools, func(a, b ir.Pool) int { return strings.Compare(a.Name, b.Name) })
	return pools
}

// pool reads a pool and refuses inconsistent GPUs.
func (c *checker) pool(e *entity) ir.Pool {
	p := ir.Pool{Name: e.name, Resources: resourcesOf(e.fields)}
	p.Target = c.poolTarget(e)
	gpu, _ := e.fields.get("gpu").(object)
	p.Shares = whole(gpu.get("shares"))
	cuts, _ := gpu.get("slices").(object)
	for _, f := range cuts {
		o, _ := f.value.(object)
		memory, _ := o.get("memory").(string)
		p.Slices = append(p.Slices, ir.Slice{Name: f.name, Count: whole(o.get("count")), Memory: ir.ParseSize(memory)})
	}
	slices.SortFunc(p.Slices, func(a, b ir.Slice) int { return strings.Compare(a.Name, b.Name) })
	teams, _ := e.fields.get("teams").(object)
	for _, f := range teams {
		o, _ := f.value.(object)
		t := ir.Team{Name: f.name, GPU: whole(o.get("gpu"))}
		t.Borrow, _ = o.get("borrow").(bool)
		t.Yields, _ = o.get("yields").(bool)
		p.Teams = append(p.Teams, t)
	}
	slices.SortFunc(p.Teams, func(a, b ir.Team) int { return strings.Compare(a.Name, b.Name) })
	if e.fields.get("instance") != nil {
		p.Price = c.instance(e, &p)
	} else {
		p.Price = c.price(e)
	}
	c.checkPool(e, &p)
	return p
}

// mostDevices exceeds the number of GPUs, or parts of them, in any pool.
const mostDevices = 1 << 20

func (c *checker) checkPool(e *entity, p *ir.Pool) {
	label := func(label string, at ...string) diag.Span { return c.sys.Label(label, e.path(at...)...) }
	var cut, guaranteed int64
	parts := big.NewInt(max(p.Shares, 1))
	for _, s := range p.Slices {
		cut += min(s.Memory, 1<<40) * min(s.Count, mostDevices)
		parts.Add(parts, big.NewInt(s.Count))
	}
	if parts.Mul(parts, big.NewInt(max(p.GPU, 1))).Cmp(big.NewInt(mostDevices)) > 0 {
		c.tooLarge(e, label("", "gpu").Pos, "a realistic number of GPUs")
		return
	}
	switch {
	case p.Shares > 0 && len(p.Slices) > 0:
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the GPUs of %s have both shares and slices", e),
			Spans:   []diag.Span{label("", "gpu", "shares"), label("", "gpu", "slices")},
			Hint:    "declare one pool for the shared GPUs and another for the sliced GPUs",
		})
	case p.Shares > 0 && p.GPUMemory == 0:
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the GPUs of %s have shares but no memory", e),
			Spans:   []diag.Span{label("", "gpu", "shares")},
			Hint:    `add the memory of each device: gpu: memory: "80GiB"`,
		})
	case p.GPUMemory > 0 && cut > p.GPUMemory:
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the slices of %s have more memory than a device", e),
			Wanted:  "at most " + ir.FormatSize(p.GPUMemory), Found: ir.FormatSize(cut),
			Spans: []diag.Span{label("", "gpu", "slices"), label("", "gpu", "memory")},
		})
	}
	spans := []diag.Span{label(fmt.Sprintf("lends %d", p.Lends()), "gpu")}
	for _, t := range p.Teams {
		guaranteed += min(t.GPU, mostDevices)
		if t.GPU > 0 {
			spans = append(spans, label(fmt.Sprintf("is guaranteed %d", t.GPU), "teams", t.Name))
		}
	}
	if guaranteed > p.Lends() {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the guarantees of the teams of %s exceed its GPUs", e),
			Wanted:  fmt.Sprintf("at most %d", p.Lends()), Found: strconv.FormatInt(guaranteed, 10),
			Spans: spans,
		})
	}
}

// checkResources proves that every unit fits a pool, and sets the pool that it draws
// from. Without any pool the machine decides during the apply.
func (c *checker) checkResources(units []ir.Unit, pools []ir.Pool) {
	for i := range units {
		u := &units[i]
		e := c.entities[u.Entity]
		if c.misfits[u.Entity] {
			continue
		}
		candidates, ok := c.candidates(e, u, pools)
		if !ok || len(pools) == 0 {
			continue
		}
		var misfits []string
		fit := ""
		for _, p := range candidates {
			if c.broken["resources/"+p.Name] {
				fit = p.Name // its own faults are already reported
				break
			}
			if has := misfit(allOf(u), &p); has == "" {
				fit = p.Name
				break
			} else {
				misfits = append(misfits, p.Name+" has "+has)
			}
		}
		if fit != "" {
			u.Pool = fit
			continue
		}
		c.misfits[u.Entity] = true
		if c.unknownTeam(e, u, candidates) {
			continue
		}
		d := diag.Diagnostic{
			Message: fmt.Sprintf("%s fits no pool", e),
			Wanted:  amounts(u),
			Found:   strings.Join(misfits, "; "),
			Spans:   []diag.Span{c.sys.Label("requested here", e.path("needs")...)},
			Hint:    "request less, or declare a larger pool",
		}
		if n := allOf(u).Needs.Nodes; u.Endpoint != nil && n > 1 {
			d.Message = fmt.Sprintf("%s fits no pool with all its replicas", e)
			d.Wanted = fmt.Sprintf("%s, for each of %d replicas", d.Wanted, n)
			d.Hint = "choose a smaller max, request less, or declare a larger pool"
		}
		for _, p := range candidates {
			d.Spans = append(d.Spans, c.sys.Label("", "resources", p.Name))
		}
		c.fault(d)
	}
}

// unknownTeam reports a team that no pool has, and whether that is the fault.
func (c *checker) unknownTeam(e *entity, u *ir.Unit, pools []ir.Pool) bool {
	var names []string
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s belongs to a team %q that no pool has", e, u.Team),
		Spans:   []diag.Span{c.sys.At("", e.path("needs", "team")...)},
	}
	for _, p := range pools {
		if len(p.Teams) > 0 {
			d.Spans = append(d.Spans, c.sys.Label("", "resources", p.Name, "teams"))
		}
		for _, t := range p.Teams {
			names = append(names, t.Name)
		}
	}
	if u.Team == "" || u.Needs.GPU == 0 || slices.Contains(names, u.Team) {
		return false
	}
	d.Hint = diag.DidYouMean(u.Team, names)
	c.fault(d)
	return true
}

// allOf returns a unit that draws what all replicas of a service may have, if their number follows
// the load: as if each was on a node of its own.
func allOf(u *ir.Unit) *ir.Unit {
	if u.Endpoint == nil || u.Endpoint.Scale == nil {
		return u
	}
	all := *u
	all.Needs.Nodes = int64(u.Endpoint.Scale.Max)
	return &all
}

// bySize orders pools by their scarce resources, so that a unit draws from the smallest
// pool that it fits.
func bySize(a, b ir.Pool) int {
	return cmp.Or(cmp.Compare(a.GPU, b.GPU), cmp.Compare(a.MilliCPU, b.MilliCPU), cmp.Compare(a.Memory, b.Memory))
}

// misfit returns which resources of the pool are insufficient for the unit, or "".
func misfit(u *ir.Unit, p *ir.Pool) string {
	var short []string
	draws := u.Draws()
	if draws.MilliCPU > p.MilliCPU {
		short = append(short, fmt.Sprintf("cpu %s", cores(p.MilliCPU)))
	}
	if draws.Memory > p.Memory {
		short = append(short, fmt.Sprintf("memory %s", ir.FormatSize(p.Memory)))
	}
	if _, has := p.Lend(u); has != "" {
		short = append(short, has)
	}
	if one := misfitOne(u, p); one != "" && len(short) == 0 {
		short = append(short, one)
	}
	return strings.Join(short, ", ")
}

func amounts(u *ir.Unit) string {
	var parts []string
	r := u.Needs
	if r.MilliCPU > 0 {
		parts = append(parts, "cpu "+cores(r.MilliCPU))
	}
	if r.Memory > 0 {
		parts = append(parts, "memory "+ir.FormatSize(r.Memory))
	}
	if r.GPU > 0 {
		gpu := strings.TrimSpace(fmt.Sprintf("%d GPU %s", r.GPU, r.GPUModel))
		if r.GPUSlice != "" {
			gpu += " in slices " + r.GPUSlice
		}
		if r.GPUMemory > 0 {
			gpu += " of " + ir.FormatSize(r.GPUMemory)
		}
		if u.Team != "" {
			gpu += " for the team " + u.Team
		}
		parts = append(parts, gpu)
	}
	if r.Nodes > 1 {
		return fmt.Sprintf("%s on each of %d nodes", strings.Join(parts, ", "), r.Nodes)
	}
	return strings.Join(parts, ", ")
}

func cores(m int64) string { return strings.TrimSuffix(formatFloat(float64(m)/1000), ".0") }

// checkExecutor refuses what the target's executor cannot honour.
func (c *checker) checkExecutor(units []ir.Unit, t ir.Target) {
	honour, ok := c.options.Executors[t.Executor]
	if !ok {
		var names []string
		for n := range c.options.Executors {
			names = append(names, n)
		}
		slices.Sort(names)
		c.fault(diag.Diagnostic{
			Message: fmt.Sprintf("target %q needs the executor %q, which this version of tenon does not have", t.Name, t.Executor),
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
		var faults []ir.Fault
		if honour != nil {
			faults = append(faults, honour(t, u)...)
		}
		for _, f := range faults {
			of := e
			if f.Target {
				of = c.entities["targets/"+t.Name]
			}
			key := of.id() + " " + f.Field
			if said[key] {
				continue
			}
			said[key] = true
			if f.Note {
				c.warn(of, fmt.Sprintf("%s of %s: %s", f.Field, of, f.Message), f.Hint, strings.Split(f.Field, ".")...)
				continue
			}
			c.fault(unsupported(c.sys, t, of, f))
		}
	}
}

// unsupported reports what an executor cannot honour: a field of an entity, or all of it.
func unsupported(sys *lang.System, t ir.Target, of *entity, f ir.Fault) diag.Diagnostic {
	if f.Field == "" {
		return diag.Diagnostic{
			Message: fmt.Sprintf("the executor %q of %s runs no units: %s", t.Executor, of, f.Message),
			Spans:   []diag.Span{sys.Label("", of.path()...)},
			Hint:    f.Hint,
		}
	}
	return diag.Diagnostic{
		Message: fmt.Sprintf("the executor %q does not support %s of %s: %s", t.Executor, f.Field, of, f.Message),
		Spans:   []diag.Span{sys.Label("", of.path(strings.Split(f.Field, ".")...)...)},
		Hint:    f.Hint,
	}
}
