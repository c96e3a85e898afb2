package compiler

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/tenon-ml/tenon/compiler/pysource"
	"github.com/tenon-ml/tenon/stdlib"
)

// packageModules lists the modules of the packages that the locks of the library have, by
// the names of the packages, and their pins.
var packageModules = sync.OnceValue(func() (known struct{ modules, pins map[string][]string }) {
	known.modules, known.pins = map[string][]string{}, map[string][]string{}
	text, err := fs.ReadFile(stdlib.Files(), "lib/packages/modules.txt")
	if err != nil {
		panic(err) // the file is embedded
	}
	for line := range strings.Lines(string(text)) {
		pin, modules, _ := strings.Cut(strings.TrimSpace(line), " ")
		p, _ := pinOf(pin)
		known.modules[p.name] = strings.Fields(modules)
		for _, m := range known.modules[p.name] {
			known.pins[m] = append(known.pins[m], pin)
		}
	}
	return known
})

// addedModules returns the modules of the packages of a lock that the user's packages are
// in, by the names of the packages, as far as the lock has an index.
func (c *lowerer) addedModules(lock []byte) map[string][]string {
	added := map[string][]string{}
	if c.options.Modules == nil {
		return added
	}
	for _, line := range c.options.Modules(lock) {
		name, modules, _ := strings.Cut(line, " ")
		name, _, _ = strings.Cut(name, "==")
		added[name] = strings.Fields(modules)
	}
	return added
}

// provided returns the modules that the packages of a lock have. It is not ok if a package
// may have modules that are not known.
func (c *lowerer) provided(lock []byte) (modules []string, ok bool) {
	known, added := packageModules(), c.addedModules(lock)
	locked := stdlib.Pins(lock)
	for _, r := range locked {
		p, pinned := pinOf(strings.Split(r, ";")[0])
		has, listed := known.modules[p.name]
		if !listed {
			has, listed = added[p.name]
		}
		if !pinned || !listed {
			return nil, false
		}
		modules = append(modules, has...)
	}
	return modules, len(locked) > 0
}

// unprovided returns an import of a module that is neither in the standard library, nor
// among the files, nor in a package of the lock, and how to have it.
func (c *lowerer) unprovided(imports []pysource.Import, own []string, lock []byte) (*pysource.Import, string) {
	if len(imports) == 0 {
		return nil, ""
	}
	modules, ok := c.provided(lock)
	if !ok {
		return nil, ""
	}
	for _, i := range imports {
		if pysource.Standard(i.Module) || strings.HasPrefix(i.Module, "tenon") || slices.Contains(modules, i.Module) {
			continue
		}
		if slices.ContainsFunc(own, func(f string) bool {
			return path.Base(f) == i.Module+".py" || slices.Contains(strings.Split(f, "/"), i.Module)
		}) {
			continue
		}
		if pins := packageModules().pins[i.Module]; len(pins) > 0 {
			return &i, fmt.Sprintf("add it: packages: [%q]", pins[0])
		}
		return &i, "add its package to packages, or its file to files"
	}
	return nil, ""
}
