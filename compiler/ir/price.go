package ir

import (
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/money"
)

// A Price is what a pool costs per hour, in one currency: by rates, or by the instances that it
// consists of.
type Price struct {
	Currency string       `json:"currency"`
	GPU      money.Amount `json:"gpu,omitempty"`    // of a device
	CPU      money.Amount `json:"cpu,omitempty"`    // of a core
	Memory   money.Amount `json:"memory,omitempty"` // of 1 GiB
	Instance *Instance    `json:"instance,omitempty"`
}

// An Instance is the kind of machine that a pool consists of, with its price in a table.
type Instance struct {
	Type   string       `json:"type"` // "g5.xlarge"
	Region string       `json:"region"`
	Zone   string       `json:"zone,omitempty"`
	Spot   bool         `json:"spot,omitempty"`
	Count  int64        `json:"count"`
	Price  money.Amount `json:"price"` // of one, per hour
	Has    InstanceHas  `json:"has"`
	Table  PriceTable   `json:"table"`
}

// InstanceHas is what one instance has. Zero is unknown, or none.
type InstanceHas struct {
	MilliCPU int64 `json:"milli_cpu,omitempty"`
	Memory   int64 `json:"memory,omitempty"` // bytes
	GPU      int64 `json:"gpu,omitempty"`
}

// A PriceTable is the table that a price is from.
type PriceTable struct {
	Source string `json:"source"`
	Date   string `json:"date"`   // of the prices: "2026-11-01"
	Digest string `json:"digest"` // of the table's content
}

// rate returns what a unit with these needs costs per hour: the largest part of an instance that it
// asks for, of cores, of memory or of GPUs, since others cannot use the rest. parts are what it
// gets of the GPUs of a pool whose devices have perDevice parts each.
func (i *Instance) rate(needs Resources, parts Parts, perDevice int64) money.Amount {
	var most money.Amount
	for _, share := range []struct{ asks, has int64 }{
		{needs.MilliCPU, i.Has.MilliCPU}, {needs.Memory, i.Has.Memory}, {parts.Total(), i.Has.GPU * perDevice},
	} {
		if share.has > 0 {
			most = max(most, i.Price.Times(share.asks, share.has))
		}
	}
	return most
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
// rounded up. A share or a slice costs its part of the device. If the pool consists of instances, it
// is the price of the largest part of one that the unit asks for. Without a price, it is 0.
func (p *Pool) Rate(u *Unit) money.Amount {
	if p.Price == nil {
		return 0
	}
	needs := u.Draws()
	if i := p.Price.Instance; i != nil {
		parts, has := p.Parts(needs)
		if has != "" {
			parts = Parts{}
		}
		return i.rate(needs, parts, p.PerDevice(parts.Slice))
	}
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

// PriceTables returns the tables that prices of the system are from, each once, by source.
func (s *System) PriceTables() []PriceTable {
	var tables []PriceTable
	for _, p := range s.Pools {
		if p.Price != nil && p.Price.Instance != nil && !slices.Contains(tables, p.Price.Instance.Table) {
			tables = append(tables, p.Price.Instance.Table)
		}
	}
	slices.SortFunc(tables, func(a, b PriceTable) int { return strings.Compare(a.Source, b.Source) })
	return tables
}
