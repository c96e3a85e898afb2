package planner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// longest limits how much of a value a reason shows.
const longest = 200

// A differ collects reasons.
type differ struct{ out []Reason }

// diffUnits lists, field by field, how the definition of a unit changed. It ignores what
// is not part of the definition.
func diffUnits(old, u *ir.Unit) []Reason {
	d := &differ{}
	d.text("kind", string(old.Kind), string(u.Kind))
	d.text("component", old.Component, u.Component)
	d.text("component code", short(old.Code.Source), short(u.Code.Source))
	d.text("runtime", string(old.Code.Runtime), string(u.Code.Runtime))
	d.text("lock", short(old.Code.Lock), short(u.Code.Lock))
	d.list("environments", shorts(old.Code.Environments), shorts(u.Code.Environments))
	d.text("image", old.Code.Image, u.Code.Image)
	d.list("command", old.Code.Command, u.Code.Command)
	each(old.Code.Files, u.Code.Files, func(f ir.CodeFile) string { return f.Path }, func(path string, a, b *ir.CodeFile) {
		switch {
		case a == nil:
			d.add("code "+path+" is new", "", short(b.Digest))
		case b == nil:
			d.add("code "+path+" is gone", short(a.Digest), "")
		default:
			d.text("code "+path, short(a.Digest), short(b.Digest))
		}
	})
	d.json("params", old.Params, u.Params)
	each(old.Files, u.Files, func(f string) string { return f }, func(f string, a, b *string) {
		if a == nil {
			d.add("files", "", f)
		} else if b == nil {
			d.add("files", f, "")
		}
	})
	each(old.Inputs, u.Inputs, func(i ir.Input) string { return i.Port }, d.input)
	each(old.Outputs, u.Outputs, func(o ir.Output) string { return o.Port }, d.output)
	d.text("seed", compact(old.Seed), compact(u.Seed))
	each(old.Secrets, u.Secrets, func(s ir.Secret) string { return s.Name }, func(name string, a, b *ir.Secret) {
		d.text("secret "+name, reference(a), reference(b))
	})
	d.tree("endpoint", listens(old), listens(u))
	return d.out
}

// listens returns where a service listens: the only part of its endpoint that is in its
// definition.
func listens(u *ir.Unit) any {
	if u.Endpoint == nil {
		return plain(u.Endpoint)
	}
	return plain(&ir.Endpoint{Host: u.Endpoint.Host, Port: u.Endpoint.Port, Ready: u.Endpoint.Ready, TLS: u.Endpoint.TLS, Management: u.Endpoint.Management})
}

func (d *differ) add(what, before, after string) {
	d.out = append(d.out, Reason{What: what, Before: before, After: after})
}

func (d *differ) text(what, before, after string) {
	if before != after {
		d.add(what, cut(before), cut(after))
	}
}

// list compares two lists. A nil one equals an empty one: the state does not keep apart
// what the compiler may.
func (d *differ) list(what string, before, after []string) {
	if !slices.Equal(before, after) {
		d.add(what, cut(listed(before)), cut(listed(after)))
	}
}

func listed(l []string) string {
	if len(l) == 0 {
		return "[]"
	}
	return compact(l)
}

// json compares two JSON objects. A field that differs in many places, such as the plan of a
// query, is one reason.
func (d *differ) json(what string, before, after json.RawMessage) {
	if bytes.Equal(before, after) {
		return
	}
	a, ok := parse(before).(map[string]any)
	b, okToo := parse(after).(map[string]any)
	if !ok || !okToo {
		d.tree(what, parse(before), parse(after))
		return
	}
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		n, path := len(d.out), ir.JoinPath(what, k)
		d.tree(path, lookup(a, k), lookup(b, k))
		if places := len(d.out) - n; places > mostPlaces {
			d.out = d.out[:n]
			d.add(path, "", fmt.Sprintf("%d differences", places))
		}
	}
}

// mostPlaces is how many differences of one parameter are reasons of their own.
const mostPlaces = 10

// tree compares decoded JSON and reports the smallest parts that differ.
func (d *differ) tree(path string, before, after any) {
	if reflect.DeepEqual(before, after) {
		return
	}
	if a, ok := before.(map[string]any); ok {
		if b, ok := after.(map[string]any); ok {
			keys := maps.Clone(a)
			maps.Copy(keys, b)
			for _, k := range slices.Sorted(maps.Keys(keys)) {
				d.tree(ir.JoinPath(path, k), lookup(a, k), lookup(b, k))
			}
			return
		}
	}
	if a, ok := before.([]any); ok {
		if b, ok := after.([]any); ok && len(a) == len(b) {
			for i := range a {
				d.tree(fmt.Sprintf("%s[%d]", path, i), a[i], b[i])
			}
			return
		}
	}
	d.add(path, cut(compact(before)), cut(compact(after)))
}

