package planner_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

// What a change of a column does to those who read it, and to those who send it.
func TestAChangeOfAColumnBreaks(t *testing.T) {
	none := ir.Schema(nil)
	col := func(c ir.Column) ir.Schema { c.Name = "x"; return ir.Schema{c} }
	typ := func(t string) ir.Schema { return col(ir.Column{Type: t}) }
	num := func(lo, hi json.Number) ir.Schema { return col(ir.Column{Type: "float64", Min: lo, Max: hi}) }
	values := func(v ...string) ir.Schema { return col(ir.Column{Type: "string", Values: v}) }
	two := func(a, b string) ir.Schema {
		return ir.Schema{{Name: a, Type: "bool"}, {Name: b, Type: "bool"}}
	}
	for name, tt := range map[string]struct {
		before, after ir.Schema
		want          []string
	}{
		"the same":             {typ("bool"), typ("bool"), nil},
		"a new column":         {none, typ("bool"), []string{" new_required, breaks callers"}},
		"one that may be null": {none, col(ir.Column{Type: "bool", Nullable: true}), []string{" new"}},
		"a column less":        {typ("bool"), none, []string{" gone, breaks readers, breaks callers"}},
		"another order":        {two("a", "b"), two("b", "a"), []string{" reordered"}},

		"a wider type":           {typ("int32"), typ("int64"), []string{"type looser, breaks readers"}},
		"a narrower type":        {typ("float64"), typ("float32"), []string{"type tighter, breaks callers"}},
		"a fraction":             {typ("int32"), typ("float64"), []string{"type looser, breaks readers"}},
		"an inexact fraction":    {typ("int64"), typ("float64"), []string{"type other, breaks readers, breaks callers"}},
		"a sign more":            {typ("uint8"), typ("int16"), []string{"type looser, breaks readers"}},
		"a sign less":            {typ("int16"), typ("uint16"), []string{"type other, breaks readers, breaks callers"}},
		"another type":           {typ("string"), typ("int64"), []string{"type other, breaks readers, breaks callers"}},
		"it may be null now":     {typ("bool"), col(ir.Column{Type: "bool", Nullable: true}), []string{"nullable looser, breaks readers"}},
		"it is never null now":   {col(ir.Column{Type: "bool", Nullable: true}), typ("bool"), []string{"nullable tighter, breaks callers"}},
		"it is unique now":       {typ("bool"), col(ir.Column{Type: "bool", Unique: true}), []string{"unique tighter, breaks callers"}},
		"it is no longer unique": {col(ir.Column{Type: "bool", Unique: true}), typ("bool"), []string{"unique looser, breaks readers"}},

		"a lower minimum":   {num("1", ""), num("0.5", ""), []string{"min looser, breaks readers"}},
		"a higher minimum":  {num("1", ""), num("2", ""), []string{"min tighter, breaks callers"}},
		"no minimum":        {num("1", ""), num("", ""), []string{"min looser, breaks readers"}},
		"a minimum":         {num("", ""), num("1", ""), []string{"min tighter, breaks callers"}},
		"a higher maximum":  {num("", "9"), num("", "1e1"), []string{"max looser, breaks readers"}},
		"a lower maximum":   {num("", "-1"), num("", "-2"), []string{"max tighter, breaks callers"}},
		"a maximum":         {num("", ""), num("", "0"), []string{"max tighter, breaks callers"}},
		"the same, spelt 1": {num("1", ""), num("1.0", ""), nil},

		"a value more":   {values("a"), values("b", "a"), []string{"values looser, breaks readers"}},
		"a value less":   {values("a", "b"), values("b"), []string{"values tighter, breaks callers"}},
		"other values":   {values("a"), values("b"), []string{"values other, breaks readers, breaks callers"}},
		"any value":      {values("a"), values(), []string{"values looser, breaks readers"}},
		"a list of them": {values(), values("a"), []string{"values tighter, breaks callers"}},
		"values shifted": {values("a", "b"), values("b", "a"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, planner.DiffColumns(tt.before, tt.after)); d != "" {
				t.Error(d)
			}
		})
	}
}

const (
	oldLockText = "numpy==1.26.4 \\\n    --hash=sha256:1\nscipy==1.0\n"
	newLockText = "numpy==2.4.6 \\\n    --hash=sha256:2\npandas==3.1.1\n"
)

