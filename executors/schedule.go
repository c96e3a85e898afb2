package executors

import (
	"cmp"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// patience is how often smaller units may overtake a unit that waits for a large share of
// its pool, before the pool is kept free for it.
const patience = 8

// A node is one unit as the schedule sees it.
type node struct {
	claim   claim
	rank    int  // of the waiting nodes, the highest goes first
	service bool // keeps its claim once it is ready
	held    bool // already deployed, so that its claim is taken
	way     time.Duration
	next    []int // that depend on it

	lease     lease // its GPUs
	former    lease // what its predecessor keeps until the takeover
	moves     bool  // from the former lease to another
	runs      bool
	vacated   bool // it has returned its resources, but its outcome is not known yet
	turn      int  // when it was admitted
	leaving   bool // is being ended, because others are owed what it borrowed
	stuck     bool // could not be ended, so that nobody gets its resources
	waits     int  // number of producers that it still waits for
	overtaken int
	blockedBy int // the node whose failure blocks it, or -1
}

// A schedule decides which unit may start next. It does nothing itself: the walk asks it
// what is due, examines whether that has to run, queues what does, starts what the pools
// admit, and reports what ended.
//
//	waiting --due--> looked at --queue--> queued --admit--> running --succeed/fail
type schedule struct {
	nodes    []node
	pools    ledger
	parallel int  // how many may run at once; 0 means no limit
	teams    bool // some pool guarantees GPUs to teams

	due     []int
	queued  []int             // highest rank first, then the longest chain, then in the plan's order
	asked   map[string]*asked // by pool, of the queued nodes
	running int
	turns   int
}

func newSchedule(nodes []node, pools ledger, parallel int) *schedule {
	s := &schedule{nodes: nodes, pools: pools, parallel: parallel, asked: map[string]*asked{}}
	for _, a := range pools {
		s.teams = s.teams || len(a.gpus.pool.Teams) > 0
	}
	for i := range nodes {
		nodes[i].blockedBy = -1
		if nodes[i].held {
			pools.take(nodes[i].claim)
		}
		pools.takeParts(nodes[i].lease)
		for _, j := range nodes[i].next {
			nodes[j].waits++
		}
	}
	for i := range nodes {
		if nodes[i].waits == 0 {
			s.due = append(s.due, i)
		}
	}
	return s
}

// takeDue returns the nodes that no longer wait for anything, each once.
func (s *schedule) takeDue() []int {
	d := s.due
	s.due = nil
	slices.SortFunc(d, s.order)
	return d
}

// order sorts by rank, and then by the critical path: the node with the most work behind
// it first.
func (s *schedule) order(a, b int) int {
	return cmp.Or(
		cmp.Compare(s.nodes[b].rank, s.nodes[a].rank),
		cmp.Compare(s.nodes[b].way, s.nodes[a].way),
		cmp.Compare(a, b),
	)
}

// queue lets a node wait for its pool.
func (s *schedule) queue(i int) {
	at, _ := slices.BinarySearchFunc(s.queued, i, s.order)
	s.queued = slices.Insert(s.queued, at, i)
	s.notice(i)
}

// asked is what the queued units of a pool request.
type asked struct {
	least ir.Resources // minimum of each amount over all units
	held  bool         // one of them already has its lease
}

// notice adds a queued unit to what its pool is asked for.
func (s *schedule) notice(i int) {
	n := &s.nodes[i]
	a, ok := s.asked[n.claim.pool]
	if !ok {
		a = &asked{least: n.claim.Resources}
		s.asked[n.claim.pool] = a
	}
	a.held = a.held || n.held
	a.least = ir.Resources{
		MilliCPU: min(a.least.MilliCPU, n.claim.MilliCPU), Memory: min(a.least.Memory, n.claim.Memory),
		Disk: min(a.least.Disk, n.claim.Disk),
	}
}

// closed reports that no queued unit can start, without examining each.
func (s *schedule) closed() bool {
	if len(s.queued) == 0 || s.parallel > 0 && s.running >= s.parallel {
		return true
	}
	for pool, a := range s.asked {
		if a.held || s.pools.fits(claim{pool: pool, Resources: a.least}) {
			return false
		}
	}
	return true
}

// admit takes what fits out of the queue and returns it as running. It starts with nodes
// whose teams are guaranteed what they request. What remains idle goes to those that
// borrow; nobody borrows GPUs while a unit waits for some that its team is guaranteed.
// Nodes may overtake one that does not fit, but only so often: then its pool is kept free
// until it fits. A node that waits only for its own team holds up only that team.
//
// It stops once no later node can start: with a long queue, that is most often at once.
func (s *schedule) admit() []int {
	if s.closed() {
		return nil
	}
	var started, later []int
	behind := -1
	a := admission{schedule: s, reserved: map[poolPart]bool{}, owed: map[string]bool{}}
	for at, i := range s.queued {
		if len(later) == 0 && s.closed() {
			behind = at
			break
		}
		if s.entitlement(i) == borrows {
			later = append(later, i)
		} else if a.admit(i, false) {
			started = append(started, i)
		}
	}
	if len(later) > 0 {
		for _, i := range a.rest {
			if _, ok := s.room(i); !ok && s.entitlement(i) == within {
				a.owed[s.nodes[i].claim.pool] = true
			}
		}
	}
	for _, i := range later {
		if a.admit(i, true) {
			started = append(started, i)
		}
	}
	if behind >= 0 { // nothing was put off, so the rest is in order
		from := behind - len(a.rest)
		copy(s.queued[from:], a.rest)
		s.queued = s.queued[from:]
		return started
	}
	slices.SortFunc(a.rest, s.order)
	s.queued = a.rest
	clear(s.asked)
	for _, i := range s.queued {
		s.notice(i)
	}
	return started
}

// takeQueued empties the queue and returns what was in it.
func (s *schedule) takeQueued() []int {
	q := s.queued
	s.queued = nil
	return q
}

// An entitlement is how the request of a node compares with the guarantee of its team.
type entitlement int

const (
	within  entitlement = iota // it is owed what it requests
	borrows                    // it may have idle resources
	barred                     // it has to wait for its own team
)

func (s *schedule) entitlement(i int) entitlement {
	n := &s.nodes[i]
	if n.claim.parts.Count == 0 || s.pools.satisfies(n.lease, n.claim) {
		return within
	}
	beyond, lends := s.pools[n.claim.pool].gpus.beyond(n.claim.team, n.claim.parts.Total())
	switch {
	case !beyond:
		return within
	case lends && !n.service: // which would keep it
		return borrows
	}
	return barred
}

// room returns the lease that the node would get, or has.
func (s *schedule) room(i int) (lease, bool) {
	n := &s.nodes[i]
	if s.pools.satisfies(n.lease, n.claim) {
		return n.lease, true
	}
	return s.pools.place(n.claim)
}

// An admission is one pass through the queue.
type admission struct {
	*schedule
	rest     []int             // what still waits
	reserved map[poolPart]bool // reserved for nodes that were overtaken too often
	owed     map[string]bool   // pools where a unit waits for GPUs that its team is guaranteed
}

// A poolPart is a pool, or one team's part of it.
type poolPart struct{ pool, team string }

func (a *admission) partOf(i int) poolPart {
	n := &a.nodes[i]
	if a.entitlement(i) == barred {
		return poolPart{n.claim.pool, n.claim.team}
	}
	return poolPart{pool: n.claim.pool}
}

// admit starts the node, or leaves it waiting.
func (a *admission) admit(i int, borrowing bool) bool {
	n := &a.nodes[i]
	if a.parallel > 0 && a.running >= a.parallel {
		a.rest = append(a.rest, i)
		return false
	}
	pool := n.claim.pool
	got, placed := a.room(i)
	barred := a.entitlement(i) == barred
	reserved := a.reserved[poolPart{pool: pool}] || n.claim.parts.Count > 0 && a.reserved[poolPart{pool, n.claim.team}]
	switch {
	case barred, !placed, borrowing && a.owed[pool], !n.held && (reserved || !a.pools.fits(n.claim)):
		if n.overtaken >= patience {
			a.reserved[a.partOf(i)] = true
		}
		a.rest = append(a.rest, i)
		return false
	}
	a.start(i, got)
	if n.held {
		return true
	}
	for _, j := range a.rest {
		k := a.partOf(j)
		if k.pool == pool && (k.team == "" || k.team == n.claim.team && n.claim.parts.Count > 0) {
			a.nodes[j].overtaken++
			a.reserved[k] = a.reserved[k] || a.nodes[j].overtaken >= patience
		}
	}
	return true
}

// start takes the resources of a node.
func (s *schedule) start(i int, got lease) {
	n := &s.nodes[i]
	s.running++
	s.turns++
	n.runs, n.turn = true, s.turns
	if !n.held {
		s.pools.take(n.claim)
	}
	if s.pools.satisfies(n.lease, n.claim) {
		return
	}
	if n.moves = n.held; n.moves {
		n.former = n.lease
	}
	n.lease = got
	s.pools.takeParts(got)
}

// A loss is a node that has to return what it borrowed, and the node that gets it.
type loss struct{ from, to int }

// reclaim finds what has to end so that units get the GPUs that their teams are
// guaranteed: jobs of teams that have more than that and yield it, lowest rank first and
// the latest of these first, and no more than needed. It marks them as leaving; the
// caller ends them and reports each end to [schedule.pause].
func (s *schedule) reclaim() []loss {
	if !s.teams || len(s.queued) == 0 {
		return nil
	}
	var losses []loss
	soon := s.pools.clone() // the state once the leaving nodes have left
	for i := range s.nodes {
		if n := &s.nodes[i]; n.leaving {
			soon.give(n.claim)
			soon.giveParts(n.lease)
		}
	}
	for _, i := range s.queued {
		c := s.nodes[i].claim
		if c.parts.Count == 0 || len(soon[c.pool].gpus.pool.Teams) == 0 || s.pools.satisfies(s.nodes[i].lease, c) {
			continue
		}
		if beyond, _ := soon[c.pool].gpus.beyond(c.team, c.parts.Total()); beyond {
			continue
		}
		got, ok := soon.place(c)
		if !ok {
			var from []int
			if from, got, ok = s.losers(soon, i); !ok {
				continue
			}
			for _, j := range from {
				s.nodes[j].leaving = true
				losses = append(losses, loss{j, i})
			}
		}
		soon.takeParts(got)
		if !s.nodes[i].held {
			soon.take(c)
		}
	}
	return losses
}

// losers chooses what to end for a node, and takes it out of soon. If all that can be
// reclaimed is not enough, it returns false and leaves soon unchanged.
func (s *schedule) losers(soon ledger, to int) (chosen []int, got lease, ok bool) {
	want := &s.nodes[to]
	leave := func(j int) { soon.give(s.nodes[j].claim); soon.giveParts(s.nodes[j].lease) }
	stay := func(j int) { soon.take(s.nodes[j].claim); soon.takeParts(s.nodes[j].lease) }
	enough := func() bool {
		got, ok = soon.place(want.claim)
		return ok && (want.held || soon.fits(want.claim))
	}
	var borrowers []int
	for j := range s.nodes {
		if n := &s.nodes[j]; n.runs && !n.leaving && !n.service && n.claim.pool == want.claim.pool && len(n.lease.grants) > 0 {
			borrowers = append(borrowers, j)
		}
	}
	slices.SortFunc(borrowers, func(a, b int) int {
		return cmp.Or(cmp.Compare(s.nodes[a].rank, s.nodes[b].rank), cmp.Compare(s.nodes[b].turn, s.nodes[a].turn))
	})
	for _, j := range borrowers {
		if soon[want.claim.pool].gpus.yields(s.nodes[j].claim.team) {
			leave(j)
			if chosen = append(chosen, j); enough() {
				break
			}
		}
	}
	if !enough() {
		for _, j := range chosen {
			stay(j)
		}
		return nil, lease{}, false
	}
	for k := len(chosen) - 2; k >= 0; k-- { // some may have been too small to matter
		if stay(chosen[k]); enough() {
			chosen = slices.Delete(chosen, k, k+1)
		} else {
			leave(chosen[k])
		}
	}
	enough()
	return chosen, got, ok
}

// pause returns the resources of a running node, which will be queued again.
func (s *schedule) pause(i int) {
	n := &s.nodes[i]
	if n.vacated {
		n.vacated = false
		return
	}
	s.running--
	n.runs, n.leaving = false, false
	if !n.held {
		s.pools.give(n.claim)
	}
	if n.stuck || n.held && !n.moves {
		return
	}
	s.pools.giveParts(n.lease)
	n.lease, n.former, n.moves = n.former, lease{}, false
}

// vacate returns the resources of a running node: its program has ended, but the outcome
// is not recorded yet.
func (s *schedule) vacate(i int) {
	s.pause(i)
	s.nodes[i].vacated = true
}

// end handles the end of a running node.
func (s *schedule) end(i int, ok bool) (blocked []int) {
	if n := &s.nodes[i]; ok && n.service {
		s.running--
		n.held, n.runs = true, false
		if !n.stuck {
			s.pools.giveParts(n.former)
		}
		n.former, n.moves = lease{}, false
	} else {
		s.pause(i)
	}
	return s.settle(i, ok)
}

// reserve gives a waiting node a lease: what a killed apply left of it has the GPUs.
func (s *schedule) reserve(i int, t lease) {
	s.nodes[i].lease = t
	s.pools.takeParts(t)
}

// reserved reports whether the node has a lease and does not run.
func (s *schedule) reserved(i int) bool {
	n := &s.nodes[i]
	return !n.runs && !n.held && !n.stuck && len(n.lease.grants) > 0
}

// release takes the lease from a node that does not run.
func (s *schedule) release(i int) {
	s.pools.giveParts(s.nodes[i].lease)
	s.nodes[i].lease = lease{}
}

// settle handles the outcome of a node that has not run, or has just ended. It returns
// the nodes that can no longer run, in the order of the plan.
func (s *schedule) settle(i int, ok bool) (blocked []int) {
	if ok {
		for _, j := range s.nodes[i].next {
			s.nodes[j].waits--
			if s.nodes[j].waits == 0 && s.nodes[j].blockedBy < 0 {
				s.due = append(s.due, j)
			}
		}
		return nil
	}
	todo := []int{i}
	for len(todo) > 0 {
		n := todo[0]
		todo = todo[1:]
		for _, j := range s.nodes[n].next {
			if s.nodes[j].blockedBy < 0 {
				s.nodes[j].blockedBy = i
				blocked = append(blocked, j)
				todo = append(todo, j)
			}
		}
	}
	slices.Sort(blocked)
	return blocked
}
