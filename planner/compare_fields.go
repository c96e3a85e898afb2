package planner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// fields returns the fields of an entity that differ, except for the columns of its
// outputs.
func (c *comparer) fields(old, now *entity) []FieldChange {
	if old.bare || now.bare {
		return c.definitions(old, now)
	}
	t := &treeDiff{}
	t.diff("", fieldsOf(old), fieldsOf(now))
	a, b := c.reads(old), c.reads(now)
	for field := range merged(a, b) {
		t.diff(field, lookup(a, field), lookup(b, field))
	}
	if old.Component == now.Component { // otherwise the component itself is reported
		runs := func(u ir.Unit) string {
			if u.Child > 0 { // with another program than the unit that trains
				return u.Component + " in trials"
			}
			return u.Component
		}
		each(distinct(old.units), distinct(now.units), runs, func(component string, a, b *ir.Unit) {
			if a != nil && b != nil {
				t.diff(ir.JoinPath("implementation", component), implementation(a), implementation(b))
			}
		})
	}
	slices.SortStableFunc(t.out, func(a, b FieldChange) int { return strings.Compare(a.Field, b.Field) })
	c.packages(t, old, now)
	each(userCode(old), userCode(now), func(f ir.CodeFile) string { return f.Path }, func(path string, a, b *ir.CodeFile) {
		digest := func(f *ir.CodeFile) any {
			if f == nil {
				return absent{}
			}
			return short(f.Digest)
		}
		if a != nil && b != nil && a.Digest == b.Digest {
			return
		}
		change := FieldChange{Field: "code " + path, Before: raw(digest(a)), After: raw(digest(b))}
		if a != nil && b != nil {
			change.Lines = lines(c.before.Blobs[a.Digest], c.after.Blobs[b.Digest])
		}
		t.out = append(t.out, change)
	})
	if len(t.out) == 0 && old.ID == now.ID {
		t.out = unexplained(old, now)
	}
	return t.out
}

// fieldsOf returns the declared fields of an entity and its component.
func fieldsOf(e *entity) map[string]any {
	t, _ := parse(e.Fields).(map[string]any)
	if t == nil {
		t = map[string]any{}
	}
	t["component"] = e.Component
	return t
}

// reads returns the fields in which an entity refers to others, under the names that
// these have in the system after.
func (c *comparer) reads(e *entity) map[string]any {
	t := map[string]any{}
	for _, in := range e.Inputs {
		producer := c.called(e, in.Entity)
		t[in.Field] = strings.Replace(producer, "/", ".", 1) + "." + in.Out
	}
	return t
}

// called returns the name, in the system after, of an entity that e reads.
func (c *comparer) called(e *entity, producer string) string {
	if name, ok := c.renamed[producer]; ok && c.old[e.ID] == e {
		return name
	}
	return producer
}

// unexplained lists how the units of an entity differ although none of its fields does:
// because of other entities, or because another version of tenon compiled it. Differences
// in inputs and outputs are reported elsewhere.
func unexplained(old, now *entity) []FieldChange {
	return slices.DeleteFunc(diffStages(old.units, now.units), func(f FieldChange) bool {
		_, what, _ := strings.Cut(" "+f.Field, "put ")
		return what != "" && !strings.HasSuffix(what, " kind")
	})
}

// definitions lists how units differ whose fields are not recorded.
func (c *comparer) definitions(old, now *entity) []FieldChange {
	t := &treeDiff{}
	if old.Component != "" && now.Component != "" { // unknown for a pool
		t.diff("component", old.Component, now.Component)
	}
	pool := func(sys *ir.System, e *entity) any {
		i := slices.IndexFunc(sys.Pools, func(p ir.Pool) bool { return "resources/"+p.Name == e.ID })
		if i < 0 {
			return map[string]any{}
		}
		m, _ := plain(sys.Pools[i]).(map[string]any)
		delete(m, "name")
		return m
	}
	t.diff("", pool(c.before.System, old), pool(c.after.System, now))
	units := slices.Clone(old.units)
	for i := range units {
		u := &units[i]
		u.Inputs = slices.Clone(u.Inputs)
		for j := range u.Inputs {
			producer, _ := ir.SplitID(u.Inputs[j].Unit)
			u.Inputs[j].Unit = c.called(old, producer) + strings.TrimPrefix(u.Inputs[j].Unit, producer)
		}
	}
	out := append(t.out, diffStages(units, now.units)...)
	each(units, now.units, stageOf, func(stage string, a, b *ir.Unit) {
		if a != nil && b != nil {
			t := &treeDiff{}
			t.diff(stage, howItRuns(a), howItRuns(b))
			out = append(out, t.out...)
		}
	})
	return out
}

