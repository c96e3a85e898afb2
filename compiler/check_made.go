package compiler

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tenon-ml/tenon/compiler/classes"
	"github.com/tenon-ml/tenon/compiler/pysource"
	"github.com/tenon-ml/tenon/internal/diag"
)

// A made is an object that the program of a stage makes, see tenon.#Made.
type made struct {
	Path    string            `json:"path"`
	Is      string            `json:"is"`
	Params  string            `json:"params"`
	Each    string            `json:"each"`
	Role    string            `json:"role"`
	Nested  string            `json:"nested"`
	Columns string            `json:"columns"`
	Raw     map[string]string `json:"raw"`
}

// The roles of an object.
const (
	estimator   = "estimator"
	transformer = "transformer"
)

// A madeCheck compares what one stage makes with the packages of its environment. What
// the index of a package does not say is accepted.
type madeCheck struct {
	*lowerer
	e       *entity
	lock    []byte
	asked   bool     // the entity has packages besides those of the component
	library bool     // the component belongs to the library
	place   []string // of the fields of the stage, within the entity
	indexes map[string]*classes.Index
	absent  map[string]bool // modules that the environment certainly does not have
	// searched is the search space of a study whose values are checked, and where that is written.
	searched   object
	searchedAt []string
}

// An instance is one object, and where its parts are written, within the entity.
type instance struct {
	made
	path         string
	params       object
	columns      []string
	at, paramsAt []string
	columnsAt    []string
	class        *classes.Class // nil if nothing is known
}

// checkMade checks the objects that the program of a stage makes.
func (c *lowerer) checkMade(e *entity, s *stage, w work, lock []byte) {
	c.checkMadeWith(e, s, w, lock, nil, nil)
}

// checkMadeWith is checkMade where some of the fields are values of a search space.
func (c *lowerer) checkMadeWith(e *entity, s *stage, w work, lock []byte, searched object, searchedAt []string) {
	if len(w.run.Makes) == 0 || c.broken[e.id()] {
		return
	}
	k := &madeCheck{
		lowerer: c, e: e, lock: lock, library: w.of.pkg.Library(), searched: searched, searchedAt: searchedAt,
		indexes: map[string]*classes.Index{}, absent: map[string]bool{},
	}
	if owner, _, packages, err := c.environment(e, s, w); err == nil && packages != "" {
		k.asked = len(stringsOf(owner.fields.at(packages))) > 0
	}
	if part := s.Part + s.Of; part != "" {
		k.place = strings.Split(part, ".")
	}
	all := k.instances(w)
	for i := range all {
		k.check(&all[i])
	}
	k.checkInputs(all, w.fields)
}

func (k *madeCheck) instances(w work) (all []instance) {
	for _, m := range w.run.Makes {
		if m.Each == "" {
			all = append(all, k.instance(m, w.fields, k.place))
			continue
		}
		list, _ := w.fields.at(m.Each).([]any)
		for i, item := range list {
			fields, _ := item.(object)
			all = append(all, k.instance(m, fields, slices.Concat(k.place, strings.Split(m.Each, "."), []string{strconv.Itoa(i)})))
		}
	}
	return all
}

func (k *madeCheck) instance(m made, fields object, place []string) instance {
	at := func(field string) []string { return slices.Concat(place, strings.Split(field, ".")) }
	i := instance{made: m, path: m.Is, at: place, paramsAt: at(m.Params)}
	if m.Path != "" {
		i.path, i.at = stringOf(fields.at(m.Path)), at(m.Path)
	}
	i.params, _ = fields.at(m.Params).(object)
	if m.Columns != "" {
		i.columns, i.columnsAt = stringsOf(fields.at(m.Columns)), at(m.Columns)
	}
	return i
}

