package compiler

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
	"github.com/tenon-ml/tenon/stdlib"
)

// A pin is a requirement of one version: name==version. Its name is normalized as PEP 503
// says, and its version as far as PEP 440 calls versions equal that differ in zeros.
type pin struct{ name, version string }

var pinned = lazyregexp.New(`^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*={2,3}\s*v?([0-9][0-9A-Za-z.]*)\s*$`)

var separators = lazyregexp.New(`[-_.]+`)

// pinOf returns the pin that a requirement is. It is not ok for ranges, and for
// requirements that only some machines have.
func pinOf(requirement string) (p pin, ok bool) {
	m := pinned.FindStringSubmatch(requirement)
	if m == nil {
		return pin{}, false
	}
	version := strings.ToLower(m[2])
	for strings.HasSuffix(version, ".0") {
		version = strings.TrimSuffix(version, ".0")
	}
	return pin{packageName(m[1]), version}, true
}

// packageName returns a name of a package as locks have it.
func packageName(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

// checkPackages refuses packages that no environment can have: pinned to two versions, or
// to another than the component's environment has.
func (c *lowerer) checkPackages(owner *entity, field string, asked []string, base []byte) bool {
	at := func(i int, label string) diag.Span {
		return c.sys.At(label, owner.path(append(strings.Split(field, "."), fmt.Sprint(i))...)...)
	}
	own := map[string]string{} // requirements of the component by name
	for _, r := range stdlib.Pins(base) {
		if p, ok := pinOf(r); ok {
			own[p.name] = r
		}
	}
	first := map[string]int{}
	for i, r := range asked {
		p, ok := pinOf(r)
		if !ok {
			continue
		}
		if j, twice := first[p.name]; twice {
			if before, _ := pinOf(asked[j]); before.version != p.version {
				c.fail(owner, diag.Diagnostic{
					Message: fmt.Sprintf("%s pins %s to two versions", owner, p.name),
					Spans:   []diag.Span{at(j, ""), at(i, "")},
					Hint:    "keep one of them",
				})
				return false
			}
			continue
		}
		first[p.name] = i
		if r := own[p.name]; r != "" {
			if base, _ := pinOf(r); base.version != p.version {
				c.fail(owner, diag.Diagnostic{
					Message: fmt.Sprintf("%s pins %s to another version than the environment of %s", owner, p.name, owner.component.name),
					Wanted:  r,
					Found:   asked[i],
					Spans:   []diag.Span{at(i, "")},
					Hint:    "remove it: the component is tested with that version",
				})
				return false
			}
		}
	}
	return true
}
