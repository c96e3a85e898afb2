package ir

import "github.com/tenon-ml/tenon/internal/money"

// A Price is what a pool costs per hour, in one currency.
type Price struct {
	Currency string       `json:"currency"`
	GPU      money.Amount `json:"gpu,omitempty"`    // of a device
	CPU      money.Amount `json:"cpu,omitempty"`    // of a core
	Memory   money.Amount `json:"memory,omitempty"` // of 1 GiB
}

// A Budget limits what an apply may cost, and what is deployed. Nil is no limit.
type Budget struct {
	Currency string        `json:"currency,omitempty"`
	Apply    *money.Amount `json:"apply,omitempty"` // the jobs of one apply
	Month    *money.Amount `json:"month,omitempty"` // the services, in a month of 730 hours
}

// Month is the number of hours in an average month.
const Month = 730

// Rate returns what a unit costs per hour: the price of what it asks for, on all its nodes,
// rounded up. A share or a slice costs its part of the device. Without a price, it is 0.
func (p *Pool) Rate(u *Unit) money.Amount {
	if p.Price == nil {
		return 0
	}
	needs := u.Draws()
	rate := p.Price.CPU.Times(needs.MilliCPU, 1000).Plus(p.Price.Memory.Times(needs.Memory, 1<<30))
	if parts, has := p.Parts(needs); has == "" && parts.Count > 0 {
		rate = rate.Plus(p.Price.GPU.Times(parts.Total(), p.PerDevice(parts.Slice)))
	}
	return rate
}

// Rate returns what a unit costs per hour, see [Pool.Rate]. It is 0 if its pool has no price.
func (s *System) Rate(u *Unit) money.Amount {
	for i := range s.Pools {
		if p := &s.Pools[i]; p.Name == u.Pool {
			return p.Rate(u)
		}
	}
	return 0
}

// Currency returns the currency of the prices, or "" if no pool has one.
func (s *System) Currency() string {
	for _, p := range s.Pools {
		if p.Price != nil {
			return p.Price.Currency
		}
	}
	return ""
}