// distinct returns units without what only repeats another: of the children of an expansion, it keeps
// the first.
func distinct(units []ir.Unit) []ir.Unit {
	return slices.DeleteFunc(slices.Clone(units), func(u ir.Unit) bool { return u.Parent != "" && u.Child != 1 })
}

func stageOf(u ir.Unit) string { _, s := ir.SplitID(u.ID); return s }

// diffStages compares the definitions of units stage by stage.
func diffStages(old, now []ir.Unit) []FieldChange {
	var out []FieldChange
	each(distinct(old), distinct(now), stageOf, func(stage string, a, b *ir.Unit) {
		switch {
		case a == nil:
			out = append(out, FieldChange{Field: stage, After: raw(b.Component)})
		case b == nil:
			out = append(out, FieldChange{Field: stage, Before: raw(a.Component)})
		default:
			for _, r := range diffUnits(a, b) {
				out = append(out, FieldChange{Field: strings.TrimSpace(stage + " " + r.What), Before: said(r.Before), After: said(r.After)})
			}
		}
	})
	return out
}

// howItRuns returns what a unit has besides its definition.
func howItRuns(u *ir.Unit) any {
	return plain(map[string]any{
		"needs": resources(u.Needs), "pool": u.Pool, "team": u.Team, "priority": u.Priority, "retries": u.Retries,
		"timeout_ns": u.Timeout, "checkpoints": u.Checkpoints, "max_age_ns": u.MaxAge, "network": u.Network, "kubernetes": u.Kubernetes, "replicas": replicas(u),
	})
}

// said returns a value of a reason, which is JSON or plain text.
func said(text string) json.RawMessage {
	switch {
	case text == "":
		return nil
	case json.Valid([]byte(text)):
		return json.RawMessage(text)
	}
	return raw(text)
}

func resources(r ir.Resources) map[string]any {
	t := map[string]any{}
	if r.MilliCPU != 0 {
		t["cpu"] = json.Number(decimal(big.NewRat(r.MilliCPU, 1000)))
	}
	if r.Memory != 0 {
		t["memory"] = ir.FormatSize(r.Memory)
	}
	if r.Disk != 0 {
		t["disk"] = ir.FormatSize(r.Disk)
	}
	if r.PIDs != 0 {
		t["pids"] = r.PIDs
	}
	if r.GPU != 0 {
		gpu := map[string]any{"count": r.GPU}
		if r.GPUMemory != 0 {
			gpu["memory"] = ir.FormatSize(r.GPUMemory)
		}
		if r.GPUModel != "" {
			gpu["model"] = r.GPUModel
		}
		if r.GPUSlice != "" {
			gpu["slice"] = r.GPUSlice
		}
		t["gpu"] = gpu
	}
	if r.Nodes != 0 {
		t["nodes"] = r.Nodes
	}
	return t
}

// decimal formats a number with at most three decimals.
func decimal(r *big.Rat) string {
	return strings.TrimRight(strings.TrimRight(r.FloatString(3), "0"), ".")
}

// libraryFiles is the folder of the library's own code in a unit's folder.
const libraryFiles = "_tenon/"

