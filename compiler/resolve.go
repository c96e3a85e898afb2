package compiler

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
	"github.com/tenon-ml/tenon/stdlib"
)

// sectionPackages maps a section to the packages of the library whose definitions may be
// its entries.
var sectionPackages = map[string]string{
	"sources": "source", "features": "feature", "models": "train", "deployments": "serve", "slos": "slo", "monitors": "monitor", "loops": "loop", "steps": "step",
}

// examples lists definitions for a section: "source.#CSV".
func examples(section string) []string {
	switch section {
	case "resources":
		return []string{"tenon.#Pool"}
	case "targets":
		return []string{"tenon.#Process", "tenon.#Containerd", "tenon.#Kubernetes", "tenon.#SSH"}
	}
	pkg := sectionPackages[section]
	files, err := fs.Glob(stdlib.CUE(), pkg+"/*.cue")
	if err != nil {
		return nil
	}
	var out []string
	for _, f := range files {
		if b, err := fs.ReadFile(stdlib.CUE(), f); err == nil && path.Base(f) != pkg+".cue" {
			if m := firstDefinition.FindSubmatch(b); m != nil {
				out = append(out, pkg+"."+string(m[1]))
			}
		}
	}
	return out
}

var firstDefinition = lazyregexp.New(`(?m)^(#\w+): \{`)

// exampleHint shows how to write an entry of a section.
func exampleHint(e *entity) string {
	all := examples(e.section)
	hint := fmt.Sprintf("write `%s: %s: %s & {...}`", e.section, e.name, all[0])
	if len(all) > 1 {
		hint += "; available: " + strings.Join(all, ", ")
	}
	return hint
}

// componentOf finds the component of an entity by its name, and reports whether the component is
// allowed in its section.
func (c *decoder) componentOf(e *entity, name string) bool {
	here := []diag.Span{c.sys.Label("", e.section, e.name)}
	if name == "" {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s has no type", e), Spans: here,
			Wanted: "a definition of the standard library, or of a module that the system imports",
			Hint:   exampleHint(e),
		})
		return false
	}
	k, err := c.component(name)
	var none *noComponentError
	if errors.As(err, &none) {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s refers to a component %q that does not exist", e, name), Spans: append(here, c.statedAt(e, "component")...),
			Found: none.found, Hint: cmp.Or(none.hint, exampleHint(e)),
		})
		return false
	} else if err != nil {
		c.componentFault(e, err)
		return false
	}
	if k.Section != e.section {
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s is a %s, which cannot be in %s", e, name, e.section), Spans: here,
			Hint: fmt.Sprintf("%s contains definitions such as %s", e.section, strings.Join(examples(e.section), ", ")),
		})
		return false
	}
	e.component = k
	return true
}

// componentFault reports a fault of an entity's component, at the place that states the
// component and at the entity.
func (c *program) componentFault(e *entity, err error) {
	var f *componentError
	if !errors.As(err, &f) {
		c.internal(fmt.Errorf("%s: %w", e, err))
		return
	}
	c.fail(e, diag.Diagnostic{
		Message: f.Error(),
		Spans:   []diag.Span{f.of.pkg.Label("", append([]string{"components", f.of.folder}, f.field...)...), c.sys.Label("used here", e.section, e.name)},
		Found:   f.found, Hint: f.hint,
	})
}

// statedAt returns the place where a definition gives a field its value, unless that is
// in the library.
func (c *program) statedAt(e *entity, name string) []diag.Span {
	at := c.sys.Pos(at(e.value, name).Pos())
	if at.Line == 0 || strings.HasPrefix(at.File, "tenon.dev/") {
		return nil
	}
	return []diag.Span{{Pos: at}}
}

// checkParts finds the components of the parts of an entity.
func (c *decoder) checkParts(e *entity) bool {
	for i := range e.component.stages {
		s := &e.component.stages[i]
		if s.Part == "" || s.missing(e) {
			continue
		}
		name := stringOf(e.fields.at(s.Part + ".component"))
		k, err := c.component(name)
		var own *componentError
		switch {
		case errors.As(err, &own):
			c.componentFault(e, err)
			return false
		case err == nil && (k.Section != "" || k.stage("") == nil):
			err = fmt.Errorf("%s cannot be part of a model", name)
			fallthrough
		case err != nil:
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s of %s: %v", s.Part, e, err),
				Spans:   []diag.Span{c.sys.At("", e.pathOf(s.Part)...)},
				Hint:    "use a definition of the library",
			})
			return false
		}
	}
	return true
}

// alwaysBound lists the fields that mean the same for every entity.
var alwaysBound = []string{
	"name", "component", "needs", "retries", "timeout", "network", "kubernetes", "keys", "references", "timestamp", "max_age",
}

