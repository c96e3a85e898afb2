package planner

import (
	"github.com/tenon-ml/tenon/compiler/prices"
	"github.com/tenon-ml/tenon/internal/money"
)

// A Transfer is what jobs of a plan make in a cloud, and what is then fetched to this machine. What is sent there costs
// nothing in the clouds that Tenon knows.
type Transfer struct {
	Cloud  string `json:"cloud"` // the executor
	Region string `json:"region"`
	Bytes  int64  `json:"bytes"` // as the last runs have made
	// Unknown are the jobs that have no results yet.
	Unknown []string       `json:"unknown,omitempty"`
	Charge  *prices.Charge `json:"charge,omitempty"` // of egress, or nil if no table has it
}

// Cost returns what it costs, and whether that is known.
func (t *Transfer) Cost() (money.Amount, bool) {
	if t == nil || t.Charge == nil || len(t.Unknown) > 0 && t.Bytes == 0 {
		return 0, false
	}
	return t.Charge.Price.Times(t.Bytes, 1<<30), true
}
