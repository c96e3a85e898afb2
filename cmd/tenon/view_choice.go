package main

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/planner"
)

// writeChoice says which target was chosen, what each alternative costs, why one was skipped, and on which an apply
// continues if the chosen one lacks capacity.
func (a *app) writeChoice(b *strings.Builder, p *planner.Plan) {
	c := p.Choice
	if c == nil {
		return
	}
	fmt.Fprintf(b, "Target: %s of %s: %s.\n", c.Target, c.Of, c.Why)
	width := 0
	for _, o := range c.Options {
		width = max(width, len(o.Target))
	}
	for _, o := range c.Options {
		line := "skipped: " + shortened(o.Skipped)
		if o.Skipped == "" {
			line = optionCost(o)
		}
		fmt.Fprintf(b, "  %s  %s\n", pad(o.Target, width), line)
	}
	var next []string
	for _, o := range c.Next() {
		next = append(next, o.Target)
	}
	if len(next) > 0 && p.Saved == "" { // a saved plan is applied exactly
		fmt.Fprintf(b, "  If %s lacks capacity or a quota, an apply continues on %s.\n", c.Target, strings.Join(next, ", then "))
	}
}

// optionCost says what a plan costs on a target.
func optionCost(o planner.Option) string {
	c := o.Costs
	var parts []string
	if fetched, ok := o.Transfer.Cost(); ok && fetched > 0 {
		parts = append(parts, "egress "+least(o.Transfer)+fetched.Format(o.Transfer.Charge.Currency))
	}
	if o.Idle > 0 {
		parts = append(parts, o.Idle.Format(o.IdleCurrency)+" a month while idle")
	}
	if c == nil {
		return strings.Join(append([]string{"no price"}, parts...), ", ")
	}
	if c.Runs+c.Similar+c.Bounded > 0 {
		parts = append(parts, about(c)+c.Apply.Format(c.Currency))
	}
	if n := len(c.Unknown); n > 0 {
		parts = append(parts, fmt.Sprintf("%s if %s of unknown length takes an hour", c.Assumed.Format(c.Currency), plural(int64(n), "job")))
		if n > 1 {
			parts[len(parts)-1] = fmt.Sprintf("%s if each of %d jobs of unknown length takes an hour", c.Assumed.Format(c.Currency), n)
		}
	}
	if c.Month > 0 || len(parts) == 0 {
		parts = append(parts, fmt.Sprintf("services %s a month", c.Month.Format(c.Currency)))
	}
	return strings.Join(parts, ", ")
}

// shortened limits a reason to one line.
func shortened(s string) string {
	const most = 240
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "..."
	}
	return s
}

// writePools says which pool each unit uses that may use several, and what they cost.
func (a *app) writePools(b *strings.Builder, p *planner.Plan) {
	for _, i := range p.Items {
		u := p.Unit(&i)
		if u == nil || len(u.AnyOf) == 0 || !i.Action.Changes() {
			continue
		}
		var all []string
		for _, o := range p.PoolOptions(u) {
			if o.Skipped == "" {
				o.Skipped = o.Rate.Format(o.Currency) + "/h"
			}
			all = append(all, o.Name+" "+o.Skipped)
		}
		fmt.Fprintf(b, "Pool: %s uses %s (%s).\n", i.Unit, u.Pool, strings.Join(all, ", "))
	}
}

// writeQuotas says whether limits of the account allow what a plan runs.
func (a *app) writeQuotas(b *strings.Builder, q *planner.Quotas) {
	switch {
	case q == nil:
	case q.Lacking != "":
		fmt.Fprintf(b, "\n%s %s\n", a.paint("1;"+red, "refused:"), q.Lacking)
	case q.Unchecked != "":
		fmt.Fprintf(b, "Quotas: not checked: %s.\n", q.Unchecked)
	default:
		b.WriteString("Quotas: sufficient.\n")
	}
}

// continueOn says why an apply continues on another target. An error that is not printed yet is part of it.
func (a *app) continueOn(was, next *planner.Plan, unprinted bool, err error, asJSON bool) {
	out := a.stdout
	if asJSON {
		out = a.stderr
	}
	if unprinted {
		fmt.Fprintf(out, "\n%s %v\n", a.paint("1;"+red, "error:"), err)
	}
	fmt.Fprintf(out, "\n%s lacks what the apply needs: it continues on %s.\n\n", was.System.Target.Name, next.System.Target.Name)
}