// userCode returns the user's own files, sorted by path.
func userCode(e *entity) []ir.CodeFile {
	var out []ir.CodeFile
	for _, u := range e.units {
		for _, f := range u.Code.Files {
			if !strings.HasPrefix(f.Path, libraryFiles) && !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	slices.SortFunc(out, func(a, b ir.CodeFile) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// implementation names the library code that a component runs.
func implementation(u *ir.Unit) any {
	if u.Code.Runtime != ir.Python && !u.Code.Runtime.Serves() {
		return short(u.Code.Source)
	}
	own := slices.DeleteFunc(slices.Clone(u.Code.Files), func(f ir.CodeFile) bool { return !strings.HasPrefix(f.Path, libraryFiles) })
	parts := []any{own, u.Code.Python}
	if u.Code.Source != "" {
		parts = append(parts, u.Code.Source)
	}
	return short(ir.Sum([]byte(compact(parts))))
}

// packages compares the Python packages of the units, unless the component changed:
// another component has its own packages.
func (c *comparer) packages(t *treeDiff, old, now *entity) {
	if old.Component != now.Component {
		return
	}
	seen := map[[2]string]bool{}
	each(ownPackages(old, c.old), ownPackages(now, c.new), stageOf, func(_ string, a, b *ir.Unit) {
		if a == nil || b == nil || a.Code.Lock == b.Code.Lock || seen[[2]string{a.Code.Lock, b.Code.Lock}] {
			return
		}
		seen[[2]string{a.Code.Lock, b.Code.Lock}] = true
		before, known := c.before.Blobs[a.Code.Lock]
		after, knownNow := c.after.Blobs[b.Code.Lock]
		if a.Code.Lock != "" && !known || b.Code.Lock != "" && !knownNow {
			t.diff("packages", short(a.Code.Lock), short(b.Code.Lock))
			return
		}
		t.diff("packages", pins(before), pins(after))
	})
}

// ownPackages returns the units of an entity, without those that run on the packages with
// which the model they read was made.
func ownPackages(e *entity, all map[string]*entity) []ir.Unit {
	return slices.DeleteFunc(slices.Clone(e.units), func(u ir.Unit) bool {
		return slices.ContainsFunc(e.Inputs, func(in ir.EntityInput) bool {
			model := all[in.Entity]
			return in.Kind == ir.Model && model != nil && slices.ContainsFunc(model.units, func(of ir.Unit) bool {
				return makesModel(of) && of.Code.Lock == u.Code.Lock
			})
		})
	})
}

// pins returns the versions that a lock pins.
func pins(lock []byte) map[string]any {
	out := map[string]any{}
	for line := range strings.Lines(string(lock)) {
		if name, rest, ok := strings.Cut(line, "=="); ok && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "#") {
			version, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			out[name] = version
		}
	}
	return out
}

// A treeDiff collects the smallest parts that differ.
type treeDiff struct{ out []FieldChange }

func (t *treeDiff) diff(path string, before, after any) {
	if reflect.DeepEqual(before, after) {
		return
	}
	a, wasTree := before.(map[string]any)
	b, isTree := after.(map[string]any)
	if wasTree && isTree || wasTree && after == (any)(absent{}) || isTree && before == (any)(absent{}) {
		for _, k := range slices.Sorted(maps.Keys(merged(a, b))) {
			t.diff(ir.JoinPath(path, k), lookup(a, k), lookup(b, k))
		}
		return
	}
	if a, ok := before.([]any); ok {
		if b, ok := after.([]any); ok && len(a) == len(b) && !scalars(a) {
			for i := range a {
				t.diff(fmt.Sprintf("%s[%d]", path, i), a[i], b[i])
			}
			return
		}
	}
	change := FieldChange{Field: path, Before: raw(before), After: raw(after)}
	if a, ok := before.(string); ok {
		if b, ok := after.(string); ok && (strings.Contains(a, "\n") || strings.Contains(b, "\n")) {
			change.Lines = lines([]byte(a), []byte(b))
		}
	}
	if bytes.Equal(change.Before, change.After) {
		return // equal numbers of different Go types
	}
	t.out = append(t.out, change)
}

// merged returns a map with the keys of both.
func merged(a, b map[string]any) map[string]any {
	m := map[string]any{}
	maps.Copy(m, a)
	maps.Copy(m, b)
	return m
}

func scalars(l []any) bool {
	return !slices.ContainsFunc(l, func(v any) bool {
		switch v.(type) {
		case map[string]any, []any:
			return true
		}
		return false
	})
}

// raw returns v as JSON, or nil if it is absent.
func raw(v any) json.RawMessage {
	if v == (any)(absent{}) {
		return nil
	}
	return json.RawMessage(compact(v))
}

// longestText limits the size of texts that are compared line by line.
const longestText = 256 << 10

// lines returns the unified diff of two texts without its header, or "" if one of them is
// unknown or not text.
func lines(a, b []byte) string {
	if a == nil || b == nil || max(len(a), len(b)) > longestText || bytes.IndexByte(a, 0) >= 0 || bytes.IndexByte(b, 0) >= 0 {
		return ""
	}
	end := func(text []byte) []byte { // ignores a missing newline at the end
		return append(bytes.TrimRight(slices.Clone(text), "\n"), '\n')
	}
	out := string(diff.Diff("a", end(a), "b", end(b)))
	for range 3 { // skip the header
		_, out, _ = strings.Cut(out, "\n")
	}
	return out
}