// index returns the index of the package of a path: the library's, or that of the user's
// packages. It is nil if there is none.
func (k *madeCheck) index(path string) *classes.Index {
	root, _, _ := strings.Cut(path, ".")
	x, ok := k.indexes[root]
	if ok {
		return x
	}
	x = classes.Of(path)
	if x == nil && k.options.Classes != nil && root != "" && !pysource.Standard(root) {
		if text := k.options.Classes(k.lock, root); len(text) > 0 {
			x = classes.Parse(root, text)
		} else {
			k.absent[root] = text != nil
		}
	}
	k.indexes[root] = x
	return x
}

// written returns the path of a value of the entity, which may be in a search space.
func (k *madeCheck) written(at []string) []string {
	if path := strings.Join(at, "."); k.searched.has(path) {
		at = append(slices.Clone(k.searchedAt), path)
	}
	return k.e.path(at...)
}

// fault reports a fault at a value of the entity.
func (k *madeCheck) fault(d diag.Diagnostic, at []string) {
	d.Spans = append([]diag.Span{k.sys.At("", k.written(at)...)}, d.Spans...)
	k.fail(k.e, d)
}

// check checks an object: that its class exists, is fit for its role and takes its
// arguments.
func (k *madeCheck) check(i *instance) {
	i.class = k.find(i.path, i.at, i.Role)
	if i.class != nil && !k.checkRole(i) {
		i.class = nil // what it takes does not matter
	}
	k.checkParams(i.class, i.params, i.paramsAt, i.at, i.Nested)
}

// find returns the class at an import path, or nil if nothing is known about it.
func (k *madeCheck) find(path string, at []string, role string) *classes.Class {
	x := k.index(path)
	if x == nil {
		k.checkProvided(path, at)
		return nil
	}
	version, any := x.Locked(k.lock)
	if !version {
		if !any && k.library && !k.asked {
			k.fault(diag.Diagnostic{
				Message: fmt.Sprintf("the environment of %s has no package for %s", k.e, path),
				Hint:    fmt.Sprintf("add it: packages: [%q]", x.Pin()),
			}, at)
		}
		return nil
	}
	c, ok, err := x.Find(path)
	if err != nil {
		k.internal(err)
		return nil
	}
	if !ok {
		k.fault(diag.Diagnostic{
			Message: fmt.Sprintf("%s has no class %s", x, path),
			Hint:    nearestClass(x, path, role),
		}, at)
	}
	return c
}

// checkProvided checks that a package of the environment has the module of a class that no
// index has.
func (k *madeCheck) checkProvided(path string, at []string) {
	modules, ok := k.provided(k.lock)
	root, _, _ := strings.Cut(path, ".")
	known := ok && k.library && root != "" && !slices.Contains(modules, root) && !pysource.Standard(root)
	if !known && !k.absent[root] {
		return
	}
	d := diag.Diagnostic{
		Message: fmt.Sprintf("the environment of %s has no package for %s", k.e, path),
		Hint:    "add its package to packages",
	}
	added := k.addedModules(k.lock)
	if has := added[packageName(root)]; len(has) > 0 {
		d.Hint = fmt.Sprintf("the package %s has the module %s", packageName(root), strings.Join(has, ", "))
	} else if near := diag.Nearest(root, slices.Sorted(slices.Values(slices.Concat(slices.Collect(maps.Values(added))...)))); near != "" {
		d.Hint = fmt.Sprintf("did you mean %q?", near+strings.TrimPrefix(path, root))
	}
	k.fault(d, at)
}

// nearestClass returns the hint for a class that does not exist: one of the same name
// elsewhere, or one of a similar name.
func nearestClass(x *classes.Index, path, role string) string {
	fits := x.All(func(c *classes.Class) bool {
		return role == "" && (c.Can("fit") || c.Can("transform")) || role == estimator && c.Can("predict") || role == transformer && c.Can("transform")
	})
	module, name := cutPath(path)
	var here, all []string
	byName := map[string]string{}
	for _, c := range fits {
		in, _ := cutPath(c.Path)
		if _, ok := byName[c.Name()]; !ok {
			byName[c.Name()] = c.Path
		}
		all = append(all, c.Name())
		if in == module {
			here = append(here, c.Name())
		}
	}
	if p, ok := byName[name]; ok {
		return fmt.Sprintf("did you mean %q?", p)
	}
	near := diag.Nearest(name, here)
	if near != "" {
		return fmt.Sprintf("did you mean %q?", module+"."+near)
	}
	if near = diag.Nearest(name, all); near != "" {
		return fmt.Sprintf("did you mean %q?", byName[near])
	}
	return ""
}