var oldLock, newLock = ir.Sum([]byte(oldLockText)), ir.Sum([]byte(newLockText))

// shop is a system with one of everything, edited by its options.
func shop(edits ...func(*ir.System)) *ir.System {
	orders := ir.Schema{{Name: "id", Type: "int64", Unique: true}, {Name: "amount", Type: "float64", Min: "0"}, {Name: "note", Type: "string", Nullable: true}}
	spend := ir.Schema{{Name: "amount", Type: "float64", Min: "0"}, {Name: "left", Type: "bool"}}
	unit := func(id, component, text string, opts ...func(*ir.Unit)) ir.Unit {
		return job(id, append([]func(*ir.Unit){params(text), func(u *ir.Unit) { u.Component, u.Outputs = component, nil }}, opts...)...)
	}
	gives := func(port string, s ir.Schema) func(*ir.Unit) {
		return func(u *ir.Unit) { u.Outputs = append(u.Outputs, ir.Output{Port: port, Kind: ir.Table, Schema: s}) }
	}
	signed := func(u *ir.Unit) {
		u.Outputs = []ir.Output{{Port: "model", Kind: ir.Model, Signature: &ir.Signature{Task: "classification", Input: spend[:1], Output: spend[1]}}}
	}
	model := func(u *ir.Unit) {
		u.Inputs = append(u.Inputs, ir.Input{Port: "model", Unit: "models/leaver/register", From: "model", Kind: ir.Model})
	}
	s := &ir.System{
		Version: ir.Version, Name: "shop", Target: ir.Target{Name: "local", Executor: "process"},
		Pools: []ir.Pool{{Name: "small", Resources: ir.Resources{MilliCPU: 2000, Memory: 4 << 30}}},
		Units: []ir.Unit{
			unit("sources/orders", "source.csv", `{}`, files("orders.csv"), gives("out", orders)),
			unit("features/spend", "feature.sql", `{"sql":"SELECT amount, amount > 9 AS left\nFROM o"}`, reads("o", "sources/orders.out"), gives("out", spend)),
			unit("models/leaver/split", "split.random", `{"fraction":0.2}`, reads("table", "features/spend.out"), gives("train", spend), gives("test", spend)),
			unit("models/leaver/train", "train.sklearn", `{"params":{"depth":6}}`, reads("table", "models/leaver/split.train"), signed, func(u *ir.Unit) { u.Code.Lock = oldLock }),
			unit("models/leaver/register", "registry.model", `{}`, model, signed, func(u *ir.Unit) {
				u.Kind, u.Inputs[0].Unit = ir.Record, "models/leaver/train"
			}),
			service("deployments/api", params(`{"deployment":"api","max_instances":10,"model":"leaver","system":"shop"}`), model, func(u *ir.Unit) {
				u.Component, u.Endpoint = "serve.http", &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Replicas: 1}
			}),
			record("slos/api", params(`{"content":"groups: 1","objectives":{"availability":0.999}}`), reads("on", "deployments/api.endpoint"), func(u *ir.Unit) { u.Component = "slo.rules" }),
			unit("steps/report", "step.command", `{"title":"Spend"}`, reads("spend", "features/spend.out"), func(u *ir.Unit) {
				u.Code = ir.Code{Runtime: ir.Command, Command: []string{"sh", "report.sh"}, Files: []ir.CodeFile{{Path: "report.sh", Digest: ir.Sum([]byte("old\n"))}}}
				u.Outputs = []ir.Output{{Port: "page", Kind: ir.File}}
			}),
		},
	}
	for _, e := range edits {
		e(s)
	}
	slices.SortFunc(s.Units, func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	for i := range s.Units {
		if err := s.Units[i].Define(); err != nil {
			panic(err)
		}
	}
	return s
}

func edit(id string, f func(*ir.Unit)) func(*ir.System) {
	return func(s *ir.System) { f(s.Unit(id)) }
}

// column edits a column wherever it comes along.
func column(name string, f func(*ir.Column)) func(*ir.System) {
	return func(s *ir.System) {
		change := func(schema ir.Schema) ir.Schema {
			schema = slices.Clone(schema)
			if c := schema.Column(name); c != nil {
				f(c)
			}
			return slices.DeleteFunc(schema, func(c ir.Column) bool { return c.Type == "" })
		}
		for i := range s.Units {
			for j := range s.Units[i].Outputs {
				o := &s.Units[i].Outputs[j]
				o.Schema = change(o.Schema)
				if o.Signature != nil {
					signature := *o.Signature
					signature.Input = change(signature.Input)
					o.Signature = &signature
				}
			}
		}
	}
}

