package cloud

import (
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// AccessOfService returns what a service needs whose container fetches from the bucket what it answers with. One
// with several versions reads its route, and stores what it observes.
func AccessOfService(u *ir.Unit) Access {
	as := *u
	as.Kind = ir.Job
	a := AccessOf(&as)
	a.Asks, a.Writes = nil, nil
	if u.Release != nil {
		notes := Below(u.ID, "notes")
		a.Reads, a.Writes = append(a.Reads, notes), []string{notes}
		slices.Sort(a.Reads)
	}
	return a
}
