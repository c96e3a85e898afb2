package planner

import (
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

const (
	mebi = int64(1) << 20
	core = 1000
)

// asking returns the definition digests of the units that declare needs.
func asking(sys *ir.System) map[string]string {
	out := map[string]string{}
	for i := range sys.Units {
		if u := &sys.Units[i]; u.Needs.Memory > 0 || u.Needs.MilliCPU > 0 {
			out[u.ID] = u.Digest
		}
	}
	return out
}

// advise compares what units request with what they used.
func (p *Plan) advise(used map[string]state.Used) {
	if len(used) == 0 {
		return
	}
	needs := make(map[string]ir.Resources, len(p.System.Units))
	for i := range p.System.Units {
		needs[p.System.Units[i].ID] = p.System.Units[i].Needs
	}
	for i := range p.Items {
		if u, ok := used[p.Items[i].Unit]; ok {
			p.Items[i].Advice = advice(needs[p.Items[i].Unit], u)
		}
	}
}

// advice reports requests that are at least twice the use, and use that comes close to
// the request or exceeds it. With less memory a run would have been killed; units beside
// it rely on the cores that it used.
func advice(asked ir.Resources, used state.Used) []Advice {
	var out []Advice
	if need, most := asked.Memory, used.Memory; need > 0 && used.Runs > 0 {
		a := Advice{Need: "memory", Asked: need, Used: most, Runs: used.Runs, Would: roomy(most)}
		tooMuch := need >= 2*most && need-most >= 256*mebi && a.Would < need
		if hardlyMore := most > need/10*9; tooMuch || hardlyMore {
			out = append(out, a)
		}
	}
	if need, most := asked.MilliCPU, used.MilliCPU; need > 0 && used.Long > 0 {
		a := Advice{Need: "cpu", Asked: need, Used: most, Runs: used.Long, Would: roundUp(most+most/2, core/2)}
		tooMuch := need >= 2*most && need-most >= core && a.Would < need
		above := most >= need/4*5 && most-need >= core/2
		if above {
			a.Would = roundUp(most, core/2)
		}
		if tooMuch || above {
			out = append(out, a)
		}
	}
	return out
}

// roomy adds half as much again to used and rounds it up to an amount that people would
// write.
func roomy(used int64) int64 {
	n := used + used/2
	switch {
	case n < 1024*mebi:
		return roundUp(n, 64*mebi)
	case n < 4096*mebi:
		return roundUp(n, 256*mebi)
	}
	return roundUp(n, 1024*mebi)
}

func roundUp(n, step int64) int64 { return max(1, (n+step-1)/step) * step }
