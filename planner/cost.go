package planner

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Pricing is what services cost that were deployed when a plan was made, at the prices of
// the plan. One that is released costs as much as the dearer of its two versions.
type Pricing struct {
	Currency string       `json:"currency"`
	Deployed money.Amount `json:"deployed,omitempty"` // per hour
}

// A PerHour is the price of a service on machines of its own, which are billed whether it answers or not.
// Without a currency, the price is unknown.
type PerHour struct {
	Unit     string       `json:"unit"`
	Currency string       `json:"currency"`
	Rate     money.Amount `json:"rate"` // per hour, of all machines
	Of       string       `json:"of"`   // the machines: "2 x ml.m5.large"
	Source   string       `json:"source"`
	Date     string       `json:"date"`
	// Machine, Region and Count are the machines as tables of prices name them.
	Machine string `json:"machine,omitempty"`
	Region  string `json:"region,omitempty"`
	Count   int64  `json:"count,omitempty"`
}

// own returns the price of a service on machines of its own, or false.
func (m *maker) own(u *ir.Unit) (PerHour, bool) {
	if m.in.PerHour == nil || u == nil || u.Kind != ir.Service {
		return PerHour{}, false
	}
	return m.in.PerHour(u)
}

// A hosted is a version of a deployed service, with its price if it has machines of its own.
type hosted struct {
	service string
	unit    *ir.Unit
	price   PerHour
	own     bool
}

// hosts returns the versions of services that are deployed, in the order of the services. During a release, and until a rejected
// version is gone, the champion is deployed as well. To go back to it costs no more than what is there. If only services with
// machines of their own count, the state is not asked for the others.
func (m *maker) hosts(onlyOwn bool) (all []hosted, err error) {
	for _, id := range slices.Sorted(maps.Keys(m.current)) {
		c := m.current[id]
		if c.Kind != ir.Service || onlyOwn && !m.hasMachines(c) {
			continue
		}
		u, err := m.applied(id)
		if err != nil {
			return nil, fmt.Errorf("plan: %w", err)
		}
		if u == nil {
			continue
		}
		versions := []*ir.Unit{u}
		if r := c.Route; r != nil && len(r.Versions) == 2 && r.Champion().Unit != nil {
			versions = append(versions, r.Champion().Unit)
		}
		for _, v := range versions {
			h := hosted{service: id, unit: v}
			if m.in.PerHourNow != nil && c.Handle != nil {
				h.price, h.own = m.in.PerHourNow(v, *c.Handle)
			} else {
				h.price, h.own = m.own(v)
			}
			all = append(all, h)
		}
	}
	return all, nil
}

// hasMachines reports whether a deployed service is known to have machines of its own where it is.
func (m *maker) hasMachines(c state.Current) bool {
	if m.in.PerHourNow == nil || c.Handle == nil {
		return false
	}
	_, own := m.in.PerHourNow(nil, *c.Handle)
	return own
}

// price sets the rates of the items, if a pool has a price, or a service one of its own. A service in a
// cluster has what it asks for in each of its replicas, and on one machine once. Prices of machines
// in another currency than that of the pools or the budget are in the plan, and in no sum.
func (m *maker) price(p *Plan) error {
	currency := p.System.Currency()
	units := p.units()
	for i := range p.Items {
		own, ok := m.own(units[p.Items[i].Unit])
		if !ok || p.Items[i].Action == Delete {
			continue
		}
		if limit := p.System.Budget.Currency; limit == "" || limit == own.Currency {
			currency = cmp.Or(currency, own.Currency)
		}
		if p.Items[i].Action.Changes() {
			p.PerHour = append(p.PerHour, own)
		}
	}
	now, err := m.hosts(currency == "")
	if err != nil {
		return err
	}
	for _, h := range now {
		if limit := p.System.Budget.Currency; h.own && (limit == "" || limit == h.price.Currency) {
			currency = cmp.Or(currency, h.price.Currency)
		}
	}
	if currency == "" {
		return nil
	}
	p.Pricing = &Pricing{Currency: currency}
	rateOf := func(u *ir.Unit, own PerHour, ok bool) money.Amount {
		if ok && (own.Currency == currency || own.Currency == "") {
			return own.Rate
		}
		perHour := p.System.Rate(u)
		if m.in.PerReplica && u.Endpoint != nil {
			perHour = perHour.Times(int64(max(u.Endpoint.Replicas, 1)), 1)
		}
		return perHour
	}
	rate := func(u *ir.Unit) money.Amount {
		own, ok := m.own(u)
		return rateOf(u, own, ok)
	}
	for i := range p.Items {
		it := &p.Items[i]
		switch {
		case it.Pinned != nil:
			it.Rate = rate(&it.Pinned.Unit)
		case it.Rejected != "": // the champion stays, whatever is declared
			u, err := m.applied(it.Unit)
			if err != nil {
				return fmt.Errorf("plan: %w", err)
			}
			if u != nil {
				it.Rate = rate(u)
			}
		case it.Action != Delete:
			it.Rate = rate(units[it.Unit])
		}
	}
	most := map[string]money.Amount{}
	for _, h := range now {
		most[h.service] = max(most[h.service], rateOf(h.unit, h.price, h.own))
	}
	for _, perHour := range most {
		p.Pricing.Deployed = p.Pricing.Deployed.Plus(perHour)
	}
	return nil
}