// renames an entity and what reads from it.
func renames(from, to string) func(*ir.System) {
	return func(s *ir.System) {
		for i := range s.Units {
			u := &s.Units[i]
			if u.Entity == from {
				u.Entity, u.ID = to, to+strings.TrimPrefix(u.ID, from)
			}
			for j := range u.Inputs {
				if entity, _ := ir.SplitID(u.Inputs[j].Unit); entity == from {
					u.Inputs[j].Unit = to + strings.TrimPrefix(u.Inputs[j].Unit, from)
				}
			}
		}
	}
}

func drops(id string) func(*ir.System) {
	return func(s *ir.System) {
		s.Units = slices.DeleteFunc(s.Units, func(u ir.Unit) bool { return u.Entity == id })
	}
}

// compared writes a comparison, a change and a consequence a line.
func compared(c *planner.Comparison) []string {
	effect := func(e *planner.Effect) string {
		switch {
		case e == nil:
			return ""
		case !e.Breaking:
			return " (compatible)"
		}
		var who []string
		for _, b := range e.Breaks {
			who = append(who, strings.TrimSpace(b.Who+" "+b.Now))
		}
		return " (breaks " + strings.Join(who, ", ") + ")"
	}
	var out []string
	for _, e := range c.Entities {
		line := string(e.Change) + " " + e.Entity
		if e.Was != "" {
			line += " from " + e.Was
		}
		out = append(out, line+effect(e.Effect))
		for _, f := range e.Fields {
			values := fmt.Sprintf("%s -> %s", f.Before, f.After)
			if f.Lines != "" {
				values = strings.ReplaceAll(f.Lines, "\n", "|")
			}
			out = append(out, digestText.ReplaceAllString(fmt.Sprintf("  %s: %s%s", f.Field, values, effect(f.Effect)), "#"))
		}
	}
	for _, k := range []struct {
		what     string
		affected []planner.Affected
	}{
		{"run", c.Impact.Run}, {"retrain", c.Impact.Retrain}, {"evaluate", c.Impact.Evaluate},
		{"roll out", c.Impact.RollOut}, {"write", c.Impact.Write}, {"remove", c.Impact.Remove},
	} {
		for _, e := range k.affected {
			what := k.what
			if e.Unless {
				what += "?"
			}
			out = append(out, what+" "+e.Entity)
		}
	}
	return out
}

