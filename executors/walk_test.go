package executors

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
)

func cpu(milli int64) claim {
	return claim{pool: MachinePool, Resources: ir.Resources{MilliCPU: milli}}
}

func machine(milli int64) ledger { return newLedger(nil, ir.Resources{MilliCPU: milli}, nil) }

func TestScheduleStartsTheCriticalPathFirst(t *testing.T) {
	s := newSchedule([]node{
		{claim: cpu(1000), way: time.Second},
		{claim: cpu(1000), way: time.Hour, next: []int{3}},
		{claim: cpu(1000), way: time.Minute},
		{claim: cpu(1000)},
	}, machine(2000), 0)
	for _, i := range s.takeDue() {
		s.queue(i)
	}
	if got := s.admit(); !slices.Equal(got, []int{1, 2}) {
		t.Errorf("the first to start are %v, want 1 and 2", got)
	}
	s.end(2, true)
	if got := s.admit(); !slices.Equal(got, []int{0}) {
		t.Errorf("next to start is %v, want 0", got)
	}
}

func TestScheduleFillsGapsButLetsNobodyStarve(t *testing.T) {
	nodes := []node{{claim: cpu(1000), way: 3}, {claim: cpu(2000), way: 2}}
	for range 3 * patience {
		nodes = append(nodes, node{claim: cpu(1000), way: 1})
	}
	s := newSchedule(nodes, machine(2000), 0)
	for _, i := range s.takeDue() {
		s.queue(i)
	}
	var order []int
	running := s.admit()
	for len(running) > 0 {
		order = append(order, running[0])
		s.end(running[0], true)
		running = append(running[1:], s.admit()...)
	}
	if len(order) != len(nodes) {
		t.Fatalf("%d of %d units ran", len(order), len(nodes))
	}
	if at := slices.Index(order, 1); at == 1 || at > patience+2 {
		t.Errorf("the big unit ran as number %d; smaller ones may overtake it, at most %d times", at, patience)
	}
}

func TestScheduleBlocksWhatDependsOnAFailureAndNothingElse(t *testing.T) {
	s := newSchedule([]node{{next: []int{2}}, {next: []int{3}}, {next: []int{4}}, {}, {}}, machine(1000), 0)
	s.takeDue()
	if got := s.settle(0, false); !slices.Equal(got, []int{2, 4}) {
		t.Errorf("blocked %v, want 2 and 4", got)
	}
	s.settle(1, true)
	if got := s.takeDue(); !slices.Equal(got, []int{3}) {
		t.Errorf("due %v, want 3", got)
	}
}

func TestServicesHoldTheirShareWhileDeployed(t *testing.T) {
	s := newSchedule([]node{
		{claim: cpu(1000), service: true, held: true},
		{claim: cpu(1000), way: 1},
		{claim: cpu(1000)},
	}, machine(2000), 0)
	for _, i := range s.takeDue() {
		s.queue(i)
	}
	if got := s.admit(); !slices.Equal(got, []int{1, 0}) {
		t.Errorf("started %v: a takeover draws nothing more, one job fits beside it", got)
	}
	s.end(0, true)
	if got := s.admit(); len(got) != 0 {
		t.Errorf("started %v although the service holds its share", got)
	}
}

