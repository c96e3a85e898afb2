package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
)

// checkNetwork refuses an entity that must not use the network, but names what only the network
// reaches. It would fail when it runs.
func (c *checker) checkNetwork(e *entity) {
	if e.fields.get("network") != false {
		return
	}
	spans, fetches := []diag.Span(nil), false
	var names []string
	for i := range e.component.stages {
		s := &e.component.stages[i]
		if s.If != "" && !present(e.fields, s.If) {
			continue
		}
		fetches = fetches || s.Network == "open"
		for _, field := range s.Reaches {
			for _, path := range paths(e.fields, nil, strings.Split(field, ".")) {
				if name := strings.Join(path, "."); !slices.Contains(names, name) {
					names, spans = append(names, name), append(spans, c.sys.Label("", e.path(path...)...))
				}
			}
		}
	}
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s must not use the network, but fetches its data over it", e),
		Hint:    "remove network: false",
		Spans:   []diag.Span{c.sys.Label("", e.path("network")...)},
	}
	switch {
	case len(names) > 0:
		d.Message = fmt.Sprintf("%s must not use the network, but %s is reached over it", e, strings.Join(names, ", "))
		d.Hint += ", or remove " + strings.Join(names, ", ")
		d.Spans = append(spans, c.sys.Label("forbidden here", e.path("network")...))
	case !fetches:
		return
	}
	c.fail(e, d)
}

// reaches reports whether an entity names something that the stage reaches over the network.
func (s *stage) reaches(e *entity) bool {
	return slices.ContainsFunc(s.Reaches, func(field string) bool { return placeOf(e.fields, field) != "" })
}

// paths returns the paths in an object that a pattern with "*" for any name matches.
func paths(o object, before, pattern []string) (all [][]string) {
	for _, f := range o {
		if pattern[0] != "*" && pattern[0] != f.name {
			continue
		}
		path := append(slices.Clone(before), f.name)
		if len(pattern) == 1 {
			all = append(all, path)
		} else if sub, ok := f.value.(object); ok {
			all = append(all, paths(sub, path, pattern[1:])...)
		}
	}
	return all
}
