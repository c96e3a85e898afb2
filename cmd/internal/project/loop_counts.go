package project

import (
	"maps"
	"sync"

	"github.com/tenon-ml/tenon/planner/state"
)

// An actCounter counts the acts of loops as long as this process runs. `tenon gc` removes old acts from the record, and a
// counter of Prometheus that falls would count what is left a second time.
type actCounter struct {
	mu    sync.Mutex
	loops map[string]*actCount
}

type actCount struct {
	last int64 // number of the last act that was counted
	of   map[state.LoopActKind]int
}

// count returns how many acts of each kind a loop has had, given its record, newest first. It begins with the whole record.
func (c *actCounter) count(loop string, acts []state.LoopAct) map[state.LoopActKind]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.loops[loop]
	if n == nil {
		n = &actCount{of: map[state.LoopActKind]int{}}
		if c.loops == nil {
			c.loops = map[string]*actCount{}
		}
		c.loops[loop] = n
	}
	last := n.last
	for _, a := range acts {
		if a.Number > last {
			n.of[a.Act]++
			n.last = max(n.last, a.Number)
		}
	}
	return maps.Clone(n.of)
}
