package aws

import (
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// endpointPrices are what SageMaker charges for each hour of an instance of an endpoint, whether it answers
// or not, in thousandths of a USD, in one region. They are quoted, not taken from AWS's price list, and may be wrong. Types whose quoted prices contradict each other, such as ml.p4d, have none: AWS lowered that of EC2
// by a third in June 2025.
var endpointPrices = struct {
	hour   map[string]int64
	region string
	source string
	date   string
}{
	map[string]int64{
		"ml.m5.large": 115, "ml.m5.xlarge": 230, "ml.m5.2xlarge": 461, "ml.m5.4xlarge": 922,
		"ml.g4dn.xlarge": 736, "ml.g4dn.2xlarge": 940, "ml.g4dn.12xlarge": 4890,
		"ml.g5.xlarge": 1408, "ml.g5.2xlarge": 1515, "ml.g5.4xlarge": 2030, "ml.g5.12xlarge": 7090, "ml.g5.24xlarge": 10_180, "ml.g5.48xlarge": 20_360,
	},
	"us-east-1", "prices of SageMaker in us-east-1, as quoted by third parties", "2026-11-29",
}

// PerHour implements [executors.HourPricer].
func (e *Executor) PerHour(u *ir.Unit) (planner.PerHour, bool) {
	switch place := e.opts.place(u); {
	case u.Kind != ir.Service || u.Endpoint == nil:
		return planner.PerHour{}, false
	case place == onFargate:
		return perHourOfTasks(u, e.machine(), e.opts.Region), true
	case place != onSageMaker:
		return planner.PerHour{}, false
	}
	return perHour(u, e.opts.endpoint(u).Instance, e.opts.Region), true
}

// PerHourOf implements [executors.DeployedPricer].
func (e *Executor) PerHourOf(u *ir.Unit, h state.Handle) (planner.PerHour, bool) {
	st, err := e.fromHandle(h)
	switch {
	case err != nil || u != nil && u.Endpoint == nil:
		return planner.PerHour{}, false
	case st.Place == onFargate && u == nil: // it has machines of its own, whose size only its unit says
		return planner.PerHour{}, true
	case st.Place == onFargate:
		return perHourOfTasks(u, st.Machine, st.Region), true
	case st.Place != onSageMaker:
		return planner.PerHour{}, false
	}
	return perHour(u, st.Instance, st.Region), true
}

// perHour returns the price of the instances of a unit, or of one if u is nil.
func perHour(u *ir.Unit, instance, region string) planner.PerHour {
	p, n, id := endpointPrices, int64(1), ""
	if u != nil {
		n, id = instancesOf(*u), u.ID
	}
	x := planner.PerHour{Unit: id, Of: fmt.Sprintf("%d x %s", n, instance), Machine: instance, Region: region, Count: n}
	if one, known := p.hour[instance]; known && region == p.region {
		x.Currency, x.Rate, x.Source, x.Date = "USD", money.One.Times(one*n, 1000), p.source, p.date
	}
	return x
}
