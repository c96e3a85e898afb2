package main

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// writePerRequest says what services cost that are paid for by requests.
func writePerRequest(b *strings.Builder, all []planner.PerRequest) {
	for _, x := range all {
		idle := "nothing"
		if x.Idle > 0 {
			idle = x.Idle.Format(x.Currency) + " a month"
		}
		if x.Instance > 0 {
			requests := "," // before the price of an hour
			if x.Million > 0 {
				requests = ", " + x.Million.Format(x.Currency) + " for a million requests,"
			}
			fmt.Fprintf(b, "%s: %s while idle%s and %s for each hour of an instance beyond that (%s, %s).\n", x.Unit, idle, requests, x.Instance.Format(x.Currency), x.Source, x.Date)
			continue
		}
		fmt.Fprintf(b, "%s: %s while idle, %s for a million requests, and %s more for each %s that they take (%s, %s).\n",
			x.Unit, idle, x.Million.Format(x.Currency), x.Longer.Format(x.Currency), x.Each, x.Source, x.Date)
	}
}

// writePerHour says what services cost on machines of their own.
func writePerHour(b *strings.Builder, all []planner.PerHour) {
	for _, x := range all {
		if x.Currency == "" {
			fmt.Fprintf(b, "%s: %s, which costs money also while idle, at a price that Tenon does not know: no budget counts it.\n", x.Unit, x.Of)
			continue
		}
		fmt.Fprintf(b, "%s: %s a month, also while idle, for %s (%s, %s).\n",
			x.Unit, x.Rate.Times(ir.Month, 1).Format(x.Currency), x.Of, x.Source, x.Date)
	}
}

// writeCosts says what a plan costs, as far as pools have a price.
func (a *app) writeCosts(b *strings.Builder, p *planner.Plan) {
	c := p.Costs()
	if c == nil {
		return
	}
	if n := c.Runs + c.Similar + c.Bounded + len(c.Unknown); n > 0 {
		fmt.Fprintf(b, "Cost: %s%s for %s%s.\n", about(c), c.Apply.Format(c.Currency), plural(int64(n), "job"), costBasis(c))
	}
	if c.Month > 0 || c.Before > 0 {
		line := fmt.Sprintf("Services: %s a month", c.Month.Format(c.Currency))
		if c.Month != c.Before {
			line += ", before " + c.Before.Format(c.Currency)
		}
		b.WriteString(line + ".\n")
	}
	for _, t := range c.Tables {
		fmt.Fprintf(b, "Prices: %s of %s, %s.\n", t.Source, t.Date, artifact.Short(t.Digest))
	}
	if err := p.CheckBudget(); err != nil {
		fmt.Fprintf(b, "\n%s %v\n", a.paint("1;"+red, "refused:"), err)
	}
}

// writeTransfer says what is fetched from a cloud, and what that costs.
func writeTransfer(b *strings.Builder, t *planner.Transfer) {
	if t == nil {
		return
	}
	amount := "unknown, as nothing has run yet"
	if len(t.Unknown) == 0 {
		amount = "about " + bytesOf(t.Bytes)
	} else if t.Bytes > 0 {
		amount = fmt.Sprintf("at least %s, and unknown for %s", bytesOf(t.Bytes), plural(int64(len(t.Unknown)), "new job"))
	}
	cost := fmt.Sprintf("no table has the price of egress of %s in %s", t.Cloud, t.Region)
	if c := t.Charge; c != nil {
		cost = fmt.Sprintf("%s for 1 GiB", c.Price.Format(c.Currency))
		if sum, ok := t.Cost(); ok {
			cost = least(t) + sum.Format(c.Currency)
		}
		cost += fmt.Sprintf(" (%s, %s)", c.Source, c.Date)
	}
	fmt.Fprintf(b, "Egress: %s; %s.\n", amount, cost)
}

// least says that what is fetched is more than what is known of it, or returns "".
func least(t *planner.Transfer) string {
	if len(t.Unknown) > 0 {
		return "at least "
	}
	return ""
}

// about says whether an amount is an estimate or a limit.
func about(c *planner.Costs) string {
	switch {
	case len(c.Unknown) > 0:
		return "at least "
	case c.Bounded > 0 && c.Runs+c.Similar == 0:
		return "at most "
	}
	return "about "
}

// costBasis says what the costs of jobs follow from.
func costBasis(c *planner.Costs) string {
	var parts []string
	if c.Runs > 0 && c.Similar+c.Bounded+len(c.Unknown) > 0 {
		parts = append(parts, fmt.Sprintf("%d as earlier runs", c.Runs))
	}
	if c.Similar > 0 {
		parts = append(parts, fmt.Sprintf("%d as earlier runs of similar jobs", c.Similar))
	}
	if c.Bounded > 0 {
		parts = append(parts, fmt.Sprintf("%d as long as timeouts and retries allow", c.Bounded))
	}
	if n := len(c.Unknown); n > 0 {
		parts = append(parts, fmt.Sprintf("%d unknown, without an earlier run or a timeout", n))
	}
	if len(parts) == 0 {
		return ", based on earlier runs"
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// message returns the text of an error, or "" for none.
func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
