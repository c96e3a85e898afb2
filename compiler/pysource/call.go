package pysource

import (
	"fmt"
	"slices"
)

// A Misfit is a reason why a function cannot be called.
type Misfit struct {
	// Name is the argument that does not fit, or the parameter that gets no value.
	Name   string
	Reason string // "has no parameter NAME", "needs NAME"
	Unused bool   // Name is an argument that is passed
}

// Call returns why a function cannot be called with arguments by position and by name, or
// nil. The names of those by position are for the message only.
func (f Function) Call(positional, byName []string) *Misfit {
	given := map[string]bool{}
	params := f.Params
	for _, name := range positional {
		i := slices.IndexFunc(params, func(p Param) bool { return p.Kind == Normal || p.Kind == Positional })
		switch {
		case i >= 0:
			given[params[i].Name] = true
			params = slices.Concat(params[:i], params[i+1:])
		case !f.has(Rest):
			return &Misfit{name, fmt.Sprintf("takes too few arguments by position: it gets %s", name), false}
		}
	}
	for _, name := range byName {
		i := slices.IndexFunc(f.Params, func(p Param) bool { return p.Name == name && (p.Kind == Normal || p.Kind == Keyword) })
		switch {
		case i >= 0 && given[name]:
			return &Misfit{name, fmt.Sprintf("gets %q twice: by position and by name", name), true}
		case i < 0 && !f.has(RestByName):
			return &Misfit{name, fmt.Sprintf("has no parameter %q", name), true}
		}
		given[name] = true
	}
	for _, p := range f.Params {
		if !p.Optional && !given[p.Name] {
			return &Misfit{p.Name, fmt.Sprintf("needs an argument %q", p.Name), false}
		}
	}
	return nil
}

func (f Function) has(k Kind) bool {
	return slices.ContainsFunc(f.Params, func(p Param) bool { return p.Kind == k })
}

// Names returns the names of the parameters that can be given by name.
func (f Function) Names() []string {
	var all []string
	for _, p := range f.Params {
		if p.Kind == Normal || p.Kind == Keyword {
			all = append(all, p.Name)
		}
	}
	return all
}