func TestCompare(t *testing.T) {
	type edits = []func(*ir.System)
	with := func(e ...func(*ir.System)) edits { return e }
	for name, tt := range map[string]struct {
		edits edits
		want  []string
	}{
		"nothing":                {nil, nil},
		"a place in the sources": {with(edit("steps/report", func(u *ir.Unit) { u.Pos.Line = 7 })), nil},
		"a parameter": {with(edit("models/leaver/train", params(`{"params":{"depth":8}}`))), []string{
			"changed models/leaver",
			"  params.depth: 6 -> 8",
			"retrain models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"sql": {with(edit("features/spend", params(`{"sql":"SELECT amount, amount > 8 AS left\nFROM o"}`))), []string{
			"changed features/spend",
			"  sql: @@ -1,2 +1,2 @@|-SELECT amount, amount > 9 AS left|+SELECT amount, amount > 8 AS left| FROM o|",
			"run features/spend",
			"run? steps/report",
			"retrain? models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"how it is run": {with(edit("models/leaver/train", func(u *ir.Unit) {
			u.Needs, u.Pool = ir.Resources{MilliCPU: 1500, Memory: 500e6, Disk: 1 << 30, GPU: 1, GPUModel: "H100", GPUMemory: 40e9, GPUSlice: "3g"}, "small"
			u.Team, u.Priority = "lab", 3
			u.Retries, u.Timeout, u.MaxAge = 2, 90*time.Minute, 48*time.Hour
		})), []string{
			"changed models/leaver",
			`  max_age:  -> "2d"`,
			"  needs.cpu:  -> 1.5",
			`  needs.disk:  -> "1GiB"`,
			"  needs.gpu.count:  -> 1",
			`  needs.gpu.memory:  -> "40GB"`,
			`  needs.gpu.model:  -> "H100"`,
			`  needs.gpu.slice:  -> "3g"`,
			`  needs.memory:  -> "500MB"`,
			`  needs.pool:  -> "small"`,
			"  needs.priority:  -> 3",
			`  needs.team:  -> "lab"`,
			"  retries:  -> 2",
			`  timeout:  -> "90m"`,
		}},
		"where it is placed": {with(edit("models/leaver/train", func(u *ir.Unit) {
			u.Needs.Nodes, u.Kubernetes = 4, &ir.Placement{Queue: "research", Labels: map[string]string{"team": "ml"}}
		})), []string{
			"changed models/leaver",
			`  kubernetes.labels.team:  -> "ml"`,
			`  kubernetes.queue:  -> "research"`,
			"  needs.nodes:  -> 4",
		}},
		"where it scales": {with(edit("deployments/api", func(u *ir.Unit) {
			u.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Replicas: 1, Scale: &ir.Scale{Max: 4, CPU: 70}}
		})), []string{
			"changed deployments/api",
			`  replicas: 1 -> {"cpu":70,"max":4,"min":1}`,
			"roll out deployments/api",
		}},
		"where it listens": {with(edit("deployments/api", func(u *ir.Unit) {
			u.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 9090, Replicas: 2}
		})), []string{
			"changed deployments/api",
			"  port: 8080 -> 9090 (breaks callers of deployments/api)",
			"  replicas: 1 -> 2",
			"roll out deployments/api",
			"write slos/api",
		}},
		"how much may be asked at once": {with(edit("deployments/api", params(`{"deployment":"api","max_instances":5,"model":"leaver","system":"shop"}`))), []string{
			"changed deployments/api",
			"  max_instances: 10 -> 5 (breaks callers of deployments/api)",
			"roll out deployments/api",
			"write slos/api",
		}},
		"an objective": {with(edit("slos/api", params(`{"content":"groups: 2","objectives":{"availability":0.9995}}`))), []string{
			"changed slos/api",
			"  availability: 0.999 -> 0.9995",
			"write slos/api",
		}},
		"rules made in another way": {with(edit("slos/api", params(`{"content":"groups: 2","objectives":{"availability":0.999}}`))), []string{
			"changed slos/api",
			`  params.content: "groups: 1" -> "groups: 2"`,
			"write slos/api",
		}},
		"a pool": {with(func(s *ir.System) { s.Pools[0].Memory = 8 << 30 }), []string{
			"changed resources/small",
			`  memory: "4GiB" -> "8GiB"`,
		}},
		"its GPUs and teams": {with(func(s *ir.System) {
			s.Pools[0].GPU, s.Pools[0].Slices, s.Pools[0].Teams = 2, []ir.Slice{{Name: "1g", Count: 2, Memory: 5 << 30}}, []ir.Team{{Name: "lab", GPU: 3, Borrow: true}}
		}), []string{
			"changed resources/small",
			"  gpu.count:  -> 2",
			`  gpu.slices."1g".count:  -> 2`,
			`  gpu.slices."1g".memory:  -> "5GiB"`,
			"  teams.lab.borrow:  -> true",
			"  teams.lab.gpu:  -> 3",
			"  teams.lab.yields:  -> false",
		}},
		"another pool": {with(func(s *ir.System) { s.Pools = []ir.Pool{{Name: "large", Resources: ir.Resources{MilliCPU: 500}}} }), []string{
			"added resources/large",
			"removed resources/small",
		}},
		"the target": {with(func(s *ir.System) {
			s.Target = ir.Target{Name: "cluster", Executor: "kubernetes", Settings: map[string]any{"namespace": "ml"}}
		}), []string{
			"changed system",
			`  target: "local" -> "cluster"`,
			`  targets.cluster.executor: "process" -> "kubernetes"`,
			`  targets.cluster.namespace:  -> "ml"`,
		}},
		"a setting of the target": {with(func(s *ir.System) { s.Target.Settings = map[string]any{"namespace": "ml"} }), []string{
			"changed system",
			`  targets.local.namespace:  -> "ml"`,
		}},
		"code": {with(edit("steps/report", func(u *ir.Unit) {
			u.Code.Files = []ir.CodeFile{{Path: "report.sh", Digest: ir.Sum([]byte("new\n"))}, {Path: "more.sh", Digest: ir.Sum([]byte("more\n"))}}
		})), []string{
			"changed steps/report",
			"  code report.sh: @@ -1,1 +1,1 @@|-old|+new|",
			`  code more.sh:  -> "#"`,
			"run steps/report",
		}},
		"an image": {with(edit("steps/report", func(u *ir.Unit) { u.Code.Image = "acme/tool:1" })), []string{
			"changed steps/report",
			`  image:  -> "acme/tool:1"`,
			"run steps/report",
		}},
		"packages": {with(edit("models/leaver/train", func(u *ir.Unit) { u.Code.Lock = newLock })), []string{
			"changed models/leaver",
			`  packages.numpy: "1.26.4" -> "2.4.6"`,
			`  packages.pandas:  -> "3.1.1"`,
			`  packages.scipy: "1.0" -> `,
			"retrain models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"packages that nobody knows any more": {with(edit("models/leaver/train", func(u *ir.Unit) { u.Code.Lock = ir.Sum(nil) })), []string{
			"changed models/leaver",
			`  packages: "#" -> "#"`,
			"retrain models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"another trainer": {with(edit("models/leaver/train", func(u *ir.Unit) { u.Component, u.Params = "train.xgboost", json.RawMessage(`{"rounds":50}`) })), []string{
			"changed models/leaver",
			`  component: "train.sklearn" -> "train.xgboost"`,
			"  params.depth: 6 -> ",
			"  rounds:  -> 50",
			"retrain models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"another split": {with(edit("models/leaver/split", func(u *ir.Unit) { u.Component, u.Params = "split.by_time", json.RawMessage(`{"column":"at"}`) })), []string{
			"changed models/leaver",
			`  test.column:  -> "at"`,
			"  test.fraction: 0.2 -> ",
			`  test.kind: "random" -> "by_time"`,
			"retrain? models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"a column that nobody reads": {with(column("note", func(c *ir.Column) { c.Type = "" })), []string{
			"changed sources/orders",
			`  schema.note: {"nullable":true,"type":"string"} ->  (compatible)`,
			"run sources/orders",
			"run? features/spend",
			"run? steps/report",
			"retrain? models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"a column that no query named": {with(column("id", func(c *ir.Column) { c.Nullable = true }), edit("features/spend", params(`{"sql":"SELECT id"}`))), []string{
			"changed sources/orders",
			"  schema.id.nullable: false -> true (compatible)",
			"changed features/spend",
			"  sql: @@ -1,2 +1,1 @@|-SELECT amount, amount > 9 AS left|-FROM o|+SELECT id|",
			"run sources/orders",
			"run features/spend",
			"run? steps/report",
			"retrain? models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"what the compiler cannot prove": {with(edit("sources/orders", func(u *ir.Unit) {
			u.Outputs[0].Schema = slices.Clone(u.Outputs[0].Schema)
			u.Outputs[0].Schema[1].Nullable = true
		})), []string{
			"changed sources/orders",
			"  schema.amount.nullable: false -> true (breaks features/spend unchanged)",
			"run sources/orders",
			"run? features/spend",
			"run? steps/report",
			"retrain? models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"what the compiler proves": {with(edit("sources/orders", func(u *ir.Unit) {
			u.Outputs[0].Schema = slices.Clone(u.Outputs[0].Schema)
			u.Outputs[0].Schema[1].Type = "decimal"
		})), []string{
			"changed sources/orders",
			`  schema.amount.type: "float64" -> "decimal" (compatible)`,
			"run sources/orders",
			"run? features/spend",
			"run? steps/report",
			"retrain? models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"what ages": {with(edit("sources/orders", func(u *ir.Unit) { u.MaxAge = time.Hour })), []string{
			"changed sources/orders",
			`  max_age:  -> "1h"`,
		}},
		"a looser bound, all the way": {with(column("amount", func(c *ir.Column) { c.Min = "" })), []string{
			"changed sources/orders",
			"  schema.amount.min: 0 ->  (breaks features/spend changed)",
			"changed features/spend",
			"  schema.amount.min: 0 ->  (breaks models/leaver unchanged, steps/report unchanged)",
			"follows models/leaver",
			"  input.amount.min: 0 ->  (compatible)",
			"follows deployments/api",
			"  request.amount.min: 0 ->  (compatible)",
			"run sources/orders",
			"run features/spend",
			"run? steps/report",
			"retrain models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"a tighter bound, all the way": {with(column("amount", func(c *ir.Column) { c.Min = "1" })), []string{
			"changed sources/orders",
			"  schema.amount.min: 0 -> 1 (compatible)",
			"changed features/spend",
			"  schema.amount.min: 0 -> 1 (compatible)",
			"follows models/leaver",
			"  input.amount.min: 0 -> 1 (compatible)",
			"follows deployments/api",
			"  request.amount.min: 0 -> 1 (breaks callers of deployments/api)",
			"run sources/orders",
			"run features/spend",
			"run? steps/report",
			"retrain models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"a column less, all the way": {with(column("amount", func(c *ir.Column) { c.Type = "" })), []string{
			"changed sources/orders",
			`  schema.amount: {"min":0,"type":"float64"} ->  (breaks features/spend changed)`,
			"changed features/spend",
			`  schema.amount: {"min":0,"type":"float64"} ->  (breaks steps/report unchanged)`,
			"follows models/leaver",
			`  input.amount: {"min":0,"type":"float64"} ->  (compatible)`,
			"follows deployments/api",
			`  request.amount: {"min":0,"type":"float64"} ->  (breaks callers of deployments/api)`,
			"run sources/orders",
			"run features/spend",
			"run? steps/report",
			"retrain models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"the label": {with(edit("models/leaver/train", func(u *ir.Unit) {
			u.Outputs = []ir.Output{{Port: "model", Kind: ir.Model, Signature: &ir.Signature{Task: "regression", Input: shop().Unit("models/leaver/train").Outputs[0].Signature.Input, Output: ir.Column{Name: "left", Type: "float64"}}}}
		}), edit("models/leaver/register", func(u *ir.Unit) {
			u.Outputs = []ir.Output{{Port: "model", Kind: ir.Model, Signature: &ir.Signature{Task: "regression", Input: u.Outputs[0].Signature.Input, Output: ir.Column{Name: "left", Type: "float64"}}}}
		})), []string{
			"follows models/leaver",
			`  output.left.type: "bool" -> "float64" (compatible)`,
			"follows deployments/api",
			`  response.prediction.type: "bool" -> "float64" (breaks callers of deployments/api)`,
			`  response.probability: {"max":1,"min":0,"nullable":true,"type":"float64"} ->  (breaks callers of deployments/api)`,
			"retrain models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"an entity less": {with(drops("steps/report")), []string{
			"removed steps/report (breaks readers of steps/report)",
			"remove steps/report",
		}},
		"what a service is for": {with(drops("slos/api"), drops("deployments/api")), []string{
			"removed deployments/api (breaks callers of deployments/api)",
			"removed slos/api",
			"remove deployments/api",
			"remove slos/api",
		}},
		"an entity more": {with(func(s *ir.System) {
			s.Units = append(s.Units, job("features/more", reads("o", "sources/orders.out")))
		}), []string{
			"added features/more",
			"run features/more",
		}},
		"a source renamed": {with(renames("sources/orders", "sources/bought")), []string{
			"renamed sources/bought from sources/orders",
		}},
		"all renamed": {with(renames("sources/orders", "sources/bought"), renames("features/spend", "features/spent"), renames("models/leaver", "models/goer"), renames("steps/report", "steps/letter")), []string{
			"renamed sources/bought from sources/orders",
			"renamed features/spent from features/spend",
			"renamed models/goer from models/leaver",
			"renamed steps/letter from steps/report",
			"roll out? deployments/api",
			"write models/goer",
			"write? slos/api",
		}},
		"moved and changed": {with(renames("steps/report", "steps/letter"), edit("steps/letter", func(u *ir.Unit) { u.Seed = 3 }), func(s *ir.System) {
			s.Moved = []ir.Move{{From: "steps/report", To: "steps/note"}, {From: "steps/note", To: "steps/letter"}}
		}), []string{
			"renamed steps/letter from steps/report",
			"  seed:  -> 3", "run steps/letter",
		}},
		"renamed and run with more": {with(renames("steps/report", "steps/letter"), edit("steps/letter", func(u *ir.Unit) { u.Retries = 3 })), []string{
			"renamed steps/letter from steps/report",
			"  retries:  -> 3",
		}},
		"another source is read": {with(func(s *ir.System) {
			other := *s.Unit("sources/orders")
			other.ID, other.Entity, other.Files = "sources/other", "sources/other", []string{"other.csv"}
			s.Units = append(s.Units, other)
		}, edit("features/spend", func(u *ir.Unit) { u.Inputs[0].Unit = "sources/other" })), []string{
			"added sources/other",
			"changed features/spend",
			`  in.o: "sources.orders.out" -> "sources.other.out"`,
			"run sources/other",
			"run? features/spend",
			"run? steps/report",
			"retrain? models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			blobs := map[string][]byte{}
			for _, text := range []string{"old\n", "new\n", oldLockText, newLockText} {
				blobs[ir.Sum([]byte(text))] = []byte(text)
			}
			c, err := planner.Compare(t.Context(), planner.Side{System: shop(), Blobs: blobs}, planner.Side{System: shop(tt.edits...), Blobs: blobs}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, compared(c)); d != "" {
				t.Error(d)
			}
			if c.Same() != (tt.want == nil) {
				t.Errorf("same is %t", c.Same())
			}
		})
	}
}

