package executors

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// A walk is the execution of one plan. Its loop runs in one goroutine, which alone
// touches the schedule and the result. Every unit that is examined or run has its own
// goroutine, which reports to the loop.
type walk struct {
	plan   *planner.Plan
	o      Options
	layout layout
	events *eventSink
	cancel context.CancelCauseFunc
	began  time.Time
	fault  atomic.Pointer[stateError] // why the walk had to stop
	// unprovisioned says why the infrastructure was not completed, or is nil.
	unprovisioned error

	resumed bool     // parts of the revision may be done already
	folder  *os.File // locked: nobody removes what this walk writes

	works    []*work // by node of the schedule
	byID     map[string]*work
	deletes  []string
	leases   map[string]lease // of units to delete
	lends    bool             // whether pools lend GPUs
	others   []other          // what other environments hold of them
	sched    *schedule
	reports  chan report
	flying   int            // goroutines that will report
	byKey    map[string]int // the job that runs under a key
	twins    map[string][]int
	lookers  chan struct{} // limits how many units are examined at once
	outgoing chan struct{} // and how many jobs are recorded and swept beside those that run
	sweeps   sync.WaitGroup
	result   Result

	preparations []*preparation
	making       int           // how many of them are in progress
	preparers    chan struct{} // limits how many run at once

	laying   sync.Mutex // of code, so that no goroutine replaces what another just wrote
	mu       sync.Mutex
	results  map[string]*state.Run // current results, by unit
	pending  map[string][]state.Pending
	current  map[string]state.Current   // as it was when the walk began, by the plan's names
	python   map[string]string          // exact versions by those that units name, see [planner.Plan]; nil enters no key
	noPython error                      // why one of them is not known
	sound    map[string]artifact.Traits // of artifacts that matched their digests
}

// A work is one unit during the walk.
type work struct {
	node int
	item planner.Item
	unit *ir.Unit
	// What has to be prepared before it can start, or nil.
	needs *preparation
	// Set once the unit is examined.
	key           string
	inputs        map[string]string
	incumbent     *state.ModelVersion        // that the unit compares a candidate with, nil if there is none
	traits        map[string]artifact.Traits // of its inputs when it was started, by port
	tries         int                        // attempts made in this apply that count
	interruptions int                        // attempts that do not count, because the platform ended them
	first         int                        // number of the first attempt of a run that begins from nothing
	waits         bool                       // it was said that it waits for another environment
	// The champion, if the declared version turns out to be rejected.
	stays *ir.Unit
	// Set when it is admitted.
	devices []Device
	preempt context.CancelCauseFunc
	route   *state.Route // of a service that starts beside another version
	audit   bool         // it is current, and runs again to compare
	ended   bool
	failed  bool
}

// A report is the outcome of the goroutine of a unit or a preparation.
type report struct {
	work    *work
	verdict verdict
	err     *UnitError
	wait    time.Duration // before the next attempt; how long a preparation took
	stuck   bool          // what it left still runs
	reused  bool          // another environment has made the result
	idle    bool          // it failed before it was admitted

	made  *preparation // or nil
	cause error        // why it could not be made
	said  string       // last message of the preparation
}

type verdict int

const (
	unfit    verdict = iota // examined: it cannot run
	upToDate                // examined: nothing to do
	due                     // examined: it has to run
	done                    // succeeded
	failed                  // failed permanently
	again                   // failed, and will be retried
	rested                  // the pause before the retry is over
	vacated                 // holds no resources any more; the outcome follows
	yielded                 // ended because others are owed its GPUs
	outrun                  // another environment was faster to take its GPUs
	freed                   // will not run, and what a killed apply left of it was ended
	canceled                // ended, or left to a successor
)

func newWalk(ctx context.Context, p *planner.Plan, o Options) (*walk, error) {
	w := &walk{
		result: Result{Env: o.Store.Env()}, plan: p, o: o, layout: layout{o.Dir}, events: &eventSink{to: o.Events, now: o.Now},
		reports: make(chan report), byKey: map[string]int{}, twins: map[string][]int{}, lookers: make(chan struct{}, 8),
		outgoing: make(chan struct{}, 64), preparers: make(chan struct{}, preparers),
		pending: map[string][]state.Pending{}, sound: map[string]artifact.Traits{}, leases: map[string]lease{},
	}
	var err error
	if w.current, err = o.Store.Current(ctx); err != nil {
		return nil, err
	}
	runs, err := o.Store.CurrentRuns(ctx)
	if err != nil {
		return nil, err
	}
	w.results = make(map[string]*state.Run, len(runs))
	for id, r := range runs {
		w.results[id] = &r
	}
	for _, m := range p.Moves {
		if c, ok := w.current[m.From]; ok {
			c.Unit = m.To
			w.current[m.To], w.results[m.To] = c, w.results[m.From]
			delete(w.current, m.From)
			delete(w.results, m.From)
		}
	}
	return w, w.plant(ctx)
}