// checkBound refuses a field of an entity that its component passes to no unit: it would
// have no effect.
func (c *decoder) checkBound(e *entity) bool {
	if len(e.component.stages) == 0 { // a pool or a target
		return true
	}
	if !c.checkParts(e) || !c.checkNamed(e) {
		return false
	}
	bound := slices.Concat(alwaysBound, e.component.Declares)
	if u := e.component.Unavailable; u != nil {
		bound = append(bound, u.Field)
	}
	if s := e.component.Serves; s != nil {
		bound = append(bound, s.Request, s.Lookup, s.Returns, s.History, s.Events, s.Engine)
	}
	for i := range e.component.stages {
		s := &e.component.stages[i]
		if s.missing(e) {
			continue
		}
		w, err := c.work(e, s)
		if err != nil {
			c.componentFault(e, err)
			return false
		}
		prefix := ""
		if s.Part != "" {
			prefix = s.Part + "."
			bound = append(bound, prefix+"component")
		} else if s.Of != "" {
			prefix = s.Of + "."
		}
		for _, f := range w.run.binds() {
			bound = append(bound, prefix+f)
		}
		if w.of != nil {
			for _, f := range w.of.Declares {
				bound = append(bound, prefix+f)
			}
		}
		bound = append(bound, s.wires()...)
	}
	ok := true
	for _, f := range unbound(e.fields, "", bound) {
		ok = false
		spans := []diag.Span{c.sys.Label("", e.path(strings.Split(f, ".")...)...)}
		if k := e.component; !k.pkg.Library() {
			spans = append(spans, k.pkg.Label("the component", "components", k.folder))
		}
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s has a field %s that its component %s does not use", e, f, e.component.name),
			Spans:   spans,
			Hint:    "bind it in the component, for example as a parameter, or remove it",
		})
	}
	return ok
}

// checkPorts refuses an input of an entity that reaches none of its units, and an
// output that none of them writes.
func (c *checker) checkPorts(e *entity) {
	k := e.component
	if len(k.stages) == 0 { // a pool or a target
		return
	}
	fault := func(field []string, message, hint string) {
		c.componentFault(e, &componentError{of: k, field: field, message: message, hint: hint})
	}
	for _, p := range e.ports {
		if !slices.ContainsFunc(k.stages, func(s stage) bool { return s.takes(p.name) }) {
			fault(nil, fmt.Sprintf("passes the input %s to none of its units", p.name), fmt.Sprintf(`add it to the inputs of a unit: inputs: %[1]s: "in.%[1]s"`, p.name))
		}
	}
	for _, port := range e.outNames {
		s := k.stage(k.Gives[port])
		if s == nil || s.outputs != nil && !slices.ContainsFunc(s.outputs, func(o stageOutput) bool { return o.port == port }) {
			fault([]string{"gives"}, fmt.Sprintf("does not say which unit writes the output %s", port), "the stage must list it in its outputs")
		}
	}
	for i := range k.stages {
		s := &k.stages[i]
		if s.Kind != string(ir.Service) || s.If != "" && !present(e.fields, s.If) {
			continue
		}
		for _, o := range stageOutputs(e, s) {
			switch {
			case o.Kind != ir.EndpointOf:
				fault(s.at("outputs"), fmt.Sprintf("is a service with the output %s, a %s; outputs of services are not collected", o.Port, o.Kind), "a service can only give its endpoint")
			case s.Endpoint == nil:
				fault(s.at("endpoint"), fmt.Sprintf("gives the endpoint %s but has no endpoint", o.Port), "declare its endpoint, or remove this output")
			}
		}
	}
}

// takes reports whether a stage is handed an input of the entity.
func (s *stage) takes(port string) bool {
	return s.inputs == nil && s.Part == "" && s.Use == "" && s.As == "" || slices.ContainsFunc(s.inputs, func(i stageInput) bool {
		return i.From == "in."+port || i.Model == port
	})
}

// binds returns the fields that a stage passes to its unit, except for those of its
// wiring.
func (s *stage) binds() []string {
	out := slices.Concat(s.Params, s.Files, s.Code, []string{s.Document, s.Image, s.Command, s.Packages, s.Secrets.field})
	for _, f := range s.Secrets.byName {
		out = append(out, f)
	}
	return slices.DeleteFunc(out, func(f string) bool { return f == "" })
}

// wires returns the fields of the entity that the stage itself uses.
func (s *stage) wires() []string {
	out := append([]string{s.Seed, s.Packages, s.Release, s.Checkpoints}, s.Keeps...)
	if s.Endpoint != nil {
		out = append(out, s.Endpoint.Host, s.Endpoint.Port, s.Endpoint.Replicas, s.Endpoint.TLS, s.Endpoint.Management)
	}
	return slices.DeleteFunc(out, func(f string) bool { return f == "" })
}

// unbound returns the paths of fields that no bound path covers.
func unbound(o object, prefix string, bound []string) []string {
	var out []string
	for _, f := range o {
		p := prefix + f.name
		if slices.Contains(bound, p) {
			continue
		}
		sub, isStruct := f.value.(object)
		below := slices.ContainsFunc(bound, func(b string) bool { return strings.HasPrefix(b, p+".") })
		if isStruct && below {
			out = append(out, unbound(sub, p+".", bound)...)
		} else {
			out = append(out, p)
		}
	}
	return out
}
