package planner

import (
	"encoding/json"
	"time"

	"github.com/tenon-ml/tenon/planner/state"
)

// PruneNotices returns the numbers of the acts in a record of notices, newest first, that are older than age and not
// needed: the last act stays, the last mark of each receiver, without which it would get everything again, and what
// was not sent yet.
func PruneNotices(acts []state.LoopAct, now time.Time, age time.Duration) (gone []int64) {
	ended, marked, kept := map[int64]bool{}, map[string]bool{}, map[int64]bool{}
	for i, a := range acts {
		if a.Of > 0 {
			ended[a.Of] = true
			kept[a.Number] = i == 0
			continue
		}
		var p struct {
			To     string    `json:"to"`
			Notice *struct{} `json:"notice"`
		}
		_ = json.Unmarshal(a.Detail, &p) // what cannot be read says nothing about a receiver
		kept[a.Number] = i == 0 || !a.At.Before(now.Add(-age)) || !marked[p.To] || p.Notice != nil && !ended[a.Number]
		marked[p.To] = true
	}
	for _, a := range acts {
		if !kept[a.Number] && !kept[a.Of] { // without its end, a notice would be sent again
			gone = append(gone, a.Number)
		}
	}
	return gone
}