func TestCheckRefusesUnitsThatCanNeverRun(t *testing.T) {
	pools := []ir.Pool{
		{Name: "gpus", Resources: ir.Resources{MilliCPU: 4000, Memory: 1 << 30, GPU: 2, GPUModel: "H200"}},
		{Name: "teams", Resources: ir.Resources{MilliCPU: 4000, GPU: 4}, Teams: []ir.Team{{Name: "few", GPU: 1}, {Name: "more", GPU: 3, Borrow: true}}},
		{Name: "cut", Resources: ir.Resources{MilliCPU: 4000, GPU: 1}, Slices: []ir.Slice{{Name: "big", Count: 1, Memory: 20}, {Name: "small", Count: 4, Memory: 10}}},
	}
	unit := func(pool string, r ir.Resources) ir.Unit { return ir.Unit{Pool: pool, Needs: r} }
	of := func(team string, u ir.Unit) ir.Unit { u.Team = team; return u }
	for _, c := range []struct {
		name         string
		job, service ir.Unit
		want         string
	}{
		{"fits", unit("gpus", ir.Resources{GPU: 2}), unit("", ir.Resources{}), ""},
		{"job too big", unit("gpus", ir.Resources{GPU: 3}), unit("", ir.Resources{}),
			"models/a does not fit pool gpus: it requests 3 GPUs, but the pool has 2 GPUs"},
		{"service too big", unit("", ir.Resources{}), unit("gpus", ir.Resources{MilliCPU: 4500}),
			"deployments/a does not fit pool gpus: all its services request 4.5 cores of 4"},
		{"job beside service", unit("gpus", ir.Resources{MilliCPU: 3500}), unit("gpus", ir.Resources{MilliCPU: 1000}),
			"models/a does not fit pool gpus: with its services it needs 4.5 cores of 4"},
		{"GPUs beside service", unit("gpus", ir.Resources{GPU: 2}), unit("gpus", ir.Resources{GPU: 1}),
			"models/a does not fit pool gpus: with its services it needs 3 GPUs of 2"},
		{"every node has all of it", unit("gpus", ir.Resources{MilliCPU: 1500, Nodes: 3}), unit("", ir.Resources{}),
			"models/a does not fit pool gpus: it requests 4.5 cores of 4"},
		{"so has a node that asks for no cores", unit("gpus", ir.Resources{Nodes: 4}), unit("gpus", ir.Resources{MilliCPU: 500}),
			"models/a does not fit pool gpus: with its services it needs 4.5 cores of 4"},
		{"GPUs of every node", unit("gpus", ir.Resources{GPU: 1, Nodes: 3}), unit("", ir.Resources{}),
			"models/a does not fit pool gpus: it requests 3 GPUs, but the pool has 2 GPUs"},
		{"disk is not counted", unit("gpus", ir.Resources{Disk: 1 << 50}), unit("", ir.Resources{}), ""},
		{"another model", unit("gpus", ir.Resources{GPU: 1, GPUModel: "L4"}), unit("", ir.Resources{}),
			`models/a does not fit pool gpus: it requests 1 GPU, but the pool has GPUs of model "H200"`},
		{"a service beyond its guarantee", unit("", ir.Resources{}), of("few", unit("teams", ir.Resources{GPU: 2})),
			"deployments/a does not fit pool teams: it requests 2 GPUs, but the pool has a guarantee of 1 for the team few"},
		{"a job beside a service of a team that does not borrow", of("few", unit("teams", ir.Resources{GPU: 1})), of("few", unit("teams", ir.Resources{GPU: 1})),
			"models/a does not fit pool teams: with its services it needs 2 GPUs of the 1 that the team few is guaranteed"},
		{"and of one that does", of("more", unit("teams", ir.Resources{GPU: 1})), of("more", unit("teams", ir.Resources{GPU: 3})), ""},
		{"a slice beside another", unit("cut", ir.Resources{GPU: 1, GPUSlice: "big"}), unit("cut", ir.Resources{GPU: 4, GPUMemory: 5}), ""},
		{"a slice beside the same", unit("cut", ir.Resources{GPU: 1, GPUSlice: "big"}), unit("cut", ir.Resources{GPU: 1, GPUMemory: 15}),
			"models/a does not fit pool cut: with its services it needs 2 slices of GPUs of 1"},
	} {
		l := newLedger(pools, ir.Resources{MilliCPU: 1000, Memory: 1 << 40}, nil)
		c.job.ID, c.job.Kind, c.service.ID, c.service.Kind = "models/a", ir.Job, "deployments/a", ir.Service
		job, err := l.claimOf(&c.job, true)
		service, err2 := l.claimOf(&c.service, true)
		if err = cmp.Or(err, err2); err == nil {
			err = l.check(map[string]claim{"models/a": job}, map[string]claim{"deployments/a": service})
		}
		if got := errText(err); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestScheduleNeverOvercommits runs random graphs with random failures: pools are never
// over-committed, the order is kept, and every unit ends or is blocked.
func TestScheduleNeverOvercommits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := ir.Resources{MilliCPU: rapid.Int64Range(1000, 4000).Draw(t, "cpu"), Memory: 100}
		count := rapid.IntRange(1, 25).Draw(t, "units")
		parallel := rapid.IntRange(0, 4).Draw(t, "parallel")
		nodes := make([]node, count)
		before := make([][]int, count)
		for i := range nodes {
			nodes[i].claim = claim{pool: MachinePool, Resources: ir.Resources{
				MilliCPU: rapid.Int64Range(0, total.MilliCPU).Draw(t, "milli"),
				Memory:   rapid.Int64Range(0, 60).Draw(t, "memory"),
			}}
			nodes[i].way = time.Duration(rapid.IntRange(0, 5).Draw(t, "priority"))
			for j := range i {
				if rapid.IntRange(0, 4).Draw(t, "edge") == 0 {
					nodes[j].next = append(nodes[j].next, i)
					before[i] = append(before[i], j)
				}
			}
		}
		l := newLedger(nil, total, nil)
		s := newSchedule(nodes, l, parallel)
		var running []int
		state := make([]string, count)
		for {
			for _, i := range s.takeDue() {
				for _, j := range before[i] {
					if state[j] != "ok" {
						t.Fatalf("%d is due before %d", i, j)
					}
				}
				if rapid.IntRange(0, 3).Draw(t, "reused") == 0 {
					state[i] = "ok"
					s.settle(i, true)
				} else {
					s.queue(i)
				}
			}
			running = append(running, s.admit()...)
			var used ir.Resources
			for _, i := range running {
				used = add(used, nodes[i].claim.Resources)
			}
			if lack := lacking(total, used); lack != "" {
				t.Fatalf("over-committed: %s", lack)
			}
			if got := l[MachinePool].used; got != used {
				t.Fatalf("the account says %v, in use is %v", got, used)
			}
			if parallel > 0 && len(running) > parallel {
				t.Fatalf("%d run at once, allowed are %d", len(running), parallel)
			}
			if len(running) == 0 {
				if len(s.due) == 0 {
					break
				}
				continue
			}
			at := rapid.IntRange(0, len(running)-1).Draw(t, "which ends")
			i := running[at]
			running = slices.Delete(running, at, at+1)
			switch rapid.IntRange(0, 5).Draw(t, "how") {
			case 0:
				state[i] = "failed"
				for _, j := range s.end(i, false) {
					state[j] = "blocked"
				}
			case 1:
				s.pause(i)
				s.queue(i)
			default:
				state[i] = "ok"
				s.end(i, true)
			}
		}
		for i, st := range state {
			if st == "" {
				t.Fatalf("unit %d never ran", i)
			}
		}
		for i := range nodes {
			if nodes[i].overtaken > patience {
				t.Fatalf("unit %d was overtaken %d times", i, nodes[i].overtaken)
			}
		}
	})
}

