package executors

import (
	"cmp"
	"slices"
	"time"
)

// patience is how often a unit that waits for a large share of its pool may be
// overtaken by smaller ones before the pool is kept free for it.
const patience = 8

// A node is one unit as the schedule sees it.
type node struct {
	claim    claim
	service  bool // keeps its claim once it stands
	held     bool // stands already, so that its claim is taken
	priority time.Duration
	next     []int // that depend on it

	waits     int // for how many it still waits
	overtaken int
	blockedBy int // the node whose failure blocks it, or -1
}

// A schedule decides which unit may start next. It does nothing itself: the
// walk asks it what is due, looks whether that has to run, queues what does,
// starts what the pools admit, and tells it what ended.
//
//	waiting --due--> looked at --queue--> queued --admit--> running --succeed/fail
type schedule struct {
	nodes    []node
	pools    ledger
	parallel int // how many may run at once; 0 is no bound

	due     []int
	queued  []int // highest priority first, then in the plan's order
	running int
}

func newSchedule(nodes []node, pools ledger, parallel int) *schedule {
	s := &schedule{nodes: nodes, pools: pools, parallel: parallel}
	for i := range nodes {
		nodes[i].blockedBy = -1
		if nodes[i].held {
			pools.take(nodes[i].claim)
		}
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

// takeDue returns the nodes that wait for nothing any more, each once.
func (s *schedule) takeDue() []int {
	d := s.due
	s.due = nil
	slices.SortFunc(d, s.order)
	return d
}

// order is the critical path first: the node with the most work behind it.
func (s *schedule) order(a, b int) int {
	if c := cmp.Compare(s.nodes[b].priority, s.nodes[a].priority); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}

// queue lets a node wait for its pool.
func (s *schedule) queue(i int) {
	at, _ := slices.BinarySearchFunc(s.queued, i, s.order)
	s.queued = slices.Insert(s.queued, at, i)
}

// admit takes what fits out of the queue and returns it as running. A node that
// does not fit is overtaken by those behind it, but only so often: then its
// pool is kept free for it until it fits.
func (s *schedule) admit() []int {
	var started, rest []int
	kept := map[string]bool{}
	for _, i := range s.queued {
		n := &s.nodes[i]
		full := s.parallel > 0 && s.running >= s.parallel
		if full || !n.held && (kept[n.claim.pool] || !s.pools.fits(n.claim)) {
			if !full && n.overtaken >= patience {
				kept[n.claim.pool] = true
			}
			rest = append(rest, i)
			continue
		}
		s.running++
		started = append(started, i)
		if n.held {
			continue
		}
		s.pools.take(n.claim)
		for _, j := range rest {
			if s.nodes[j].claim.pool == n.claim.pool {
				s.nodes[j].overtaken++
				kept[n.claim.pool] = kept[n.claim.pool] || s.nodes[j].overtaken >= patience
			}
		}
	}
	s.queued = rest
	return started
}

// pause gives back what a running node holds: it will queue again.
func (s *schedule) pause(i int) {
	s.running--
	if !s.nodes[i].held {
		s.pools.give(s.nodes[i].claim)
	}
}

// end is told that a running node ended.
func (s *schedule) end(i int, ok bool) (blocked []int) {
	if n := &s.nodes[i]; ok && n.service {
		s.running--
		n.held = true
	} else {
		s.pause(i)
	}
	return s.settle(i, ok)
}

// settle is told how a node came out that has not run, or has just ended. It
// returns the nodes that can no longer run, in the order of the plan.
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
