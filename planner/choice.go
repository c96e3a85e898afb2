package planner

import (
	"cmp"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/money"
)

// A Choice says which of several targets a plan is for, and why.
type Choice struct {
	Of     string `json:"of"`     // the entry of targets that is the choice
	Target string `json:"target"` // that was chosen
	Why    string `json:"why"`
	// Options are all of them, with those first that an apply tries: the one that was chosen, and then the
	// cheapest.
	Options []Option `json:"options"`
}

// An Option is a target that was considered for a plan.
type Option struct {
	Target   string `json:"target"`
	Executor string `json:"executor"`
	// Skipped says why it cannot be used, or is empty.
	Skipped string `json:"skipped,omitempty"`
	// Costs are those of the plan for this target. Without them, no pool of the target has a price.
	Costs    *Costs    `json:"costs,omitempty"`
	Transfer *Transfer `json:"transfer,omitempty"`
	// Compared is what targets are compared by, see [Costs.Compared]. What is fetched is part of it if its price is
	// known and in the same currency.
	Compared money.Amount `json:"compared"`
	// Idle is what is billed in a month without requests: for services that are paid for by requests, and
	// for the infrastructure, as far as their prices are known. It is part of Compared if it has the currency of the costs.
	Idle         money.Amount `json:"month_idle,omitempty"`
	IdleCurrency string       `json:"idle_currency,omitempty"`
	// Unpriced is set if a cloud bills the target, and no pool of it has a price: what it costs is unknown.
	Unpriced bool `json:"unpriced,omitempty"`
}

// assumedTime is how long a job counts of which nothing is known, where targets are compared. All targets
// are treated alike, so that only their rates matter.
const assumedTime = time.Hour

// NewOption returns what a plan says about its target, as one of several. standing is what its infrastructure costs, or nil.
func NewOption(p *Plan, standing *Standing) Option {
	o := Option{Target: p.System.Target.Name, Executor: p.System.Target.Executor, Costs: p.Costs(), Transfer: p.Transfer}
	if o.Costs != nil {
		o.Compared = o.Costs.Compared()
	}
	currency := ""
	if o.Costs != nil {
		currency = o.Costs.Currency
	}
	if fetched, ok := p.Transfer.Cost(); ok && (currency == "" || currency == p.Transfer.Charge.Currency) {
		currency = p.Transfer.Charge.Currency
		o.Compared = o.Compared.Plus(fetched)
	}
	for _, r := range p.PerRequest {
		o.idle(r.Idle, r.Currency)
	}
	if standing != nil {
		for _, i := range standing.Items {
			if i.Month != nil {
				o.idle(*i.Month, standing.Currency)
			}
		}
	}
	if currency == "" || currency == o.IdleCurrency {
		o.Compared = o.Compared.Plus(o.Idle)
	}
	return o
}

// idle adds an amount to Idle. Those in another currency than the first one are left out.
func (o *Option) idle(month money.Amount, currency string) {
	if month == 0 || o.IdleCurrency != "" && o.IdleCurrency != currency {
		return
	}
	o.Idle, o.IdleCurrency = o.Idle.Plus(month), currency
}

// Compared returns the amount by which targets are compared: the jobs of the apply, each of which nothing is known
// as if it took an hour, and the services for a month.
func (c *Costs) Compared() money.Amount { return c.Apply.Plus(c.Assumed).Plus(c.Month) }

// Choose puts options in the order in which an apply tries them: the cheapest first, those that cannot be used
// last. Of equally cheap ones, the first stays first. One that is kept comes before all others. If one has a price,
// those whose costs cannot be compared with it come after it: they are unknown, or in another currency.
func Choose(options []Option, kept string) {
	currency := ""
	for _, o := range options {
		if o.Skipped == "" && o.Costs != nil {
			currency = cmp.Or(currency, o.Costs.Currency)
		}
	}
	incomparable := func(o Option) bool {
		return currency != "" && (o.Unpriced || o.Costs != nil && o.Costs.Currency != currency)
	}
	slices.SortStableFunc(options, func(a, b Option) int {
		if (a.Skipped == "") != (b.Skipped == "") {
			return after(a.Skipped != "", b.Skipped != "")
		}
		if a.Skipped != "" {
			return 0
		}
		return cmp.Or(after(a.Target != kept, b.Target != kept), after(incomparable(a), incomparable(b)), cmp.Compare(a.Compared, b.Compared))
	})
}

// Next returns the targets that an apply continues on if the chosen one lacks capacity, in their order.
func (c *Choice) Next() (next []Option) {
	if c == nil {
		return nil
	}
	for _, o := range c.Options {
		if o.Skipped == "" && o.Target != c.Target {
			next = append(next, o)
		}
	}
	return next
}

// Quotas say whether the limits of an account allow what a plan runs.
type Quotas struct {
	Lacking   string `json:"lacking,omitempty"`   // what is too small: an apply is refused
	Unchecked string `json:"unchecked,omitempty"` // why they were not checked
}

// after orders what is not so before what is.
func after(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// A PoolOption is a pool that a unit may use.
type PoolOption struct {
	Name     string
	Skipped  string       // why it does not, or that it has no price
	Rate     money.Amount // per hour
	Currency string       // "" if it has no price
}

// PoolOptions returns the pools of any_of of a unit that has a pool, in their order. The compiler tries the cheapest
// first, so the unit does not fit those that it would have used before.
func (p *Plan) PoolOptions(u *ir.Unit) (all []PoolOption) {
	used := slices.Index(u.AnyOf, u.Pool)
	rate := p.System.Rate(u)
	for at, name := range u.AnyOf {
		o := PoolOption{Name: name, Skipped: "is of another target"}
		for i := range p.System.Pools {
			pool := &p.System.Pools[i]
			if pool.Name != name {
				continue
			}
			o.Rate, o.Skipped = pool.Rate(u), ""
			switch {
			case cmp.Or(cmp.Compare(o.Rate, rate), cmp.Compare(at, used)) < 0:
				o.Skipped = "does not fit"
			case pool.Price == nil:
				o.Skipped = "has no price"
			default:
				o.Currency = pool.Price.Currency
			}
		}
		all = append(all, o)
	}
	return all
}
