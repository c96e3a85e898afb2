package gcp

import (
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
)

// servicePrices are what Cloud Run charges in regions of tier 1: for a million requests, and for a second of a core
// and of a GiB of an instance that answers requests, that waits for some, and that has its cores all the time.
var servicePrices = struct {
	million               money.Amount
	answers, waits, whole struct{ core, gib money.Amount }
	source, date          string
	regions               []string
}{
	million: money.One * 2 / 5,
	answers: struct{ core, gib money.Amount }{24_000, 2_500}, waits: struct{ core, gib money.Amount }{2_500, 2_500}, whole: struct{ core, gib money.Amount }{18_000, 2_000},
	source: "prices of Cloud Run in regions of tier 1, cloud.google.com/run/pricing", date: "2026-11-30",
	regions: []string{
		"asia-east1", "asia-northeast1", "asia-northeast2", "europe-north1", "europe-southwest1", "europe-west1", "europe-west4", "europe-west8", "europe-west9",
		"me-west1", "us-central1", "us-east1", "us-east4", "us-east5", "us-south1", "us-west1",
	},
}

// PerRequest implements [executors.RequestPricer]. The prices of other regions are not known.
func (e *Executor) PerRequest(u ir.Unit) (planner.PerRequest, bool) {
	p := servicePrices
	if u.Kind != ir.Service || u.Endpoint == nil || e.opts.place(&u) != onService || !slices.Contains(p.regions, e.opts.Region) {
		return planner.PerRequest{}, false
	}
	size, _ := containerOf(u.Needs)
	if size.gpu != nil && size.gpu.second == 0 {
		return planner.PerRequest{}, false
	}
	least, _ := cloud.Replicas(u.Endpoint)
	during := func(of struct{ core, gib money.Amount }, seconds int64) money.Amount {
		x := of.core.Times(size.cores*seconds, 1).Plus(of.gib.Times(size.memory*seconds, 1024))
		if size.gpu != nil {
			x = x.Plus(size.gpu.second.Times(seconds, 1))
		}
		return x
	}
	month := least * ir.Month * int64(time.Hour/time.Second)
	x := planner.PerRequest{Unit: u.ID, Currency: "USD", Source: p.source, Date: p.date}
	if u.Release != nil || size.gpu != nil { // instance-based billing
		x.Idle, x.Instance = during(p.whole, month), during(p.whole, int64(time.Hour/time.Second))
		return x, true
	}
	x.Each, x.Million, x.Idle = 100*time.Millisecond, p.million, during(p.waits, month)
	x.Longer = during(p.answers, 100_000) // of a million requests, one after the other
	return x, true
}
