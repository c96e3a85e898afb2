package aws

import (
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
)

// lambdaPrices are what AWS Lambda charges: for a million requests, and for each hour in which an
// instance with 1 GiB answers, by architecture. AWS publishes the second price for a second:
// 0.0000166667 and 0.0000133334 USD.
var lambdaPrices = struct {
	million money.Amount
	hour    map[string]money.Amount
	source  string
	date    string
}{
	money.One / 5, map[string]money.Amount{"x86_64": 60_000_120, "arm64": 48_000_240},
	"prices of AWS Lambda in us-east-1, as quoted by third parties", "2026-11-29",
}

// PerRequest implements [executors.RequestPricer].
func (e *Executor) PerRequest(u ir.Unit) (planner.PerRequest, bool) {
	if u.Kind != ir.Service || e.opts.place(&u) != onLambda {
		return planner.PerRequest{}, false
	}
	p := lambdaPrices
	const each = 100 * time.Millisecond // of a million requests
	return planner.PerRequest{
		Unit: u.ID, Currency: "USD", Source: p.source, Date: p.date, Million: p.million, Each: each,
		Longer: p.hour[e.opts.Architecture].Times(int64(memoryOf(u.Needs))*int64(each/time.Millisecond)*1e6, 1024*time.Hour.Milliseconds()),
	}, true
}