// checkRole checks that a class is fit for its role, and reports whether it can do what it
// is for at all.
func (k *madeCheck) checkRole(i *instance) bool {
	c := i.class
	switch {
	case i.Role == transformer && !c.Can("transform"):
		k.fault(diag.Diagnostic{Message: cannot(i, "transform", "transforms nothing")}, i.at)
		return false
	case i.Role == transformer && c.Column && len(i.columns) == 0 && i.Columns != "":
		k.fault(diag.Diagnostic{
			Message: fmt.Sprintf("%s takes one column of text", i.path),
			Hint:    fmt.Sprintf("name it in %s", i.Columns),
		}, i.at)
	case i.Role == estimator && (!c.Can("fit") || !c.Can("predict")):
		k.fault(diag.Diagnostic{
			Message: cannot(i, "predict", "predicts nothing"),
			Hint:    "choose a classifier or a regressor",
		}, i.at)
		return false
	case i.Role == estimator:
		k.checkTask(i)
	}
	return true
}

// cannot says that an object does not have the method of its role.
func cannot(i *instance, method, does string) string {
	if i.class.Is == "" || i.class.Is == i.Role {
		return fmt.Sprintf("%s has no method %s", i.path, method)
	}
	return fmt.Sprintf("%s is %s %s, and %s", i.path, article(i.class.Is), i.class.Is, does)
}

// tasks are the kinds of classes by the task of a model.
var tasks = map[string]string{"classification": "classifier", "regression": "regressor"}

// checkTask checks that an estimator is for the task of the model.
func (k *madeCheck) checkTask(i *instance) {
	model := k.model()
	if model == nil || i.class.Is != "classifier" && i.class.Is != "regressor" {
		return
	}
	wanted := tasks[model.signature.Task]
	if wanted == "" || wanted == i.class.Is {
		return
	}
	does := "predicts a number"
	if wanted == "classifier" {
		does = "predicts a class"
	}
	label := model.signature.Output
	d := diag.Diagnostic{
		Message: fmt.Sprintf("%s is a %s, but %s %s", i.path, i.class.Is, k.e, does),
		Hint:    "choose a " + wanted,
		Spans:   []diag.Span{k.sys.At("its label "+label.Name+" has the type "+label.Type, k.e.path("label")...)},
	}
	if other := counterpart(k.index(i.path), i.class, wanted); other != "" {
		d.Hint = fmt.Sprintf("did you mean %q?", other)
	}
	k.fault(d, i.at)
}

func (k *madeCheck) model() *out { return k.e.model() }

// model returns the model that an entity gives, or nil.
func (e *entity) model() *out {
	for _, o := range e.outs {
		if o.signature != nil && o.signature.Task != "" {
			return o
		}
	}
	return nil
}

// counterpart returns the class of the same name for another task, or "".
func counterpart(x *classes.Index, c *classes.Class, wanted string) string {
	name := c.Path
	try := []string{name + "Classifier", strings.TrimSuffix(name, "R") + "C", strings.Replace(name, "Regressor", "Classifier", 1)}
	if wanted == "regressor" {
		try = []string{strings.TrimSuffix(name, "Classifier"), strings.TrimSuffix(name, "C") + "R", strings.Replace(name, "Classifier", "Regressor", 1)}
	}
	for _, path := range try {
		if found, _, _ := x.Find(path); found != nil && found.Is == wanted {
			return path
		}
	}
	return ""
}

// paramNames returns the parameters of a class in order.
func paramNames(c *classes.Class) []string { return slices.Sorted(maps.Keys(c.Params)) }
