package executors

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// found returns devices with the names 0, 1, ..., and their slices.
func found(p ir.Pool) []GPU {
	gpus := make([]GPU, p.GPU)
	for i := range gpus {
		gpus[i].Name = fmt.Sprint("gpu=", i)
		n := 0
		for _, s := range p.Slices {
			for range s.Count {
				gpus[i].Slices = append(gpus[i].Slices, Device{Name: fmt.Sprintf("gpu=%d:%d", i, n), Part: s.Name})
				n++
			}
		}
	}
	return gpus
}

func TestPartsAreFoundOnAsFewDevicesAsPossible(t *testing.T) {
	whole := ir.Pool{Name: "p", Resources: ir.Resources{GPU: 3, GPUMemory: 80}}
	shared := ir.Pool{Name: "p", Resources: ir.Resources{GPU: 3, GPUMemory: 80}, Shares: 4}
	cut := ir.Pool{Name: "p", Resources: ir.Resources{GPU: 2}, Slices: []ir.Slice{{Name: "big", Count: 1, Memory: 40}, {Name: "small", Count: 3, Memory: 10}}}
	for _, c := range []struct {
		name string
		pool ir.Pool
		asks []ir.Resources
		want string // of the last one
	}{
		{"the first that is free", whole, []ir.Resources{{GPU: 1}, {GPU: 1}}, "gpu=1"},
		{"several", whole, []ir.Resources{{GPU: 1}, {GPU: 2, GPUMemory: 80}}, "gpu=1, gpu=2"},
		{"more than there are left", whole, []ir.Resources{{GPU: 2}, {GPU: 2}}, "none"},
		{"a share of one that is in use", shared, []ir.Resources{{GPU: 1, GPUMemory: 30}, {GPU: 1, GPUMemory: 20}}, "gpu=0 1/4"},
		{"shares rounded up", shared, []ir.Resources{{GPU: 1, GPUMemory: 41}}, "gpu=0 3/4"},
		{"no share is of two devices", shared, []ir.Resources{{GPU: 1, GPUMemory: 60}, {GPU: 1, GPUMemory: 40}}, "gpu=1 2/4"},
		{"all shares", shared, []ir.Resources{{GPU: 1, GPUMemory: 20}, {GPU: 2}}, "gpu=1, gpu=2"},
		{"the device whose room is just enough", shared, []ir.Resources{{GPU: 1}, {GPU: 1, GPUMemory: 60}, {GPU: 1, GPUMemory: 20}}, "gpu=1 1/4"},
		{"many shares", shared, []ir.Resources{{GPU: 1, GPUMemory: 20}, {GPU: 6, GPUMemory: 20}}, "gpu=0 2/4, gpu=1"},
		{"the smallest slice", cut, []ir.Resources{{GPU: 1, GPUMemory: 8}}, "gpu=0:1 small"},
		{"a larger slice", cut, []ir.Resources{{GPU: 1, GPUMemory: 11}}, "gpu=0:0 big"},
		{"slices by name", cut, []ir.Resources{{GPU: 1, GPUSlice: "big"}, {GPU: 1, GPUSlice: "big"}}, "gpu=1:0 big"},
		{"slices of one device", cut, []ir.Resources{{GPU: 2, GPUMemory: 8}, {GPU: 3, GPUMemory: 8}}, "gpu=1:1 small, gpu=1:2 small, gpu=1:3 small"},
		{"slices of two", cut, []ir.Resources{{GPU: 4, GPUMemory: 8}}, "gpu=0:1 small, gpu=0:2 small, gpu=0:3 small, gpu=1:1 small"},
	} {
		l := newLedger([]ir.Pool{c.pool}, ir.Resources{}, map[string][]GPU{"p": found(c.pool)})
		got := ""
		for _, ask := range c.asks {
			claim, err := l.claimOf(&ir.Unit{ID: "u", Pool: "p", Needs: ask}, true)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			lent, ok := l.place(claim)
			got = "none"
			if ok {
				l.takeParts(lent)
				names := namesOf(l.devices(lent))
				if got = strings.Join(names, ", "); !slices.EqualFunc(l.leased(claim, names).grants, lent.grants, func(a, b grant) bool { return a == b }) {
					t.Errorf("%s: by its names the lease %v is %v", c.name, lent, l.leased(claim, names))
				}
			}
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// teams returns a schedule of jobs with whole GPUs, and a function that goes through the
// queue and lists which jobs started and which have to return GPUs.
func teams(gpus int64, ts []ir.Team, jobs ...node) (*schedule, func(queue ...int) string) {
	l := newLedger([]ir.Pool{{Name: "p", Resources: ir.Resources{GPU: gpus}, Teams: ts}}, ir.Resources{}, nil)
	s := newSchedule(jobs, l, 0)
	s.takeDue()
	return s, func(queue ...int) string {
		for _, i := range queue {
			s.queue(i)
		}
		said := fmt.Sprint("start ", s.admit())
		for _, x := range s.reclaim() {
			said += fmt.Sprintf(", %d for %d", x.from, x.to)
		}
		return said
	}
}

func gpus(team string, n int64) node {
	return node{claim: claim{pool: "p", team: team, parts: ir.Parts{Count: n, Each: 1}}}
}

func TestTeamReclaimsItsGuarantee(t *testing.T) {
	ts := []ir.Team{{Name: "a", GPU: 2, Borrow: true, Yields: true}, {Name: "b", GPU: 2, Borrow: true, Yields: true}}
	low := gpus("a", 1)
	low.rank = -1
	s, look := teams(4, ts, gpus("a", 1), gpus("a", 1), low, gpus("a", 1), gpus("b", 1), gpus("b", 1), gpus("b", 1))
	for _, step := range []struct{ did, said, want string }{
		{"one team takes all that is idle", look(0, 1, 2, 3), "start [0 1 3 2]"},
		{"the one of the lowest rank goes", look(4), "start [], 2 for 4"},
		{"and only once", look(), "start []"},
		{"then the latest", look(5), "start [], 3 for 5"},
		{"but none for who would borrow itself", look(6), "start []"},
	} {
		if step.said != step.want {
			t.Errorf("%s: %q, want %q", step.did, step.said, step.want)
		}
	}
	s.pause(2)
	if got := look(2); got != "start [4]" {
		t.Errorf("what was given back: %q, and it is owed to 4", got)
	}
	s.end(3, true) // it ended by itself first
	if got := look(); got != "start [5]" {
		t.Errorf("what was given back: %q, and it is owed to 5", got)
	}
	s.end(0, true)
	if got := look(); got != "start [2]" {
		t.Errorf("what is idle: %q, and of it 2 is owed its part, and 6 would borrow", got)
	}
}

func TestBorrowersArePreemptedOnlyAsDeclared(t *testing.T) {
	big := gpus("a", 3)
	for _, c := range []struct {
		name string
		team ir.Team // which borrows
		jobs []node  // the last one waits
		want string
	}{
		{"it does not yield", ir.Team{Name: "a", Borrow: true}, []node{gpus("a", 4), gpus("b", 1)}, "start []"},
		{"it does not borrow", ir.Team{Name: "a", GPU: 1}, []node{gpus("a", 1), gpus("a", 1)}, "start []"},
		{"of no team", ir.Team{Name: "a"}, []node{gpus("", 4), gpus("b", 1)}, "start [], 0 for 1"},
		{"no more than needed", ir.Team{Name: "a", Borrow: true, Yields: true}, []node{big, gpus("a", 1), gpus("b", 2)}, "start [], 0 for 2"},
		{"not what a guarantee covers", ir.Team{Name: "a", GPU: 2, Borrow: true, Yields: true}, []node{gpus("a", 2), gpus("b", 2), gpus("a", 1)}, "start []"},
		{"not to help who cannot be helped", ir.Team{Name: "a", Borrow: true}, []node{gpus("a", 3), gpus("", 1), gpus("b", 2)}, "start []"},
	} {
		_, look := teams(4, []ir.Team{c.team, {Name: "b", GPU: 2}}, c.jobs...)
		last := len(c.jobs) - 1
		for i := range last {
			look(i)
		}
		if got := look(last); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestAServiceKeepsItsGPUs(t *testing.T) {
	service := gpus("", 1)
	service.service, service.held = true, true
	other := service
	other.claim.parts.Count = 2
	pool := ir.Pool{Name: "p", Resources: ir.Resources{GPU: 4}}
	l := newLedger([]ir.Pool{pool}, ir.Resources{}, map[string][]GPU{"p": found(pool)})
	for i, n := range []*node{&service, &other} {
		n.lease = l.leased(n.claim, []string{fmt.Sprint("gpu=", i)})
	}
	s := newSchedule([]node{service, other, gpus("", 1)}, l, 0)
	for _, i := range s.takeDue() {
		s.queue(i)
	}
	has := func(i int) string { return strings.Join(namesOf(l.devices(s.nodes[i].lease)), " ") }
	if got := s.admit(); !slices.Equal(got, []int{0, 1}) || has(0) != "gpu=0" || has(1) != "gpu=2 gpu=3" {
		t.Errorf("started %v; the one that asks for the same has %s, the one that asks for more %s", got, has(0), has(1))
	}
	s.end(1, true)
	if got := s.admit(); !slices.Equal(got, []int{2}) || has(2) != "gpu=1" {
		t.Errorf("started %v with %s, which the service has left", got, has(2))
	}
	s.end(0, false)
	if has(0) != "gpu=0" {
		t.Errorf("the service that stays has %q", has(0))
	}
}

// TestGPUsAreLentExactly runs random jobs and services of random teams on pools
// of all kinds, with failures and retries.
func TestGPUsAreLentExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pool := drawPool(t)
		l := newLedger([]ir.Pool{pool}, ir.Resources{}, map[string][]GPU{"p": found(pool)})
		nodes := drawNodes(t, l, pool)
		w := &world{T: t, pool: pool, l: l, s: newSchedule(nodes, l, rapid.IntRange(0, 5).Draw(t, "parallel"))}
		w.s.parallel *= rapid.IntRange(0, 1).Draw(t, "bounded")
		for {
			for _, i := range w.s.takeDue() {
				w.s.queue(i)
			}
			w.running = append(w.running, w.s.admit()...)
			w.exact()
			w.busy()
			w.losses(w.s.reclaim())
			if len(w.running) == 0 {
				break
			}
			w.step()
		}
		held := slices.ContainsFunc(nodes, func(n node) bool { return n.held })
		if len(w.s.queued) > 0 && !held {
			t.Fatalf("%v wait for ever", w.s.queued)
		}
		for i := range nodes {
			if nodes[i].overtaken > patience {
				t.Fatalf("%d was overtaken %d times", i, nodes[i].overtaken)
			}
		}
	})
}

func drawPool(t *rapid.T) ir.Pool {
	p := ir.Pool{Name: "p", Resources: ir.Resources{MilliCPU: 8000, GPU: rapid.Int64Range(1, 4).Draw(t, "GPUs"), GPUMemory: 80}}
	switch rapid.SampledFrom([]string{"whole", "shares", "slices"}).Draw(t, "kind") {
	case "shares":
		p.Shares = rapid.Int64Range(2, 5).Draw(t, "shares")
	case "slices":
		p.Slices = []ir.Slice{{Name: "l", Count: 1, Memory: 40}, {Name: "s", Count: rapid.Int64Range(1, 4).Draw(t, "slices"), Memory: 10}}
	}
	left := p.Lends()
	for _, name := range []string{"a", "b", "c"}[:rapid.IntRange(0, 3).Draw(t, "teams")] {
		m := ir.Team{Name: name, GPU: rapid.Int64Range(0, left).Draw(t, "guarantee"), Borrow: rapid.Bool().Draw(t, "borrows"), Yields: rapid.Bool().Draw(t, "yields")}
		left -= m.GPU
		p.Teams = append(p.Teams, m)
	}
	return p
}

// drawNodes draws units that fit. Those that do not fit get no GPU.
func drawNodes(t *rapid.T, l ledger, pool ir.Pool) []node {
	nodes := make([]node, rapid.IntRange(1, 20).Draw(t, "units"))
	jobs, services := map[string]claim{}, map[string]claim{}
	for i := range nodes {
		u := ir.Unit{ID: fmt.Sprint(i), Kind: ir.Job, Pool: "p"}
		if rapid.IntRange(0, 7).Draw(t, "service") == 0 {
			u.Kind = ir.Service
		}
		u.Needs = ir.Resources{MilliCPU: rapid.Int64Range(1, 4000).Draw(t, "milli"), GPU: rapid.Int64Range(0, 4).Draw(t, "count"), GPUMemory: rapid.Int64Range(0, 80).Draw(t, "memory")}
		if len(pool.Teams) > 0 {
			u.Team = rapid.SampledFrom(append(pool.Teams, ir.Team{})).Draw(t, "team").Name
		}
		c, err := l.claimOf(&u, true)
		set := jobs
		if u.Kind == ir.Service {
			set = services
		}
		set[u.ID] = c
		if err != nil || l.check(jobs, services) != nil {
			c.parts, c.MilliCPU = ir.Parts{}, 0
			set[u.ID] = c
		}
		nodes[i] = node{claim: c, service: u.Kind == ir.Service, rank: rapid.IntRange(0, 2).Draw(t, "rank"), way: time.Duration(rapid.IntRange(0, 3).Draw(t, "way"))}
		for j := range i {
			if rapid.IntRange(0, 6).Draw(t, "edge") == 0 {
				nodes[j].next = append(nodes[j].next, i)
			}
		}
	}
	return nodes
}

type world struct {
	*rapid.T
	pool    ir.Pool
	l       ledger
	s       *schedule
	running []int
}

// exact: exactly what running and deployed units hold is lent, each has what it
// requested, nothing is lent twice, and no team exceeds its limit.
func (w *world) exact() {
	r := w.l["p"].gpus
	lent, held := make([]int64, len(r.bins)), map[string]int64{}
	for i := range w.s.nodes {
		n := &w.s.nodes[i]
		if !n.held && !n.runs {
			if len(n.lease.grants) > 0 {
				w.Fatalf("%d has %v and does not run", i, n.lease)
			}
			continue
		}
		if !w.l.satisfies(n.lease, n.claim) {
			w.Fatalf("%d asks for %v and has %v", i, n.claim.parts, n.lease)
		}
		for _, g := range n.lease.grants {
			lent[g.bin] += g.parts
			held[n.claim.team] += g.parts
		}
	}
	for i, b := range r.bins {
		if lent[i] > b.size || b.free != b.size-lent[i] {
			w.Fatalf("of %v with %d parts, %d are lent and %d free", b.device, b.size, lent[i], b.free)
		}
	}
	for _, m := range w.pool.Teams {
		if r.held[m.Name] != held[m.Name] || !m.Borrow && held[m.Name] > m.GPU {
			w.Fatalf("the team %v has %d, by account %d", m, held[m.Name], r.held[m.Name])
		}
	}
}

// busy: no node waits for idle resources, unless one that was overtaken too often waits
// before it, or it would borrow what another one is owed.
func (w *world) busy() {
	if w.s.parallel > 0 && len(w.running) >= w.s.parallel {
		return
	}
	var owed, tired bool
	for _, i := range w.s.queued {
		_, fits := w.l.place(w.s.nodes[i].claim)
		owed = owed || w.s.entitlement(i) == within && !fits
		tired = tired || w.s.nodes[i].overtaken >= patience
	}
	for _, i := range w.s.queued {
		n := &w.s.nodes[i]
		_, fits := w.l.place(n.claim)
		st := w.s.entitlement(i)
		if fits && w.l.fits(n.claim) && !tired && (st == within || st == borrows && !owed) {
			w.Fatalf("%d waits for %v, which is idle", i, n.claim.parts)
		}
	}
}

// losses: only jobs of teams above their guarantee lose GPUs, and only if the teams
// yield, to units of teams below theirs.
func (w *world) losses(losses []loss) {
	soon := w.l.clone()
	for _, x := range losses {
		from, to := &w.s.nodes[x.from], &w.s.nodes[x.to]
		over, _ := w.l["p"].gpus.beyond(from.claim.team, 0)
		t := w.pool.Team(from.claim.team)
		if from.service || !from.runs || !over || t != nil && !t.Yields {
			w.Fatalf("%d of %v loses what it has", x.from, t)
		}
		if w.s.entitlement(x.to) != within || from.claim.team == to.claim.team {
			w.Fatalf("%d gets what %d loses", x.to, x.from)
		}
	}
	// The first node that is owed something gets it, unless not enough can be reclaimed.
	for i := range w.s.nodes {
		if n := &w.s.nodes[i]; n.leaving {
			soon.giveParts(n.lease)
			soon.give(n.claim)
		}
	}
	for _, i := range w.s.queued {
		n := &w.s.nodes[i]
		if beyond, _ := soon["p"].gpus.beyond(n.claim.team, n.claim.parts.Total()); beyond || n.claim.parts.Count == 0 {
			continue
		}
		if _, ok := soon.place(n.claim); ok || w.pool.Shares > 0 || len(w.pool.Slices) > 0 || !soon.fits(n.claim) {
			return // with parts, or cores, the reclaimed ones may be the wrong ones
		}
		for j := range w.s.nodes {
			if b := &w.s.nodes[j]; b.runs && !b.leaving && !b.service && soon["p"].gpus.yields(b.claim.team) {
				soon.giveParts(b.lease)
				soon.give(b.claim)
				if _, ok := soon.place(n.claim); ok && soon.fits(n.claim) && len(b.lease.grants) > 0 {
					w.Fatalf("%d is owed %v and nobody gives it back", i, n.claim.parts)
				}
			}
		}
		return
	}
}

// step lets something happen to a running node.
func (w *world) step() {
	at := rapid.IntRange(0, len(w.running)-1).Draw(w.T, "which")
	i := w.running[at]
	w.running = slices.Delete(w.running, at, at+1)
	switch how := rapid.IntRange(0, 5).Draw(w.T, "how"); {
	case w.s.nodes[i].leaving && how > 1, how == 1:
		w.s.pause(i)
		w.s.queue(i)
	case how == 0:
		w.s.end(i, false)
	default:
		w.s.end(i, true)
	}
}