// absent represents a missing key, as opposed to null.
type absent struct{}

func lookup(m map[string]any, k string) any {
	if v, ok := m[k]; ok {
		return v
	}
	return absent{}
}

func (d *differ) input(port string, a, b *ir.Input) {
	what := "input " + port
	switch {
	case a == nil:
		d.add(what+" is new", "", source(b))
	case b == nil:
		d.add(what+" is gone", source(a), "")
	default:
		d.text(what, source(a), source(b))
		d.text(what+" kind", string(a.Kind), string(b.Kind))
		d.schema(what, a.Schema.Bare(), b.Schema.Bare())
	}
}

func source(in *ir.Input) string {
	if in.Incumbent {
		return "incumbent of " + in.Unit
	}
	return in.Unit + "." + in.From
}

func (d *differ) output(port string, a, b *ir.Output) {
	what := "output " + port
	switch {
	case a == nil:
		d.add(what+" is new", "", string(b.Kind))
	case b == nil:
		d.add(what+" is gone", string(a.Kind), "")
	default:
		d.text(what+" kind", string(a.Kind), string(b.Kind))
		d.schema(what, a.Schema.Bare(), b.Schema.Bare())
		d.list(what+" keys", a.Keys, b.Keys)
		d.list(what+" references", references(a), references(b))
		d.text(what+" timestamp", a.Timestamp, b.Timestamp)
		d.tree(what+" signature", signature(a), signature(b))
		d.schema(what+" request", a.Request, b.Request)
		d.schema(what+" response", a.Response, b.Response)
	}
}

// references describes the foreign keys of a table, as "shop -> references.shop (id)".
func references(o *ir.Output) []string {
	var all []string
	for _, r := range o.References {
		to := r.Input
		if to == "" {
			to = "output " + r.Output
		}
		all = append(all, fmt.Sprintf("%s -> %s (%s)", strings.Join(r.Columns, ", "), to, strings.Join(r.Keys, ", ")))
	}
	return all
}

func signature(o *ir.Output) any {
	s := o.Signature.Bare()
	if s != nil && s.Input == nil {
		s.Input = ir.Schema{}
	}
	return plain(s)
}

func (d *differ) schema(what string, a, b ir.Schema) {
	before := len(d.out)
	each(a, b, func(c ir.Column) string { return c.Name }, func(name string, a, b *ir.Column) {
		what := what + " column " + name
		switch {
		case a == nil:
			d.add(what+" is new", "", b.Type)
		case b == nil:
			d.add(what+" is gone", a.Type, "")
		default:
			d.tree(what, plain(a), plain(b))
		}
	})
	if len(d.out) == before {
		d.list(what+" order of columns", names(a), names(b))
	}
}

func names(s ir.Schema) []string {
	out := make([]string, len(s))
	for i, c := range s {
		out[i] = c.Name
	}
	return out
}

func reference(s *ir.Secret) string {
	switch {
	case s == nil:
		return "none"
	case s.Env != "":
		return "env " + s.Env
	case s.Kubernetes != nil:
		return "kubernetes " + s.Kubernetes.Name + "/" + s.Kubernetes.Key
	}
	return "file " + s.File
}

// each calls f for every name in a or b: first those of a in order, then those that only
// b has.
func each[T any](a, b []T, name func(T) string, f func(name string, a, b *T)) {
	find := func(s []T, n string) *T {
		if i := slices.IndexFunc(s, func(v T) bool { return name(v) == n }); i >= 0 {
			return &s[i]
		}
		return nil
	}
	for i := range a {
		n := name(a[i])
		f(n, &a[i], find(b, n))
	}
	for i := range b {
		if n := name(b[i]); find(a, n) == nil {
			f(n, nil, &b[i])
		}
	}
}

// plain returns v as decoded JSON.
func plain(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return parse(b)
}

func parse(b []byte) any {
	if len(b) == 0 {
		return absent{}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber() // so that 1e400 and 0.10 are shown as written
	var v any
	if dec.Decode(&v) != nil {
		return string(b)
	}
	return v
}

func compact(v any) string {
	if v == (any)(absent{}) {
		return ""
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // SQL is full of < and >
	if enc.Encode(v) != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func cut(s string) string {
	if r := []rune(s); len(r) > longest {
		return string(r[:longest-1]) + "…"
	}
	return s
}