// plant builds the schedule from the plan.
func (w *walk) plant(ctx context.Context) error {
	units := make(map[string]*ir.Unit, len(w.plan.System.Units))
	for i := range w.plan.System.Units {
		units[w.plan.System.Units[i].ID] = &w.plan.System.Units[i]
	}
	w.byID = make(map[string]*work, len(units))
	for _, item := range w.plan.Items {
		if item.Action == planner.Delete {
			w.deletes = append(w.deletes, item.Unit)
			continue
		}
		u := units[item.Unit]
		if u == nil {
			return fmt.Errorf("the plan is damaged: it has no unit %s", item.Unit)
		}
		if item.Pinned != nil {
			u = &item.Pinned.Unit
		}
		n := &work{node: len(w.works), item: item, unit: u}
		w.works, w.byID[u.ID] = append(w.works, n), n
	}
	w.lends = slices.ContainsFunc(w.plan.System.Pools, func(p ir.Pool) bool { return p.GPU > 0 }) ||
		slices.ContainsFunc(w.works, func(n *work) bool { return n.unit.Needs.GPU > 0 })
	if err := w.findPython(ctx); err != nil {
		return err
	}
	found, err := w.findGPUs(ctx)
	if err != nil {
		return err
	}
	pools := newLedger(w.plan.System.Pools, w.o.Machine, found)
	pools[MachinePool].unbounded = w.o.Unbounded
	priorities := planner.Priorities(w.plan)
	nodes := make([]node, len(w.works))
	jobs, services := map[string]claim{}, map[string]claim{}
	for i, n := range w.works {
		c, err := pools.claimOf(n.unit, n.changes())
		if err != nil {
			return err
		}
		nodes[i].claim, nodes[i].way, nodes[i].rank = c, priorities[n.unit.ID], n.unit.Priority
		nodes[i].service = n.unit.Kind == ir.Service
		nodes[i].held = nodes[i].service && w.current[n.unit.ID].Kind == ir.Service
		if nodes[i].held {
			nodes[i].lease = w.leaseOf(pools, c, n.unit.ID)
		}
		switch {
		case nodes[i].service:
			services[n.unit.ID] = c
		case n.changes():
			jobs[n.unit.ID] = c
		}
		for _, in := range n.unit.Inputs {
			if in.Incumbent || n.item.Pinned != nil || w.partial() {
				continue // it reads what was recorded
			}
			from := w.byID[in.Unit]
			if from == nil {
				return fmt.Errorf("the plan is damaged: %s reads from %s, which it does not contain", n.unit.ID, in.Unit)
			}
			nodes[from.node].next = append(nodes[from.node].next, i)
		}
	}
	if err := w.orderAddresses(ctx, nodes); err != nil {
		return err
	}
	if err := pools.check(jobs, services); err != nil {
		return err
	}
	w.findPreparations(ctx)
	w.sched = newSchedule(nodes, pools, w.o.Parallel)
	if w.partial() { // the other services are not in the plan
		for unit, c := range w.current {
			if c.Kind == ir.Service && w.byID[unit] == nil {
				pools.takeParts(w.leaseOf(pools, claim{pool: MachinePool}, unit))
			}
		}
	}
	// A service keeps its GPUs until it is removed.
	for _, unit := range w.deletes {
		if w.current[unit].Kind == ir.Service {
			w.leases[unit] = w.leaseOf(pools, claim{pool: MachinePool}, unit)
			pools.takeParts(w.leases[unit])
		}
	}
	if w.lends {
		return w.leaveOthers(ctx, pools)
	}
	return nil
}

// orderAddresses lets a service wait for those that leave its address to it.
func (w *walk) orderAddresses(ctx context.Context, nodes []node) error {
	if ownPorts(w.o.Executor) || w.partial() {
		return nil
	}
	first, err := Vacating(w.plan, func(unit string) (*ir.Unit, error) { return appliedUnit(ctx, w.o.Store, unit) })
	if err != nil {
		return err
	}
	for _, unit := range sortedKeys(first) {
		for _, owner := range first[unit] {
			from := w.byID[owner].node
			nodes[from].next = append(nodes[from].next, w.byID[unit].node)
		}
	}
	return nil
}

