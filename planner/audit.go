package planner

import "github.com/tenon-ml/tenon/compiler/ir"

// Audit marks a sample of the reused units to be run again and compared: each with
// probability share, and at least one. It skips units that are known to be unstable. draw
// returns numbers in [0, 1).
func (p *Plan) Audit(share float64, draw func() float64) {
	var candidates []*Item
	marked := false
	for i := range p.Items {
		it := &p.Items[i]
		if it.Action != Reuse || it.Kind != ir.Job || it.Unstable {
			continue
		}
		candidates = append(candidates, it)
		it.Audit = draw() < share
		marked = marked || it.Audit
	}
	if share > 0 && !marked && len(candidates) > 0 {
		candidates[int(draw()*float64(len(candidates)))].Audit = true
	}
}
