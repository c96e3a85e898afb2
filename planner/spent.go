package planner

import (
	"cmp"
	"math/big"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/internal/money"
)

// A Use is a time in which a unit had what it asks for.
type Use struct {
	Unit, Entity, Stage, Team, Pool string
	Revision                        int
	Job                             bool
	From, To                        time.Time
	Rate                            money.Amount // per hour
	Currency                        string       // "" if the pool had no price
	Models                          []string     // that a service answered with
	Uncounted                       string       // why the log of a service does not have all its predictions, or ""
	// PerRequest is set for a service that is paid for by requests, which are not part of the rate. If the revision left the
	// service as it was, its plan does not have it.
	PerRequest *PerRequest
	Unchanged  bool
}

// Spent is what a group of uses took and cost.
type Spent struct {
	Name     string        `json:"name"`
	Groups   []string      `json:"groups,omitempty"` // the parts of the name, if there are several
	Runs     int           `json:"runs"`             // of jobs
	Time     time.Duration `json:"time_ns"`
	Cost     money.Amount  `json:"cost"`
	Currency string        `json:"currency,omitempty"`
}

// SpentBy sums uses within [since, until) by what name returns for a time of a use. Groups
// that it names "" are left out. A use is divided at the begin of each day (UTC), so that a
// name can be that of the day. Each currency has groups of its own. The costs are rounded up
// once for each group. The most expensive group comes first, then the longest.
func SpentBy(uses []Use, since, until time.Time, name func(u Use, at time.Time) string) []Spent {
	type key struct{ name, currency string }
	type sum struct {
		Spent
		cost *big.Int // billionths times nanoseconds
	}
	sums := map[key]*sum{}
	for _, u := range uses {
		from, to := later(u.From, since), u.To
		if to.After(until) {
			to = until
		}
		first := u.Job && !u.From.Before(since)
		for from.Before(to) {
			end := from.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
			if end.After(to) {
				end = to
			}
			if n := name(u, from); n != "" {
				s := sums[key{n, u.Currency}]
				if s == nil {
					s = &sum{Spent: Spent{Name: n, Currency: u.Currency}, cost: new(big.Int)}
					sums[key{n, u.Currency}] = s
				}
				s.Time += end.Sub(from)
				s.cost.Add(s.cost, new(big.Int).Mul(big.NewInt(int64(u.Rate)), big.NewInt(int64(end.Sub(from)))))
				if first {
					s.Runs++
				}
			}
			from, first = end, false
		}
	}
	out := make([]Spent, 0, len(sums))
	hour := big.NewInt(int64(time.Hour))
	for _, s := range sums {
		q, rest := s.cost.DivMod(s.cost, hour, new(big.Int))
		if rest.Sign() > 0 {
			q.Add(q, big.NewInt(1))
		}
		s.Cost = money.Most
		if q.IsInt64() {
			s.Cost = money.Amount(q.Int64())
		}
		out = append(out, s.Spent)
	}
	slices.SortFunc(out, func(a, b Spent) int {
		return cmp.Or(cmp.Compare(a.Currency, b.Currency), cmp.Compare(b.Cost, a.Cost), cmp.Compare(b.Time, a.Time), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}
