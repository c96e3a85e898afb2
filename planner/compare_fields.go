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
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// fields are the fields of an entity that differ, but for the columns of what it
// gives.
func (c *comparer) fields(old, now *entity) []FieldChange {
	a, b := c.describe(old), c.describe(now)
	if old.component() != now.component() { // which says it
		delete(a, "implementation")
		delete(b, "implementation")
	}
	t := &treeDiff{}
	t.diff("", a, b)
	t.out = slices.DeleteFunc(t.out, func(f FieldChange) bool { // of units that the entity did not have, or has no more
		return strings.HasPrefix(f.Field, "implementation.") && (f.Before == nil || f.After == nil)
	})
	c.packages(t, old, now)
	each(userCode(old.main), userCode(now.main), func(f ir.CodeFile) string { return f.Path }, func(path string, a, b *ir.CodeFile) {
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
	if len(t.out) == 0 && old.id == now.id {
		t.out = unexplained(old, now)
	}
	return t.out
}

// unexplained tells why units of an entity have another definition where none of
// its fields is another: what follows from other entities, or from another
// tenon. What they read and give is told elsewhere.
func unexplained(old, now *entity) []FieldChange {
	var out []FieldChange
	stage := func(u ir.Unit) string { _, s := ir.SplitID(u.ID); return s }
	each(old.units, now.units, stage, func(stage string, a, b *ir.Unit) {
		switch {
		case a == nil:
			out = append(out, FieldChange{Field: stage, After: raw(b.Component)})
		case b == nil:
			out = append(out, FieldChange{Field: stage, Before: raw(a.Component)})
		case a.Digest != b.Digest:
			for _, r := range diffUnits(a, b) {
				isPort := strings.HasPrefix(r.What, "input ") || strings.HasPrefix(r.What, "output ")
				if !isPort || strings.HasSuffix(r.What, " kind") {
					out = append(out, FieldChange{Field: strings.TrimSpace(stage + " " + r.What), Before: said(r.Before), After: said(r.After)})
				}
			}
		}
	})
	return out
}

// said is a value of a reason, which is JSON or just text.
func said(text string) json.RawMessage {
	switch {
	case text == "":
		return nil
	case json.Valid([]byte(text)):
		return json.RawMessage(text)
	}
	return raw(text)
}

// describe is an entity as its user writes it, as far as it can be told from its
// units: plain data, without the columns of what it gives, and without code.
// What it reads is named as it is called in the system after.
func (c *comparer) describe(e *entity) map[string]any {
	u := e.main
	t := map[string]any{"component": u.Component}
	merge := func(into map[string]any, v any) {
		if m, ok := v.(map[string]any); ok {
			maps.Copy(into, m)
		}
	}
	part := func(name string) map[string]any {
		p, ok := t[name].(map[string]any)
		if !ok {
			p = map[string]any{}
			t[name] = p
		}
		return p
	}
	for _, u := range e.units {
		params, _ := parse(u.Params).(map[string]any)
		_, stage := ir.SplitID(u.ID)
		switch {
		case stage == "split":
			part("test")["kind"] = strings.TrimPrefix(u.Component, "split.")
			merge(part("test"), params)
		case stage == "evaluate" || stage == "gate":
			merge(part("evaluation"), params)
		case stage == "register":
			continue
		case u.Component == "slo.rules":
			merge(t, params["objectives"])
		case u.Component == "step.command":
			t["params"] = params
		case u.Component == "serve.http":
			for _, derived := range []string{"system", "deployment", "model"} {
				delete(params, derived)
			}
			merge(t, params)
		default:
			merge(t, params)
		}
		part("implementation")[u.Component] = implementation(&u)
	}
	if len(u.Files) > 0 {
		t["path"] = strings.Join(u.Files, ", ")
	}
	if u.Code.Image != "" {
		t["image"] = u.Code.Image
	}
	if u.Code.Runtime == ir.Command {
		t["command"] = plain(u.Code.Command)
	}
	if u.Seed != 0 {
		t["seed"] = u.Seed
	}
	for _, s := range u.Secrets {
		secret := map[string]any{"secret": strings.Replace(reference(&s), " ", ": ", 1)}
		if e.section() == "sources" {
			t[strings.ToLower(s.Name)] = secret
		} else {
			part("secrets")[s.Name] = secret
		}
	}
	c.describeInputs(e, t)
	if declares(e) {
		for _, o := range u.Outputs {
			out := t
			if e.section() == "steps" {
				out = map[string]any{"kind": string(o.Kind)}
				part("outputs")[o.Port] = out
			}
			if len(o.Keys) > 0 {
				out["keys"] = plain(o.Keys)
			}
			if o.Timestamp != "" {
				out["timestamp"] = o.Timestamp
			}
		}
	}
	describeRun(u, t)
	return t
}

// declares reports whether the columns of what the entity gives are written by
// the user.
func declares(e *entity) bool {
	return slices.Contains([]string{"sources", "features", "steps"}, e.section())
}

// describeInputs names what an entity reads.
func (c *comparer) describeInputs(e *entity, t map[string]any) {
	from := e.main
	if split := e.stage("split"); split != nil {
		from = split
	}
	in := map[string]any{}
	for _, i := range from.Inputs {
		producer, stage := ir.SplitID(i.Unit)
		if i.Incumbent || stage == "evaluate" { // a service's report of its model
			continue
		}
		if c.old[e.id] == e {
			if name, ok := c.renamed[producer]; ok {
				producer = name
			}
		}
		ref := strings.ReplaceAll(producer, "/", ".") + ".out"
		if strings.HasPrefix(producer, "steps/") {
			ref += "." + i.From
		}
		if e.section() == "slos" {
			t[i.Port] = ref
		} else {
			in[i.Port] = ref
		}
	}
	t["in"] = in
}

// describeRun tells how a unit is run.
func describeRun(u *ir.Unit, t map[string]any) {
	needs := resources(u.Needs)
	if u.Pool != "" {
		needs["pool"] = u.Pool
	}
	if u.Team != "" {
		needs["team"] = u.Team
	}
	if u.Priority != 0 {
		needs["priority"] = u.Priority
	}
	t["needs"] = needs
	if u.Retries != 0 {
		t["retries"] = u.Retries
	}
	if u.Timeout != 0 {
		t["timeout"] = duration(u.Timeout)
	}
	if u.MaxAge != 0 {
		t["max_age"] = duration(u.MaxAge)
	}
	if e := u.Endpoint; e != nil {
		t["host"], t["port"], t["replicas"] = e.Host, e.Port, e.Replicas
		if e.Scale != nil {
			t["replicas"] = map[string]any{"min": e.Replicas, "max": e.Scale.Max, "cpu": e.Scale.CPU}
		}
	}
	if u.Kubernetes != nil {
		t["kubernetes"] = plain(u.Kubernetes)
	}
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

// poolFields tells what a pool has, as it is declared.
func poolFields(p *ir.Pool) map[string]any {
	t := resources(p.Resources)
	if gpu, ok := t["gpu"].(map[string]any); ok {
		if p.Shares > 0 {
			gpu["shares"] = p.Shares
		}
		cuts := map[string]any{}
		for _, s := range p.Slices {
			cuts[s.Name] = map[string]any{"count": s.Count, "memory": ir.FormatSize(s.Memory)}
		}
		if len(cuts) > 0 {
			gpu["slices"] = cuts
		}
	}
	teams := map[string]any{}
	for _, m := range p.Teams {
		teams[m.Name] = map[string]any{"gpu": m.GPU, "borrow": m.Borrow, "yields": m.Yields}
	}
	if len(teams) > 0 {
		t["teams"] = teams
	}
	return t
}

// decimal writes a number of at most three decimals.
func decimal(r *big.Rat) string {
	return strings.TrimRight(strings.TrimRight(r.FloatString(3), "0"), ".")
}

// duration writes a time as in the language, in the largest unit that is exact.
func duration(d time.Duration) string {
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if d%u.unit == 0 {
			return fmt.Sprintf("%d%s", d/u.unit, u.name)
		}
	}
	return fmt.Sprintf("%dms", d.Milliseconds())
}

// libraryFiles are where the library's own code lies in a unit's folder.
const libraryFiles = "_tenon/"

// userCode is the user's own files.
func userCode(u *ir.Unit) []ir.CodeFile {
	return slices.DeleteFunc(slices.Clone(u.Code.Files), func(f ir.CodeFile) bool { return strings.HasPrefix(f.Path, libraryFiles) })
}

// implementation names the code of the library that a component runs.
func implementation(u *ir.Unit) any {
	if u.Code.Runtime != ir.Python {
		return short(u.Code.Source)
	}
	own := slices.DeleteFunc(slices.Clone(u.Code.Files), func(f ir.CodeFile) bool { return !strings.HasPrefix(f.Path, libraryFiles) })
	return short(ir.Sum([]byte(compact([]any{own, u.Code.Python}))))
}

// packages tells how the Python packages of an entity differ. A service runs on
// those that its model was trained on, and another component on its own.
func (c *comparer) packages(t *treeDiff, old, now *entity) {
	before, after := old.main.Code.Lock, now.main.Code.Lock
	if before == after || now.section() == "deployments" || old.component() != now.component() {
		return
	}
	_, known := c.before.Blobs[before]
	_, knownNow := c.after.Blobs[after]
	if before != "" && !known || after != "" && !knownNow {
		t.diff("packages", short(before), short(after))
		return
	}
	t.diff("packages", pins(c.before.Blobs[before]), pins(c.after.Blobs[after]))
}

// pins are the versions that a lock holds.
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
		keys := maps.Clone(a)
		if keys == nil {
			keys = map[string]any{}
		}
		maps.Copy(keys, b)
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			t.diff(strings.TrimPrefix(join(path, k), "."), lookup(a, k), lookup(b, k))
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
		return // numbers of another Go type
	}
	t.out = append(t.out, change)
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

// raw is v as JSON; nil if it is absent.
func raw(v any) json.RawMessage {
	if v == (any)(absent{}) {
		return nil
	}
	return json.RawMessage(compact(v))
}

// longestText is up to where texts are compared line by line.
const longestText = 256 << 10

// lines is the unified difference of two texts, without its header; "" if one of
// them is not known, or no text.
func lines(a, b []byte) string {
	if a == nil || b == nil || max(len(a), len(b)) > longestText || bytes.IndexByte(a, 0) >= 0 || bytes.IndexByte(b, 0) >= 0 {
		return ""
	}
	end := func(text []byte) []byte { // so that nothing is said of a last line's end
		return append(bytes.TrimRight(slices.Clone(text), "\n"), '\n')
	}
	out := string(diff.Diff("a", end(a), "b", end(b)))
	for range 3 { // the names, three times
		_, out, _ = strings.Cut(out, "\n")
	}
	return out
}