// A pass that stops early starts the same units as one that examines all of them.
func TestAdmitStopsAtTheFirstFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var nodes []node
		for range rapid.IntRange(1, 40).Draw(t, "units") {
			service := rapid.Bool().Draw(t, "service")
			nodes = append(nodes, node{
				claim: cpu(250 * rapid.Int64Range(0, 8).Draw(t, "cpu")), way: time.Duration(rapid.IntRange(0, 3).Draw(t, "way")),
				rank: rapid.IntRange(0, 2).Draw(t, "rank"), service: service, held: service && rapid.IntRange(0, 9).Draw(t, "held") == 0,
			})
		}
		parallel := rapid.IntRange(0, 4).Draw(t, "parallel")
		quick := newSchedule(slices.Clone(nodes), machine(2000), parallel)
		whole := newSchedule(slices.Clone(nodes), machine(2000), parallel)
		due := whole.takeDue()
		quick.takeDue()
		var running []int
		for len(due) > 0 || len(running) > 0 {
			for range min(len(due), rapid.IntRange(0, 5).Draw(t, "queued")) {
				quick.queue(due[0])
				whole.queue(due[0])
				due = due[1:]
			}
			whole.asked["everything"] = &asked{held: true}
			got, want := quick.admit(), whole.admit()
			if !slices.Equal(got, want) || !slices.Equal(quick.queued, whole.queued) {
				t.Fatalf("it starts %v and leaves %v, not %v and %v", got, quick.queued, want, whole.queued)
			}
			running = append(running, got...)
			if len(running) == 0 {
				if len(due) == 0 {
					return // the rest does not fit beside the services
				}
				continue
			}
			at := rapid.IntRange(0, len(running)-1).Draw(t, "ends")
			quick.end(running[at], true)
			whole.end(running[at], true)
			running = slices.Delete(running, at, at+1)
		}
	})
}

// What is returned early is not returned twice.
func TestVacateGivesBackOnce(t *testing.T) {
	for name, then := range map[string]func(*schedule){
		"it came out":     func(s *schedule) { s.end(0, true) },
		"it failed":       func(s *schedule) { s.end(0, false) },
		"it runs again":   func(s *schedule) { s.pause(0); s.queue(0); s.admit(); s.end(0, true) },
		"it is not known": func(*schedule) {},
	} {
		s := newSchedule([]node{{claim: cpu(1000)}, {claim: cpu(1000)}}, machine(1000), 1)
		for _, i := range s.takeDue() {
			s.queue(i)
		}
		if got := s.admit(); !slices.Equal(got, []int{0}) {
			t.Fatalf("%v start", got)
		}
		s.vacate(0)
		if got := s.admit(); !slices.Equal(got, []int{1}) {
			t.Errorf("%s: %v start once there is room", name, got)
		}
		s.end(1, true)
		then(s)
		if used := s.pools[MachinePool].used; used != (ir.Resources{}) || s.running != 0 {
			t.Errorf("%s: in the end %d run, and %+v is in use", name, s.running, used)
		}
	}
}
