package project

import (
	"fmt"
	"sync"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/prices"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// hourly returns what services cost on machines of their own: on a target, and where they are. A price in a table beside the system
// goes before one that Tenon comes with.
func (w *Workspace) hourly(target, all executors.Executor) (on func(*ir.Unit) (planner.PerHour, bool), now func(*ir.Unit, state.Handle) (planner.PerHour, bool)) {
	file := sync.OnceValue(func() *prices.File {
		f, err := prices.Open(w.set.Dir)
		if err != nil {
			w.set.warn(fmt.Errorf("prices of machines of services are those that tenon comes with, or unknown: %w", err))
			return &prices.File{}
		}
		return f
	})
	priced := func(p planner.PerHour, ok bool) (planner.PerHour, bool) {
		if !ok || p.Machine == "" {
			return p, ok
		}
		if i, currency, _, err := file().Instance(prices.Ask{Type: p.Machine, Region: p.Region, Count: p.Count}); err == nil {
			p.Currency, p.Rate, p.Source, p.Date = currency, i.Price.Times(p.Count, 1), i.Table.Source, i.Table.Date
		}
		return p, ok
	}
	if p, ok := target.(executors.HourPricer); ok {
		on = func(u *ir.Unit) (planner.PerHour, bool) { return priced(p.PerHour(u)) }
	}
	if p, ok := all.(executors.DeployedPricer); ok {
		now = func(u *ir.Unit, h state.Handle) (planner.PerHour, bool) { return priced(p.PerHourOf(u, h)) }
	}
	return on, now
}
