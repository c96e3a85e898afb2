package compiler

import (
	"fmt"

	"github.com/tenon-ml/tenon/stdlib/compute"
	shown "github.com/tenon-ml/tenon/stdlib/compute/entity"
)

// compute returns the parameters that the library's Go code adds to a unit.
func (c *lowerer) compute(e *entity, w work) (object, error) {
	f := compute.Params[w.component]
	if f == nil {
		return nil, fmt.Errorf("the component %s computes parameters, but the library has no code for it", w.component)
	}
	view := c.shown(e)
	view.Inputs = map[string]shown.Entity{}
	for _, p := range e.ports {
		view.Inputs[p.name] = c.shown(p.out.entity)
	}
	for _, id := range c.order {
		r := c.entities[id]
		for _, p := range r.ports {
			if p.from == e.id() {
				view.Readers = append(view.Readers, c.shown(r))
				break
			}
		}
	}
	params, err := f(view)
	if err != nil {
		return nil, err
	}
	var o object
	for name, v := range params {
		o = o.with(name, v)
	}
	return o, nil
}

// shown returns an entity without its inputs and its readers.
func (c *lowerer) shown(e *entity) shown.Entity {
	return shown.Entity{System: c.name, Env: c.sys.Environment, Section: e.section, Name: e.name, Component: e.component.name, Fields: e.fields.json()}
}
