package compiler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A numberedSecret is one of the secrets at a path with "*".
type numberedSecret struct {
	path     string
	name     string // that "*" stands for
	variable string
	ref      any
}

// numberedSecrets returns the secrets at the paths of a stage in which "*" is any name. Names
// may hold any characters, and variables may not, so they are numbered.
func numberedSecrets(o object, fields secretFields) (all []numberedSecret) {
	for _, variable := range slices.Sorted(maps.Keys(fields.byName)) {
		before, after, star := strings.Cut(fields.byName[variable], ".*.")
		if !star {
			continue
		}
		parents, _ := o.at(before).(object)
		parents = slices.SortedFunc(slices.Values(parents), func(a, b field) int { return cmp.Compare(a.name, b.name) })
		n := 0
		for _, p := range parents {
			sub, _ := p.value.(object)
			if ref, found := sub.find(after); found {
				n++
				all = append(all, numberedSecret{before + "." + p.name + "." + after, p.name, fmt.Sprintf("%s_%d", variable, n), ref})
			}
		}
	}
	return all
}

// storeSecrets returns the passwords of stores by lookup.
func storeSecrets(o object, fields secretFields) map[string]ir.Secret {
	all := map[string]ir.Secret{}
	for _, s := range numberedSecrets(o, fields) {
		all[s.name] = secret(s.variable, s.ref)
	}
	return all
}

// storeParam returns how a store is declared, with the variable of its password.
func storeParam(store object, password ir.Secret) map[string]any {
	if store == nil {
		return nil
	}
	param, _ := plain(store.without("password")).(map[string]any)
	if password.Name != "" {
		param["password"] = password.Name
	}
	if password.As == ir.AsFile {
		param["as"] = "file"
	}
	return param
}

// reachesStores reports whether a lookup is in a store.
func (k *contract) reachesStores() bool {
	return k != nil && slices.ContainsFunc(k.lookups, func(l lookup) bool { return l.store != nil })
}

// canBeOutside refuses a store for a lookup of a query whose rows a store cannot find.
func (r *request) canBeOutside(link int, l rowsql.Lookup, store object) bool {
	says := l.Outside()
	if store == nil || says == "" {
		return true
	}
	query, name := r.links[link], l.Input.Name
	return r.refuse(fmt.Sprintf("%s cannot look up rows of %q in a store: %s", r.e, name, says),
		"leave out store: the service then has the table in its memory",
		r.label("", r.serves.Lookup, name, "store"), r.sqlSpan(query.e, query.query(), joinOf(name, query.query())))
}