// What a change costs in time is told as far as it is known.
func TestCompareEstimates(t *testing.T) {
	after := shop(edit("features/spend", params(`{"sql":"SELECT 1"}`)))
	for name, tt := range map[string]struct {
		times         map[string][]time.Duration
		time, work    time.Duration
		jobs, unknown int
	}{
		"nothing is known": {nil, 0, 0, 4, 4},
		"most is known": {map[string][]time.Duration{
			"sources/orders": {time.Hour}, "features/spend": {3 * time.Second, time.Second}, "models/leaver/train": {10 * time.Second}, "steps/report": {4 * time.Second},
		}, 12 * time.Second, 16 * time.Second, 4, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := planner.Compare(t.Context(), planner.Side{System: shop()}, planner.Side{System: after}, tt.times)
			if err != nil {
				t.Fatal(err)
			}
			if i := c.Impact; i.Time.Time != tt.time || i.Work.Time != tt.work || i.Jobs != tt.jobs || i.Unknown != tt.unknown {
				t.Errorf("%s of %s for %d jobs, %d unknown", i.Time.Time, i.Work.Time, i.Jobs, i.Unknown)
			}
		})
	}
}

// Whatever differs is told, and nothing else is.
func TestACompareTellsOfEveryUnit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sketches := make([]*sketch, rapid.IntRange(1, 8).Draw(t, "units"))
		for i := range sketches {
			sketches[i] = drawSketch(t, i)
		}
		before := draw(sketches)
		for range rapid.IntRange(0, 3).Draw(t, "edits") {
			i := rapid.IntRange(0, len(sketches)-1).Draw(t, "which")
			sketches[i] = nil
			if rapid.Bool().Draw(t, "keep") {
				sketches[i] = drawSketch(t, i)
			}
		}
		after := draw(sketches)
		compare := func(a, b *ir.System) *planner.Comparison {
			c, err := planner.Compare(t.Context(), planner.Side{System: a}, planner.Side{System: b}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		if c := compare(after, after); !c.Same() {
			t.Fatalf("what is the same differs: %v", compared(c))
		}
		c := compare(before, after)
		told := map[string]planner.EntityChange{}
		for _, e := range c.Entities {
			told[e.Entity], told[e.Was] = e, e
		}
		for _, u := range before.Units {
			now := after.Unit(u.ID)
			_, is := told[u.Entity]
			if same := now != nil && now.Digest == u.Digest && slices.Equal(sources(now), sources(&u)); same == is {
				t.Errorf("%s: the same is %t, told is %t: %v", u.ID, same, is, compared(c))
			}
		}
		for _, u := range after.Units {
			if _, is := told[u.Entity]; before.Unit(u.ID) == nil && !is {
				t.Errorf("%s is new and not told: %v", u.ID, compared(c))
			}
		}
		for _, it := range c.Impact.Items {
			if u := after.Unit(it.Unit); u != nil && !strings.Contains(fmt.Sprint(c.Impact), u.Entity) {
				t.Errorf("%s has no part in the impact", u.ID)
			}
		}
	})
}

func sources(u *ir.Unit) []string {
	var out []string
	for _, in := range u.Inputs {
		out = append(out, in.Port+" "+in.Unit)
	}
	return out
}
