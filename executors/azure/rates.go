package azure

import (
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
)

// BilledIn implements [executors.Billed].
func (e *Executor) BilledIn() string { return e.opts.Location }

// servicePrices are what Container Apps charge for the workload profile Consumption: for a million requests, and for a
// second of a core and of a GiB of a replica that answers requests, and of one that waits for some and is one of the
// least number of replicas.
var servicePrices = struct {
	million        money.Amount
	answers, waits struct{ core, gib money.Amount }
	source, date   string
	locations      []string
}{
	million: money.One * 2 / 5,
	answers: struct{ core, gib money.Amount }{24_000, 3_000}, waits: struct{ core, gib money.Amount }{3_000, 3_000},
	source: "prices of Container Apps in the United States, as quoted by third parties", date: "2026-11-30",
	locations: []string{"centralus", "eastus", "eastus2", "westus2"},
}

// PerRequest implements [executors.RequestPricer]. The prices of other locations and of GPUs are not known. A service
// with releases looks at its route once a second, so that none of its replicas counts as waiting.
func (e *Executor) PerRequest(u ir.Unit) (planner.PerRequest, bool) {
	p := servicePrices
	if u.Kind != ir.Service || u.Endpoint == nil || u.Needs.GPU > 0 || e.opts.place(&u) != onService || !slices.Contains(p.locations, e.opts.Location) {
		return planner.PerRequest{}, false
	}
	milli, _ := size(u.Needs)
	least, _ := cloud.Replicas(u.Endpoint)
	during := func(of struct{ core, gib money.Amount }, seconds int64) money.Amount {
		return of.core.Times(milli*seconds, 1000).Plus(of.gib.Times(2*milli*seconds, 1000))
	}
	hour := int64(time.Hour / time.Second)
	x := planner.PerRequest{Unit: u.ID, Currency: "USD", Million: p.million, Source: p.source, Date: p.date}
	if u.Release != nil {
		x.Idle, x.Instance = during(p.answers, least*ir.Month*hour), during(p.answers, hour)
		return x, true
	}
	x.Each, x.Idle = 100*time.Millisecond, during(p.waits, least*ir.Month*hour)
	x.Longer = during(p.answers, 100_000) // of a million requests, one after the other
	return x, true
}
