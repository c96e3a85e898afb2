package compiler

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/compiler/pysource"
	"github.com/tenon-ml/tenon/internal/diag"
)

// A call is the function of the user's that the program of a stage calls.
type call struct {
	Script     string   `json:"script"`
	Function   string   `json:"function"`
	Positional []string `json:"positional"`
	Keywords   []string `json:"keywords"`
	Offered    []string `json:"offered"`
	Rows       string   `json:"rows"`
}

// A script is a Python file of the user's.
type script struct {
	pysource.Module
	source []byte
}

// scriptSpan returns a place in a script.
func (c *program) scriptSpan(file string, source []byte, at pysource.Pos, length int) diag.Span {
	c.sys.Files[file] = source // for the excerpt
	return diag.Span{Pos: diag.Pos{File: file, Line: at.Line, Col: at.Col}, Len: length}
}

// checkPython checks the user's Python files of a stage: their syntax, what they import,
// and the function that the program calls.
func (c *lowerer) checkPython(e *entity, w work, code *ir.Code) {
	if code.Runtime != ir.Python || c.broken[e.id()] {
		return
	}
	modules := map[string]script{}
	var own []string // files of the user's
	for _, f := range code.Files {
		if !strings.HasPrefix(f.Path, libraryFolder+"/") {
			own = append(own, f.Path)
		}
	}
	roots := []string{"."} // where Python looks for modules
	if k := w.run.Calls; k != nil {
		roots = append(roots, path.Dir(path.Clean(stringOf(e.fields.at(k.Script)))))
	}
	for _, f := range code.Files {
		if !slices.Contains(own, f.Path) || path.Ext(f.Path) != ".py" {
			continue
		}
		m, err := pysource.Parse(c.blobs[f.Digest])
		if err != nil {
			c.internal(fmt.Errorf("%s: %w", f.Path, err))
			return
		}
		modules[f.Path] = script{m, c.blobs[f.Digest]}
		at := func(p pysource.Pos) diag.Span { return c.scriptSpan(f.Path, c.blobs[f.Digest], p, 1) }
		used := c.sys.Label("used by "+e.String(), e.path()...)
		if m.Invalid != nil {
			place := at(*m.Invalid)
			place.Label = m.Why
			c.fail(e, diag.Diagnostic{Message: f.Path + " is not valid Python", Spans: []diag.Span{place, used}})
			return
		}
		if name := strings.TrimSuffix(path.Base(f.Path), ".py"); slices.Contains(roots, path.Dir(f.Path)) && pysource.Standard(name) {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s hides the module %s of Python's standard library", f.Path, name),
				Spans:   []diag.Span{used}, Hint: "give the file another name",
			})
			return
		}
		for _, i := range m.Imports {
			if file := c.forgotten(f.Path, i.Module, own, c.blobs[code.Lock]); file != "" {
				c.fail(e, diag.Diagnostic{
					Message: fmt.Sprintf("%s imports %s, but %s is not among the files of %s", f.Path, i.Module, file, e),
					Spans:   []diag.Span{at(i.Pos), used},
					Hint:    fmt.Sprintf("add %q to files", file),
				})
				return
			}
		}
		if i, fix := c.unprovided(m.Imports, own, c.blobs[code.Lock]); i != nil {
			c.fail(e, diag.Diagnostic{
				Message: fmt.Sprintf("%s imports %s, which no package of %s has", f.Path, i.Module, e),
				Spans:   []diag.Span{at(i.Pos), used},
				Hint:    fix,
			})
			return
		}
	}
	if w.run.Calls != nil {
		c.checkCall(e, w, modules)
	}
}

// forgotten returns the file in the system's folder that is a module which a script imports
// and that the unit does not get, or "".
func (c *lowerer) forgotten(script, module string, own []string, lock []byte) string {
	if pysource.Standard(module) || strings.Contains(strings.ToLower(string(lock)), strings.ToLower(module)) {
		return ""
	}
	var found string
	for _, folder := range []string{path.Dir(script), "."} { // both are on the path
		for _, file := range []string{path.Join(folder, module+".py"), path.Join(folder, module, "__init__.py")} {
			if slices.Contains(own, file) {
				return ""
			}
			if found == "" && c.beside(file) {
				found = file
			}
		}
		if slices.ContainsFunc(own, func(f string) bool { return strings.HasPrefix(f, path.Join(folder, module)+"/") }) {
			return ""
		}
	}
	return found
}

// checkCall checks that a function exists and fits the arguments that it gets.
func (c *lowerer) checkCall(e *entity, w work, modules map[string]script) {
	k := w.run.Calls
	file, name := path.Clean(stringOf(e.fields.at(k.Script))), stringOf(e.fields.at(k.Function))
	m, ok := modules[file]
	if !ok || name == "" {
		return
	}
	if _, ok := m.Names[name]; !ok {
		if m.Open {
			return
		}
		c.fail(e, diag.Diagnostic{
			Message: fmt.Sprintf("%s has no function %q", file, name),
			Spans:   []diag.Span{c.sys.At("", e.path(k.Script)...), c.sys.At("", e.path(k.Function)...)},
			Hint:    diag.DidYouMean(name, slices.Sorted(maps.Keys(m.Functions))),
		})
		return
	}
	f, ok := m.Functions[name]
	if !ok {
		return // what it takes is not known
	}
	var byName []string
	places := map[string][]string{}
	for _, field := range k.Keywords {
		if field == "in" && e.byRow() {
			if e.rows == nil {
				return // it has a fault, or the script does not say what it takes
			}
			byName = append(byName, e.rows.takes...)
			continue
		}
		if field == "in" {
			for _, p := range e.ports {
				byName = append(byName, p.name)
				places[p.name] = e.path("in", p.name)
			}
			continue
		}
		args, _ := e.fields.at(field).(object)
		for _, a := range args {
			byName = append(byName, a.name)
			places[a.name] = e.path(field, a.name)
		}
	}
	for _, name := range k.Offered {
		if slices.Contains(f.Names(), name) && !slices.Contains(byName, name) {
			byName = append(byName, name)
		}
	}
	misfit := f.Call(k.Positional, byName)
	if misfit == nil {
		return
	}
	d := diag.Diagnostic{Message: fmt.Sprintf("%s cannot call %s in %s: it %s", e, name, file, misfit.Reason)}
	if place := places[misfit.Name]; place != nil {
		d.Spans = append(d.Spans, c.sys.Label("passed here", place...))
	} else {
		d.Spans = append(d.Spans, c.sys.At("", e.path(k.Script)...))
	}
	d.Spans = append(d.Spans, c.scriptSpan(file, m.source, f.Pos, len(name)))
	if misfit.Unused {
		var free []string
		names := f.Names()
		for _, p := range names[min(len(names), len(k.Positional)):] {
			if !slices.Contains(byName, p) {
				free = append(free, p)
			}
		}
		d.Hint = diag.DidYouMean(misfit.Name, free)
	} else {
		d.Found = "it gets " + strings.Join(slices.Concat(k.Positional, byName), ", ")
		d.Hint = "pass it, or give it a default"
	}
	c.fail(e, d)
}
