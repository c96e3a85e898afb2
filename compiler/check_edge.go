package compiler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/duration"
)

// checkEdge refuses what a deployment declares about its callers that can have no effect.
func (c *checker) checkEdge(e *entity, k *edge) {
	x := &edgeCheck{c, e, k}
	auth, hasAuth := e.fields.at(k.Auth).(object)
	limits, hasLimits := e.fields.at(k.Limits).(object)
	certificates := present(e.fields, k.clientCA())
	if k.fetches(e.fields) && e.fields.get("network") == false {
		x.refuse(fmt.Sprintf("%s must not use the network, but the keys of its tokens are fetched over it", e),
			fmt.Sprintf("remove network: false, or name a file with the keys: %s: jwt: jwks", k.Auth), x.label("", k.Auth, "jwt"), x.label("forbidden here", "network"))
	}
	if e.fields.has(k.TLS) {
		x.certificate()
	}
	if hasAuth {
		x.auth(auth, certificates)
	}
	if hasLimits {
		x.limits(limits, auth, hasAuth, certificates)
	}
	// A file of the audit log is moved once it is complete, which takes an interval.
	if text, ok := e.fields.at(k.Audit + ".interval").(string); ok && duration.Parse(text) <= 0 {
		x.refuse(fmt.Sprintf("a line of the audit log of %s waits %s until it is stored, which is too short", e, text), "write a longer interval, such as 1m", x.label("", k.Audit, "interval"))
	}
}

// secrets returns the names of those that the edge reads.
func (k *edge) secrets(all secretFields) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(all.byName)) {
		if field, _, _ := strings.Cut(all.byName[name], "."); slices.Contains(k.All(), field) {
			names = append(names, name)
		}
	}
	return names
}

// clientCA is the field with which every client needs a certificate.
func (k *edge) clientCA() string { return k.TLS + ".client_ca" }

// fetches reports whether the keys of tokens come from a URL.
func (k *edge) fetches(fields object) bool {
	auth, _ := fields.at(k.Auth).(object)
	jwt, ok := auth.get("jwt").(object)
	at, _ := jwt.get("jwks").(string)
	return ok && (!jwt.has("jwks") || strings.Contains(at, "://"))
}

type edgeCheck struct {
	*checker
	e *entity
	k *edge
}

func (x *edgeCheck) refuse(message, hint string, spans ...diag.Span) {
	x.fail(x.e, diag.Diagnostic{Message: message, Hint: hint, Spans: spans})
}

// certificate refuses TLS with none, or with two.
func (x *edgeCheck) certificate() {
	o, _ := x.e.fields.at(x.k.TLS).(object)
	switch files := o.only("cert", "key"); {
	case o.has("acme") && len(files) > 0:
		x.refuse(fmt.Sprintf("%s has two certificates: one by acme, and one in a file", x.e), "remove acme, or cert and key",
			x.label("", x.k.TLS, "acme"), x.label("", x.k.TLS, files[0].name))
	case !o.has("acme") && len(files) == 1:
		missing := map[string]string{"cert": "key", "key": "cert"}[files[0].name]
		x.refuse(fmt.Sprintf("%s of %s has no %s", x.k.TLS, x.e, missing), "add "+missing, x.label("", x.k.TLS, files[0].name))
	case !o.has("acme") && len(files) == 0:
		x.refuse(fmt.Sprintf("%s of %s has no certificate", x.k.TLS, x.e), "add cert and key, or acme: domains", x.label("", x.k.TLS))
	}
}

// label is the place of the name of a field.
func (x *edgeCheck) label(text, field string, more ...string) diag.Span {
	return x.sys.Label(text, append(x.e.pathOf(field), more...)...)
}

func (x *edgeCheck) auth(auth object, certificates bool) {
	k, e := x.k, x.e
	clients, hasClients := auth.get("clients").(object)
	switch {
	case hasClients && !certificates:
		x.refuse(fmt.Sprintf("%s says what the owners of certificates may ask, but asks for no certificates", e),
			fmt.Sprintf("add %s: client_ca, with the certificates of their authorities, or remove %s.clients", k.TLS, k.Auth), x.label("", k.Auth, "clients"))
	case !auth.has("keys") && !auth.has("jwt") && !certificates:
		x.refuse(fmt.Sprintf("nobody can ask %s: %s names no keys, no tokens and no certificates", e, k.Auth),
			fmt.Sprintf("add %s: keys or %[1]s: jwt, or remove %[1]s", k.Auth), x.label("", k.Auth))
	}
	for _, f := range clients {
		x.scopes(f.value, k.Auth, "clients", f.name)
	}
	x.scopes(auth.get("public"), k.Auth, "public")
	x.elsewhere(auth)
	jwt, _ := auth.get("jwt").(object)
	scopes, _ := jwt.get("scopes").(object)
	for _, f := range scopes {
		x.scope(f.name, x.label("", k.Auth, "jwt", "scopes", f.name))
	}
}

