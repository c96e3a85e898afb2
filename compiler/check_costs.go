package compiler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/money"
)

// A priced is an amount as it is written, with its place.
type priced struct {
	amount   money.Amount
	currency string
	span     diag.Span
}

// price reads what a pool costs, or returns nil if it has no price.
func (c *checker) price(e *entity) *ir.Price {
	fields, _ := e.fields.get("price").(object)
	place := func(name string) []string { return e.path("price", name) }
	if text, ok := e.fields.get("price").(string); ok { // of a device
		fields = object{{name: "gpu", value: text}}
		place = func(string) []string { return e.path("price") }
	}
	p := &ir.Price{}
	var first *priced
	for _, f := range []struct {
		name string
		into *money.Amount
	}{{"gpu", &p.GPU}, {"cpu", &p.CPU}, {"memory", &p.Memory}} {
		text, ok := fields.get(f.name).(string)
		if !ok {
			continue
		}
		rate, currency, err := money.ParseRate(text)
		at := priced{rate, currency, c.sys.Label(currency, place(f.name)...)}
		if err != nil {
			c.fail(e, diag.Diagnostic{Message: fmt.Sprintf("the price of %s cannot be used: %v", e, err), Spans: []diag.Span{c.sys.At("", place(f.name)...)}})
			return nil
		}
		if first == nil {
			first = &at
		}
		if !c.sameCurrency(*first, at) {
			c.broken[e.id()] = true // it has a price, so that a budget is not for nothing
			return nil
		}
		*f.into = rate
	}
	if first == nil {
		return nil
	}
	p.Currency = first.currency
	if p.GPU > 0 && whole(gpus(e).get("count")) == 0 {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s has a price of GPUs but no GPU", e),
			Spans:   []diag.Span{c.sys.Label("", place("gpu")...)},
			Hint:    "declare its devices, such as `gpu: count: 1`, or remove the price",
		})
	}
	return p
}

func gpus(e *entity) object {
	o, _ := e.fields.get("gpu").(object)
	return o
}

// sameCurrency reports a second currency: amounts of two could not be added.
func (c *checker) sameCurrency(a, b priced) bool {
	if a.currency == b.currency {
		return true
	}
	c.fault(diag.Diagnostic{
		Message: fmt.Sprintf("prices are in %s and in %s", a.currency, b.currency),
		Spans:   []diag.Span{b.span, a.span},
		Hint:    "write all of them in one currency: Tenon does not convert them",
	})
	return false
}

// currencySpan is where a pool with a price has it from, labelled with its currency.
func (c *checker) currencySpan(p ir.Pool) diag.Span {
	field := "price"
	if p.Price.Instance != nil {
		field = "instance"
	}
	return c.sys.Label(p.Price.Currency, "resources", p.Name, field)
}

// limits reads the limits of costs as they are written. Fields that are unknown are refused
// here: CUE accepts them, because a system is open.
func (c *checker) limits() map[string]priced {
	fields, err := c.sys.Lookup("budget").Fields()
	if err != nil {
		return nil // none, or reported by Faults
	}
	read := map[string]priced{}
	for known := []string{"apply", "month"}; fields.Next(); {
		name := fields.Selector().Unquoted()
		if !slices.Contains(known, name) {
			c.fault(diag.Diagnostic{
				Message: fmt.Sprintf("unknown field %q in a budget", name), Spans: []diag.Span{c.sys.Label("", "budget", name)},
				Hint: diag.DidYouMean(name, known),
			})
			continue
		}
		text, err := fields.Value().String()
		if err != nil {
			continue // reported by Faults
		}
		amount, currency, err := money.Parse(text)
		if err != nil {
			c.fault(diag.Diagnostic{Message: fmt.Sprintf("the budget cannot be used: %v", err), Spans: []diag.Span{c.sys.At("", "budget", name)}})
			continue
		}
		read[name] = priced{amount, currency, c.sys.Label(currency, "budget", name)}
	}
	return read
}

// budget checks limits against the pools. They have to be in one currency, and a limit means
// nothing without a price.
func (c *checker) budget(limits map[string]priced, pools []ir.Pool) ir.Budget {
	var first *priced
	same := func(at priced) bool {
		if first == nil {
			first = &at
		}
		return c.sameCurrency(*first, at)
	}
	for _, p := range pools {
		if p.Price == nil {
			continue
		}
		if !same(priced{currency: p.Price.Currency, span: c.currencySpan(p)}) {
			return ir.Budget{}
		}
	}
	var b ir.Budget
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		limit := limits[name]
		if first == nil {
			if len(c.broken) > 0 {
				return b // perhaps the pool that has the price
			}
			c.fault(diag.Diagnostic{
				Message: "there is a budget, but no pool has a price",
				Spans:   []diag.Span{limit.span},
				Hint:    "add one to a pool: `resources: NAME: price: gpu: \"2.10 USD/h\"`",
			})
			return b
		}
		if !same(limit) {
			return ir.Budget{}
		}
		b.Currency = limit.currency
		if name == "apply" {
			b.Apply = &limit.amount
		} else {
			b.Month = &limit.amount
		}
	}
	return b
}

// amount returns a limit of costs, which is in the currency of the prices, or reports why there is none. of names it
// in errors.
func (c *checker) amount(e *entity, pools []ir.Pool, of string, path ...string) (*money.Amount, string) {
	at := c.sys.At("", e.path(path...)...)
	amount, currency, err := money.Parse(stringOf(e.fields.at(strings.Join(path, "."))))
	if err != nil {
		c.fail(e, diag.Diagnostic{Message: fmt.Sprintf("the cost of %s of %s cannot be used: %v", of, e, err), Spans: []diag.Span{at}})
		return nil, ""
	}
	at.Label = currency
	priced := slices.IndexFunc(pools, func(p ir.Pool) bool { return p.Price != nil })
	if priced < 0 {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s of %s limits the cost, but no pool has a price", of, e),
			Hint:    "add one to a pool: `resources: NAME: price: gpu: \"2.10 USD/h\"`", Spans: []diag.Span{at},
		})
	} else if p := pools[priced]; p.Price.Currency != currency {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s of %s limits the cost in %s, but prices are in %s", of, e, currency, p.Price.Currency),
			Hint:    "write all of them in one currency: Tenon does not convert them", Spans: []diag.Span{at, c.currencySpan(p)},
		})
	}
	return &amount, currency
}