// appliedUnit returns a unit as it was applied, or nil.
func appliedUnit(ctx context.Context, s *state.Store, unit string) (*ir.Unit, error) {
	u, err := s.Unit(ctx, unit)
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	return u, err
}

// changes reports whether the plan runs the unit.
func (n *work) changes() bool { return n.item.Action.Changes() || n.item.Audit }

// findGPUs looks for GPUs if a unit that the plan runs needs some.
func (w *walk) findGPUs(ctx context.Context) (map[string][]GPU, error) {
	wants := func(n *work) bool { return n.unit.Needs.GPU > 0 && n.changes() }
	if w.o.Devices == nil || !slices.ContainsFunc(w.works, wants) {
		return nil, nil
	}
	found, err := w.o.Devices(ctx, w.plan.System.Pools)
	if err != nil {
		return nil, fmt.Errorf("find the GPUs: %w", err)
	}
	return found, nil
}

// leaseOf returns the GPUs of the current run of a unit.
func (w *walk) leaseOf(pools ledger, c claim, unit string) lease {
	var devices []string
	if r := w.results[unit]; r != nil {
		devices = r.Devices
	}
	return pools.leased(c, devices)
}

// loop runs until nothing runs and nothing more can.
func (w *walk) loop(ctx context.Context) {
	lost := w.o.Lease.Lost()
	w.prepareAhead(ctx)
	for {
		if ctx.Err() == nil {
			for _, i := range w.sched.takeDue() {
				w.look(ctx, w.works[i])
			}
			for _, i := range w.sched.admit() {
				w.start(ctx, w.works[i])
			}
			for _, l := range w.sched.reclaim() {
				w.works[l.from].preempt(&preemption{w.works[l.to].unit.ID})
			}
		}
		if w.flying == 0 {
			if ctx.Err() == nil && w.makeRoom(ctx) {
				continue
			}
			break
		}
		w.dropPreparations()
		select {
		case r := <-w.reports:
			if r.verdict == vacated {
				w.sched.vacate(r.work.node)
				continue
			}
			w.flying--
			w.settle(ctx, r)
		case <-w.recheck():
			w.lookAtOthers(ctx)
		case <-lost:
			lost = nil
			w.stop(state.ErrFenced)
		}
	}
	w.sweeps.Wait()
	if ctx.Err() != nil {
		for i, n := range w.works {
			if !n.ended && w.sched.nodes[i].blockedBy < 0 {
				w.result.Canceled = append(w.result.Canceled, n.unit.ID)
			}
		}
	}
}

// recheck returns when to look again at what other environments hold, if units wait for GPUs.
func (w *walk) recheck() <-chan time.Time {
	if len(w.others) == 0 || len(w.sched.queued) == 0 {
		return nil
	}
	return time.After(time.Second)
}

func (w *walk) fly(n *work, f func(*work) report) {
	w.flying++
	go func() { w.reports <- f(n) }()
}

// start runs an attempt of an admitted unit.
func (w *walk) start(ctx context.Context, n *work) {
	if w.lends {
		n.devices = w.sched.pools.devices(w.sched.nodes[n.node].lease)
	}
	ctx, n.preempt = context.WithCancelCause(ctx)
	w.fly(n, func(n *work) report {
		defer n.preempt(nil)
		return w.run(ctx, n)
	})
}

// A preemption is the reason to end a job that has borrowed its GPUs.
type preemption struct{ by string }

func (p *preemption) Error() string { return "preempted: its GPUs are guaranteed to " + p.by }

// makeRoom handles the case that nothing runs and yet some units wait. It first ends what
// a killed apply left of others, then what is no longer declared. Units that still do not
// fit beside the deployed services fail. It returns false if there is nothing to do.
func (w *walk) makeRoom(ctx context.Context) bool {
	if len(w.sched.queued) == 0 {
		return false
	}
	for i, n := range w.works {
		if w.sched.reserved(i) && !slices.Contains(w.sched.queued, i) {
			w.free(ctx, n)
		}
	}
	if w.flying > 0 {
		return true
	}
	if len(w.deletes) > 0 {
		w.removeUnwanted(ctx)
		return ctx.Err() == nil
	}
	if w.awaitOthers(ctx) {
		return true
	}
	for _, i := range w.sched.takeQueued() {
		n := w.works[i]
		c := w.sched.nodes[i].claim
		err := fmt.Errorf("no room in pool %s: it waits for %s, which deployed services hold%s",
			c.pool, partsOf(w.sched.pools[c.pool].gpus.pool, c.parts.Total()), w.othersHold(c.pool))
		w.leave(&UnitError{Unit: n.unit.ID, Err: err})
		n.ended, n.failed = true, true
		w.block(ctx, n, w.sched.settle(i, false))
	}
	return true
}

