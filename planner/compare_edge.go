package planner

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// An edgeShift is a part of the edge of a service that changed for its callers.
type edgeShift struct {
	path  string // of a field, or of the fields below it
	shift Shift
}

// judgeEdge finds changed fields that decide who may ask a service, and how much. What files and secrets
// hold is not known, and no reason.
func (c *comparer) judgeEdge(old, now *entity, fields []FieldChange) {
	if now.Edge == nil || !old.serves() {
		return
	}
	x := &edgePair{EdgeFields: *now.Edge, old: fieldsOf(old), now: fieldsOf(now)}
	x.compare()
	for _, s := range x.out {
		i := slices.IndexFunc(fields, func(f FieldChange) bool {
			return f.Effect == nil && (f.Field == s.path || strings.HasPrefix(f.Field, s.path+"."))
		})
		if i >= 0 {
			fields[i].Effect = c.effect(old, "", columnChange{shift: s.shift}, false)
		}
	}
}

// A tree is a part of the fields of an entity. One that is absent is nil.
type tree map[string]any

func (t tree) at(path ...string) any {
	var v any = map[string]any(t)
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func (t tree) sub(path ...string) tree {
	m, _ := t.at(path...).(map[string]any)
	return m
}

func (t tree) list(path ...string) (all []string) {
	l, _ := t.at(path...).([]any)
	for _, v := range l {
		s, _ := v.(string)
		all = append(all, s)
	}
	return all
}

// An edgePair is the edge of a service in both systems.
type edgePair struct {
	ir.EdgeFields
	old, now tree
	out      []edgeShift
}

func (x *edgePair) add(s Shift, path ...string) {
	at := ""
	for _, name := range path {
		at = ir.JoinPath(at, name)
	}
	x.out = append(x.out, edgeShift{at, s})
}

// lists compares lists of what is allowed.
func (x *edgePair) lists(path ...string) {
	old, now := x.old.list(path...), x.now.list(path...)
	if more, less := within(old, now), within(now, old); !more || !less {
		x.add(shiftOf(more, less), path...)
	}
}

func (x *edgePair) compare() {
	x.transport()
	x.identification()
	x.limits()
	x.pages()
	x.ports()
}

const clientCA = "client_ca"

func (x *edgePair) transport() {
	was, is := x.old.sub(x.TLS), x.now.sub(x.TLS)
	switch {
	case (was == nil) != (is == nil):
		x.add(Other, x.TLS) // another scheme
	case was[clientCA] == nil && is[clientCA] != nil:
		x.add(Tighter, x.TLS, clientCA)
	case was[clientCA] != nil && is[clientCA] == nil && x.now.at(x.Auth) != nil:
		x.add(Other, x.TLS, clientCA) // a certificate says nothing any more
	case was[clientCA] != nil && is[clientCA] == nil:
		x.add(Looser, x.TLS, clientCA)
	}
}

func (x *edgePair) identification() {
	was, is := x.old.sub(x.Auth), x.now.sub(x.Auth)
	before := was != nil || x.old.at(x.TLS, clientCA) != nil
	after := is != nil || x.now.at(x.TLS, clientCA) != nil
	switch {
	case !before && !after:
		return
	case !before && is != nil:
		x.add(Tighter, x.Auth)
		return
	case !after:
		x.add(Looser, x.Auth)
		return
	}
	for _, way := range []string{"keys", "jwt"} {
		if had, has := was[way] != nil, is[way] != nil; had != has {
			x.add(shiftOf(has, had), x.Auth, way)
		}
	}
	if was["jwt"] != nil && is["jwt"] != nil {
		for _, name := range []string{"issuer", "audience", "identity", "scope_claim", "scopes"} {
			if compact(was.at("jwt", name)) != compact(is.at("jwt", name)) {
				x.add(Other, x.Auth, "jwt", name)
			}
		}
		x.lists(x.Auth, "jwt", "algorithms")
	}
	x.lists(x.Auth, "public")
	// Without clients, whoever has a certificate may ask everything.
	switch had, has := was.sub("clients"), is.sub("clients"); {
	case had == nil && has == nil:
	case (had == nil) != (has == nil):
		x.add(shiftOf(has == nil, had == nil), x.Auth, "clients")
	default:
		for _, name := range slices.Sorted(maps.Keys(merged(had, has))) {
			x.lists(x.Auth, "clients", name)
		}
	}
}

// limits compares what each caller may ask: one with limits of its own, and all others.
func (x *edgePair) limits() {
	was, is := x.old.sub(x.Limits), x.now.sub(x.Limits)
	for _, name := range []string{"rate", "burst", "concurrency", "daily"} {
		if more, less := limitShift(was[name], is[name]); !more || !less {
			x.add(shiftOf(more, less), x.Limits, name)
		}
	}
	const callers = "callers"
	of := func(limits tree, caller string) tree {
		if own := limits.sub(callers, caller); own != nil {
			return own
		}
		return limits
	}
	for _, caller := range slices.Sorted(maps.Keys(merged(was.sub(callers), is.sub(callers)))) {
		more, less := true, true
		for _, name := range []string{"rate", "burst", "concurrency", "daily"} {
			m, l := limitShift(of(was, caller)[name], of(is, caller)[name])
			more, less = more && m, less && l
		}
		if !more || !less {
			x.add(shiftOf(more, less), x.Limits, callers, caller)
		}
	}
}

// limitShift reports whether a limit allows all that it did before, and nothing else. One that is nil
// allows everything.
func limitShift(before, after any) (more, less bool) {
	a, limited := before.(json.Number)
	b, limits := after.(json.Number)
	switch {
	case !limited && !limits:
		return true, true
	case !limited || !limits:
		return !limits, !limited
	}
	order := compareNumbers(b, a)
	return order >= 0, order <= 0
}

func (x *edgePair) pages() {
	const origins, every = "origins", "*"
	old, now := x.old.list(x.CORS, origins), x.now.list(x.CORS, origins)
	more := slices.Contains(now, every) || within(old, now)
	less := slices.Contains(old, every) || within(now, old)
	if !more || !less {
		x.add(shiftOf(more, less), x.CORS)
	}
}

// ports compares where metrics, health and documents are. Without a port for management, they are on the
// one for callers.
func (x *edgePair) ports() {
	all := []string{"docs", "health", "metrics"}
	was, is := x.old.sub(x.Management), x.now.sub(x.Management)
	switch {
	case was == nil && is == nil:
	case was == nil:
		if !within(all, is.list("public")) {
			x.add(Tighter, x.Management)
		}
	case is == nil:
		x.add(Other, x.Management) // nothing is at that port any more
	default:
		for _, name := range []string{"host", "port"} {
			if compact(was[name]) != compact(is[name]) {
				x.add(Other, x.Management, name)
			}
		}
		x.lists(x.Management, "public")
	}
}
