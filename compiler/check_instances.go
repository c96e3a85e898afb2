package compiler

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/prices"
	"github.com/tenon-ml/tenon/internal/diag"
)

// instance reads the instances that a pool consists of and their price, and gives the pool what they
// have, unless that is declared. It returns nil after a fault.
func (c *checker) instance(e *entity, p *ir.Pool) *ir.Price {
	fields, _ := e.fields.get("instance").(object)
	at := func(path ...string) diag.Span { return c.sys.At("", e.path(path...)...) }
	if e.fields.get("price") != nil {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s has both a price and an instance", e),
			Spans:   []diag.Span{c.sys.Label("", e.path("price")...), c.sys.Label("", e.path("instance")...)},
			Hint:    "remove one of them: the instance has its price from a table",
		})
		return nil
	}
	var file *prices.File
	err := errors.New("there are no tables of prices")
	if c.options.Prices != nil {
		file, err = c.options.Prices()
	}
	if err != nil {
		c.fail(e, diag.Diagnostic{Message: fmt.Sprintf("the prices of %s cannot be read: %v", e, err), Spans: []diag.Span{at("instance")}})
		return nil
	}
	ask := prices.Ask{Count: whole(fields.get("count"))}
	ask.Type, _ = fields.get("type").(string)
	ask.Region, _ = fields.get("region").(string)
	ask.Zone, _ = fields.get("zone").(string)
	ask.Spot, _ = fields.get("spot").(bool)
	i, currency, model, err := file.Instance(ask)
	var unknown *prices.UnknownError
	switch {
	case errors.As(err, &unknown):
		c.fail(e, diag.Diagnostic{Message: unknown.Message, Spans: []diag.Span{at("instance", unknown.Field)}, Hint: unknown.Hint})
		return nil
	case err != nil:
		c.fail(e, diag.Diagnostic{Message: fmt.Sprintf("the price of %s cannot be used: %v", e, err), Spans: []diag.Span{at("instance")}})
		return nil
	}
	if !c.capacity(e, p, i, model) {
		return nil
	}
	return &ir.Price{Currency: currency, Instance: i}
}

// capacity gives a pool what its instances have together. What is declared must not be more, and GPUs
// must be of the same model; it may be less, since a machine needs some of it for itself.
func (c *checker) capacity(e *entity, p *ir.Pool, i *ir.Instance, model string) bool {
	for _, a := range []struct {
		field  []string
		amount *int64
		one    int64
		format func(int64) string
	}{
		{[]string{"cpu"}, &p.MilliCPU, i.Has.MilliCPU, cores},
		{[]string{"memory"}, &p.Memory, i.Has.Memory, ir.FormatSize},
		{[]string{"gpu", "count"}, &p.GPU, i.Has.GPU, func(n int64) string { return fmt.Sprint(n) }},
	} {
		all := int64(math.MaxInt64)
		if a.one <= math.MaxInt64/i.Count {
			all = a.one * i.Count
		}
		name := a.field[len(a.field)-1]
		inherited := name == "count" && *a.amount == 1 && !c.sys.Written(e.path(a.field...)...) // the default of a device
		switch {
		case *a.amount == 0 || inherited && all > 0:
			if *a.amount = all; all == 0 && name != "count" {
				c.fail(e, diag.Diagnostic{
					Message: fmt.Sprintf("the table %q does not say how much %s %s has", i.Table.Source, name, i.Type),
					Spans:   []diag.Span{c.sys.At("", e.path("instance", "type")...)},
					Hint:    fmt.Sprintf("declare %s beside the instance", name),
				})
				return false
			}
		case *a.amount > all && (a.one > 0 || name == "count"):
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s declares more than its instances have: %d of %s in %s", e, i.Count, i.Type, i.Region),
				Wanted:  "at most " + a.format(all), Found: a.format(*a.amount),
				Spans: []diag.Span{c.sys.At("", e.path(a.field...)...), c.sys.Label("", e.path("instance")...)},
				Hint:  "remove the field to take what the table says",
			})
			return false
		}
	}
	if p.GPUModel != "" && model != "" && !ir.IsModel(model, p.GPUModel) {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("the GPUs of %s are of another model than those of %s", e, i.Type),
			Wanted:  model, Found: p.GPUModel,
			Spans: []diag.Span{c.sys.At("", e.path("gpu", "model")...), c.sys.Label("", e.path("instance")...)},
			Hint:  "remove the field to take what the table says",
		})
		return false
	}
	p.GPUModel = cmp.Or(p.GPUModel, model)
	return true
}

// misfitOne returns which resources of one instance are insufficient for a unit, which runs on one
// machine for each of its nodes, or "".
func misfitOne(u *ir.Unit, p *ir.Pool) string {
	if p.Price == nil || p.Price.Instance == nil {
		return ""
	}
	i := p.Price.Instance
	switch {
	case i.Has.MilliCPU > 0 && u.Needs.MilliCPU > i.Has.MilliCPU:
		return fmt.Sprintf("cpu %s in each %s", cores(i.Has.MilliCPU), i.Type)
	case i.Has.Memory > 0 && u.Needs.Memory > i.Has.Memory:
		return fmt.Sprintf("memory %s in each %s", ir.FormatSize(i.Has.Memory), i.Type)
	}
	one := *p
	one.GPU = min(p.GPU, i.Has.GPU)
	if _, has := one.Parts(u.Needs); has != "" {
		return fmt.Sprintf("%s in each %s", has, i.Type)
	}
	return ""
}