// units returns the units of the system by their names.
func (p *Plan) units() map[string]*ir.Unit {
	units := make(map[string]*ir.Unit, len(p.System.Units))
	for i := range p.System.Units {
		units[p.System.Units[i].ID] = &p.System.Units[i]
	}
	return units
}

// Costs are what a plan costs, as far as pools have a price.
type Costs struct {
	Currency string `json:"currency"`
	// Apply is what the jobs cost that the plan runs: Runs of them as their last runs took,
	// Similar of them as those of similar jobs, and Bounded of them as much as their timeouts and retries
	// allow, since nothing like them has run before. Of Unknown nothing limits the time, and nothing is known.
	Apply   money.Amount `json:"apply"`
	Runs    int          `json:"runs"`
	Similar int          `json:"similar,omitempty"`
	Bounded int          `json:"bounded"`
	Unknown []string     `json:"unknown,omitempty"`
	// Assumed is what Unknown would cost if each took an hour. It only serves to compare targets.
	Assumed money.Amount `json:"assumed,omitempty"`
	// Limit is what a budget is compared with: each job that has not run before counts with its timeout and
	// retries, whatever similar ones took. Unlimited are those without a timeout.
	Limit     money.Amount `json:"limit"`
	Unlimited []string     `json:"unlimited,omitempty"`
	// Before and Month are what services cost in a month of 730 hours, before and after the
	// apply.
	Before money.Amount `json:"month_before"`
	Month  money.Amount `json:"month"`
	// Tables are those that prices of instances are from.
	Tables []ir.PriceTable `json:"price_tables,omitempty"`
}

// A PerRequest is the price of a service that is billed by requests alone. Budgets leave it out, because
// the number of requests is unknown.
type PerRequest struct {
	Unit     string        `json:"unit"`
	Currency string        `json:"currency"`
	Million  money.Amount  `json:"million"` // for a million requests
	Longer   money.Amount  `json:"longer"`  // for a million requests, for each Each of their duration
	Each     time.Duration `json:"each_ns"`
	Idle     money.Amount  `json:"month_idle,omitempty"` // for a month without requests
	// Instance is for each hour of each instance, if that is all that is paid, whatever it answers.
	Instance money.Amount `json:"instance_hour,omitempty"`
	Source   string       `json:"source"` // of the prices
	Date     string       `json:"date"`
}

// Costs returns what the plan costs, or nil if no pool has a price. Jobs that turn out not to
// be needed count.
func (p *Plan) Costs() *Costs {
	if p.Pricing == nil {
		return nil
	}
	c := &Costs{Currency: p.Pricing.Currency, Before: p.Pricing.Deployed.Times(ir.Month, 1), Tables: p.System.PriceTables()}
	var deployed money.Amount
	units := p.units()
	for _, it := range p.Items {
		if it.Kind == ir.Service {
			deployed = deployed.Plus(it.Rate)
		}
		if it.Kind != ir.Job || it.Rate == 0 || !it.Action.Changes() && !it.Audit {
			continue
		}
		var most money.Amount
		u := units[it.Unit]
		limited := u != nil && u.Timeout > 0
		if limited {
			most = it.Rate.During(u.Timeout).Times(int64(u.Retries)+1, 1)
		}
		likely := it.Rate.During(it.Estimate.Time)
		switch {
		case it.Estimate.Own():
			c.Runs++
			c.Apply = c.Apply.Plus(likely)
			most, limited = likely, true
		case it.Estimate.Runs > 0:
			c.Similar++
			c.Apply = c.Apply.Plus(likely)
		case limited:
			c.Bounded++
			c.Apply = c.Apply.Plus(most)
		default:
			c.Unknown = append(c.Unknown, it.Unit)
			c.Assumed = c.Assumed.Plus(it.Rate.During(assumedTime))
		}
		c.Limit = c.Limit.Plus(most)
		if !limited {
			c.Unlimited = append(c.Unlimited, it.Unit)
		}
	}
	c.Month = deployed.Times(ir.Month, 1)
	return c
}

// CheckBudget returns an error if the plan costs more than the budget of the system allows,
// or if nothing limits what it costs. A rollback may always go ahead.
func (p *Plan) CheckBudget() error {
	c, b := p.Costs(), p.System.Budget
	if c == nil || p.BackTo > 0 || !p.Changes() {
		return nil
	}
	var errs []error
	if b.Apply != nil && c.Limit > *b.Apply {
		errs = append(errs, fmt.Errorf("its jobs cost %s, and budget.apply is %s: run less at once, or raise the budget", c.Limit.Format(c.Currency), b.Apply.Format(c.Currency)))
	}
	if b.Apply != nil && len(c.Unlimited) > 0 {
		errs = append(errs, fmt.Errorf("nothing limits the cost of %s, which has not run before: set its timeout, or remove budget.apply", andMore(c.Unlimited)))
	}
	if b.Month != nil && c.Month > *b.Month && c.Month > c.Before {
		errs = append(errs, fmt.Errorf("its services cost %s a month, and budget.month is %s: ask for less, remove a service, or raise the budget", c.Month.Format(c.Currency), b.Month.Format(c.Currency)))
	}
	if len(errs) > 0 {
		return fmt.Errorf("the plan exceeds the budget: %w", errors.Join(errs...))
	}
	return nil
}

// andMore names the first of some units, and how many there are besides.
func andMore(units []string) string {
	if len(units) == 1 {
		return units[0]
	}
	return fmt.Sprintf("%s and %s", units[0], ir.Count(int64(len(units)-1), "more unit"))
}