// free ends what a killed apply left of units that will not run now, so that others get
// its GPUs.
func (w *walk) free(ctx context.Context, nodes ...*work) {
	for _, n := range nodes {
		if !w.sched.reserved(n.node) {
			continue
		}
		w.fly(n, func(n *work) report {
			if w.dropPending(ctx, n.unit.ID) {
				return report{work: n, verdict: freed}
			}
			return report{work: n, verdict: freed, stuck: true}
		})
	}
}

func (w *walk) look(ctx context.Context, n *work) {
	w.fly(n, func(n *work) report {
		w.lookers <- struct{}{}
		defer func() { <-w.lookers }()
		return w.examine(ctx, n)
	})
}

// run runs one attempt of a unit.
func (w *walk) run(ctx context.Context, n *work) report {
	n.tries++
	switch {
	case n.unit.Kind == ir.Record:
		return w.record(ctx, n)
	case n.audit:
		return w.audit(ctx, n)
	}
	return w.attempt(ctx, n)
}

// settle handles the report of a goroutine.
func (w *walk) settle(ctx context.Context, r report) {
	if r.made != nil {
		w.made(ctx, r)
		return
	}
	n := r.work
	if r.err != nil {
		w.mu.Lock()
		w.result.Failed = append(w.result.Failed, r.err)
		w.mu.Unlock()
	}
	w.sched.nodes[n.node].stuck = w.sched.nodes[n.node].stuck || r.stuck
	switch r.verdict {
	case due:
		if _, runs := w.byKey[n.key]; runs && n.unit.Kind == ir.Job {
			w.twins[n.key] = append(w.twins[n.key], n.node)
			w.free(ctx, n)
			return
		}
		w.byKey[n.key] = n.node
		w.queue(ctx, n)
	case upToDate:
		n.ended = true
		w.count(n, n.item.Action != planner.Release)
		w.free(ctx, n)
		w.block(ctx, n, w.sched.settle(n.node, true))
	case unfit:
		n.ended, n.failed = true, true
		w.free(ctx, n)
		w.block(ctx, n, w.sched.settle(n.node, false))
	case again:
		if !r.idle {
			w.sched.pause(n.node)
		}
		w.fly(n, func(n *work) report {
			select {
			case <-ctx.Done():
				return report{work: n, verdict: canceled}
			case <-time.After(r.wait):
				return report{work: n, verdict: rested}
			}
		})
	case rested:
		if p := n.needs; p != nil && !p.running {
			p.err = nil // it is retried, too
		}
		w.queue(ctx, n)
	case yielded, outrun:
		w.sched.pause(n.node)
		w.sched.queue(n.node)
		if r.verdict == outrun {
			w.lookAtOthers(ctx)
		}
	case freed:
		if !r.stuck {
			w.sched.release(n.node)
		}
	case canceled:
	case done, failed:
		n.ended, n.failed = true, r.verdict == failed
		if r.verdict == done {
			w.count(n, n.audit || r.reused)
		}
		if r.idle {
			w.block(ctx, n, w.sched.settle(n.node, false))
		} else {
			w.block(ctx, n, w.sched.end(n.node, r.verdict == done))
		}
		delete(w.byKey, n.key)
		for _, i := range w.twins[n.key] {
			w.look(ctx, w.works[i])
		}
		delete(w.twins, n.key)
	}
}

func (w *walk) block(ctx context.Context, by *work, nodes []int) {
	for _, i := range nodes {
		w.free(ctx, w.works[i])
		unit := w.works[i].unit.ID
		w.result.Blocked = append(w.result.Blocked, Blocked{Unit: unit, By: by.unit.ID})
		w.events.send(Event{Unit: unit, Type: EventBlocked, By: by.unit.ID, Message: "blocked by " + by.unit.ID})
	}
}

func (w *walk) count(n *work, asIs bool) {
	c := &w.result.Counts
	switch {
	case n.unit.Kind == ir.Job && asIs:
		c.Reused++
	case n.unit.Kind == ir.Job:
		c.Ran++
	case asIs:
		c.Unchanged++
	case n.item.Action == planner.Create:
		c.Created++
	case n.item.Action == planner.Replace:
		c.Replaced++
	default:
		c.Updated++
	}
}

// backoff returns the pause before the next attempt after that many.
func (w *walk) backoff(tries int) time.Duration {
	d := min(w.o.Backoff<<min(tries-1, 16), max(time.Minute, w.o.Backoff))
	return d/2 + rand.N(d/2+1)
}