// elsewhere refuses to make public what is not on the port of callers.
func (x *edgeCheck) elsewhere(auth object) {
	management, other := x.e.fields.at(x.k.Management).(object)
	if !other {
		return
	}
	public, _ := auth.get("public").([]any)
	there, _ := management.get("public").([]any)
	for i, name := range public {
		if (name == "docs" || name == "metrics") && !slices.Contains(there, name) {
			x.refuse(fmt.Sprintf("%s makes %s public, which callers of %s cannot ask for", x.k.Auth, name, x.e),
				fmt.Sprintf("add it to %s.public, or remove it here", x.k.Management),
				x.sys.At("", x.e.pathOf(x.k.Auth+".public."+fmt.Sprint(i))...), x.label("it is on this port", x.k.Management))
		}
	}
}

// scopes checks a list of scopes.
func (x *edgeCheck) scopes(list any, field string, more ...string) {
	all, _ := list.([]any)
	for i, v := range all {
		name, _ := v.(string)
		x.scope(name, x.sys.At("", append(x.e.pathOf(field), append(slices.Clone(more), fmt.Sprint(i))...)...))
	}
}

// scope refuses one that is for nothing.
func (x *edgeCheck) scope(name string, at diag.Span) {
	if field := x.k.Scopes[name]; field != "" && !on(x.e.fields, field) {
		x.refuse(fmt.Sprintf("the scope %q is for /%s, which %s does not have", name, name, x.e), fmt.Sprintf("add %s to the deployment, or remove the scope", field), at)
	}
}

// on reports whether a field is there and is not false.
func on(o object, field string) bool { return o.has(field) && o.get(field) != false }

// rates are the fields of a limit.
var rates = []string{"rate", "burst", "concurrency", "daily"}

func (x *edgeCheck) limits(limits, auth object, hasAuth, certificates bool) {
	k, e := x.k, x.e
	callers, hasCallers := limits.get("callers").(object)
	known := hasAuth || certificates
	of := func(limit object, more ...string) {
		switch {
		case limit.has("burst") && !limit.has("rate"):
			x.refuse(fmt.Sprintf("%s limits a burst, but no rate", e), "add rate, in requests a second, or remove burst", x.label("", k.Limits, append(slices.Clone(more), "burst")...))
		case len(more) > 0 && len(limit.only(rates...)) == 0:
			x.refuse(fmt.Sprintf("a limit of %s limits nothing", e), "add rate, concurrency or daily, or remove it", x.label("", k.Limits, more...))
		}
	}
	of(limits)
	switch {
	case len(limits) == 0:
		x.refuse(fmt.Sprintf("%s of %s limits nothing", k.Limits, e), "add rate, concurrency or daily, or remove "+k.Limits, x.label("", k.Limits))
	case limits.has("daily") && !known:
		x.refuse(fmt.Sprintf("%s counts the requests of a day, but does not know its callers, whose addresses change", e),
			fmt.Sprintf("add %s, or limit rate or concurrency", k.Auth), x.label("", k.Limits, "daily"))
	case hasCallers && len(callers) > 0 && !known:
		x.refuse(fmt.Sprintf("%s limits callers by their identities, but does not know them", e), fmt.Sprintf("add %s, or remove %s.callers", k.Auth, k.Limits), x.label("", k.Limits, "callers"))
		return
	}
	for _, f := range callers {
		limit, _ := f.value.(object)
		of(limit, "callers", f.name)
		kind, _, _ := strings.Cut(f.name, ":")
		ways := map[string]bool{"key": auth.has("keys"), "jwt": auth.has("jwt"), "client": certificates}
		if !ways[kind] && known {
			need := map[string]string{"key": k.Auth + ": keys", "jwt": k.Auth + ": jwt", "client": k.TLS + ": client_ca"}[kind]
			x.refuse(fmt.Sprintf("no caller of %s can be %q", e, f.name), fmt.Sprintf("add %s, or remove the limit", need), x.label("", k.Limits, "callers", f.name))
		}
	}
}

// pathOf is the path of a field below the entity: "tls.cert".
func (e *entity) pathOf(field string) []string { return e.path(strings.Split(field, ".")...) }

// placeOf returns the first place that a path stands for, in which "*" is any name, or "" if there
// is none.
func placeOf(o object, path string) string {
	before, after, star := strings.Cut(path, ".*.")
	if !star {
		if _, ok := o.find(path); ok {
			return path
		}
		return ""
	}
	parent, _ := o.at(before).(object)
	for _, f := range parent {
		if sub, ok := f.value.(object); ok && placeOf(sub, after) != "" {
			return before + "." + f.name + "." + after
		}
	}
	return ""
}
