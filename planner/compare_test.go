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

// How a change of a column affects those who read it and those who send it.
func TestAChangeOfAColumnBreaks(t *testing.T) {
	none := ir.Schema(nil)
	col := func(c ir.Column) ir.Schema { c.Name = "x"; return ir.Schema{c} }
	typ := func(t string) ir.Schema { return col(ir.Column{Type: t}) }
	num := func(lo, hi ir.Bound) ir.Schema { return col(ir.Column{Type: "float64", Min: lo, Max: hi}) }
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
		"another text":   {col(ir.Column{Type: "int64", Unit: "km"}), col(ir.Column{Type: "int64", Unit: "m", Description: "x"}), []string{"unit documented", "description documented"}},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, planner.DiffColumns(tt.before, tt.after)); d != "" {
				t.Error(d)
			}
		})
	}
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
		"a parameter": {with(says("models/leaver", "params.depth", "8"), edit("models/leaver/train", params(`{"params":{"depth":8}}`))), []string{
			"changed models/leaver",
			"  params.depth: 6 -> 8",
			"retrain models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"sql": {with(says("features/spend", "sql", `"SELECT amount, amount > 8 AS left\nFROM o"`), edit("features/spend", params(`{"sql":"SELECT amount, amount > 8 AS left\nFROM o"}`))), []string{
			"changed features/spend",
			"  sql: @@ -1,2 +1,2 @@|-SELECT amount, amount > 9 AS left|+SELECT amount, amount > 8 AS left| FROM o|",
			"run features/spend",
			"run? steps/report",
			"retrain? models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"how it is run": {with(says("models/leaver", "needs", `{"cpu":1.5,"gpu":{"count":1,"memory":"40GB"},"pool":"small"}`),
			says("models/leaver", "timeout", `"90m"`), says("models/leaver", "kubernetes.queue", `"research"`),
			edit("models/leaver/train", func(u *ir.Unit) { u.Needs.MilliCPU, u.Pool, u.Timeout = 1500, "small", 90*time.Minute })), []string{
			"changed models/leaver",
			`  kubernetes.queue:  -> "research"`,
			"  needs.cpu:  -> 1.5",
			"  needs.gpu.count:  -> 1",
			`  needs.gpu.memory:  -> "40GB"`,
			`  needs.pool:  -> "small"`,
			`  timeout:  -> "90m"`,
		}},
		"where it scales": {with(says("deployments/api", "replicas", `{"cpu":70,"max":4,"min":1}`), edit("deployments/api", func(u *ir.Unit) {
			u.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Replicas: 1, Scale: &ir.Scale{Max: 4, CPU: 70}}
		})), []string{
			"changed deployments/api",
			`  replicas: 1 -> {"cpu":70,"max":4,"min":1}`,
			"roll out deployments/api",
		}},
		"where it listens": {with(says("deployments/api", "port", "9090"), says("deployments/api", "replicas", "2"), edit("deployments/api", func(u *ir.Unit) {
			u.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 9090, Replicas: 2}
		})), []string{
			"changed deployments/api",
			"  port: 8080 -> 9090 (breaks callers of deployments/api)",
			"  replicas: 1 -> 2",
			"roll out deployments/api",
			"write slos/api",
		}},
		"how much may be asked at once": {with(says("deployments/api", "max_instances", "5"), edit("deployments/api", params(`{"deployment":"api","max_instances":5,"model":"leaver","system":"shop"}`))), []string{
			"changed deployments/api",
			"  max_instances: 10 -> 5 (breaks callers of deployments/api)",
			"roll out deployments/api",
			"write slos/api",
		}},
		"an objective": {with(says("slos/api", "availability", "0.9995"), edit("slos/api", params(`{"content":"groups: 2","objectives":{"availability":0.9995}}`))), []string{
			"changed slos/api",
			"  availability: 0.999 -> 0.9995",
			"write slos/api",
		}},
		"rules made in another way": {with(edit("slos/api", params(`{"content":"groups: 2","objectives":{"availability":0.999}}`))), []string{
			"changed slos/api",
			`  params.content: "groups: 1" -> "groups: 2"`,
			"write slos/api",
		}},
		"a pool": {with(says("resources/small", "memory", `"8GiB"`), func(s *ir.System) { s.Pools[0].Memory = 8 << 30 }), []string{
			"changed resources/small",
			`  memory: "4GiB" -> "8GiB"`,
		}},
		"its GPUs and teams": {with(says("resources/small", "gpu", `{"count":2,"slices":{"1g":{"count":2}}}`), says("resources/small", "teams.lab.borrow", "true")), []string{
			"changed resources/small",
			"  gpu.count:  -> 2",
			`  gpu.slices."1g".count:  -> 2`,
			"  teams.lab.borrow:  -> true",
		}},
		"another pool": {with(drops("resources/small"), func(s *ir.System) {
			s.Pools = []ir.Pool{{Name: "large", Resources: ir.Resources{MilliCPU: 500}}}
			s.Entities = append(s.Entities, declared("resources/large", "tenon.pool", `{"cpu":0.5}`))
		}), []string{
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
		"an image": {with(says("steps/report", "image", `"acme/tool:1"`), edit("steps/report", func(u *ir.Unit) { u.Code.Image = "acme/tool:1" })), []string{
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
		"another trainer": {with(func(s *ir.System) { s.Entity("models/leaver").Component = "train.xgboost" }, says("models/leaver", "params", ""), says("models/leaver", "rounds", "50"),
			edit("models/leaver/train", func(u *ir.Unit) { u.Component, u.Params = "train.xgboost", json.RawMessage(`{"rounds":50}`) })), []string{
			"changed models/leaver",
			`  component: "train.sklearn" -> "train.xgboost"`,
			"  params.depth: 6 -> ",
			"  rounds:  -> 50",
			"retrain models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"another split": {with(says("models/leaver", "test", `{"column":"at","component":"split.by_time"}`), edit("models/leaver/split", func(u *ir.Unit) { u.Component, u.Params = "split.by_time", json.RawMessage(`{"column":"at"}`) })), []string{
			"changed models/leaver",
			`  test.column:  -> "at"`,
			`  test.component: "split.random" -> "split.by_time"`,
			"  test.fraction: 0.2 -> ",
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
		"a column that no query named": {with(column("id", func(c *ir.Column) { c.Nullable = true }), says("features/spend", "sql", `"SELECT id"`), edit("features/spend", params(`{"sql":"SELECT id"}`))), []string{
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
		"what ages": {with(says("sources/orders", "max_age", `"1h"`), edit("sources/orders", func(u *ir.Unit) { u.MaxAge = time.Hour })), []string{
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
			"roll out deployments/api",
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
			"roll out deployments/api",
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
			"roll out deployments/api",
			"write? slos/api",
		}},
		"what is written about a column": {with(column("amount", func(c *ir.Column) { c.Unit = "EUR" })), []string{
			"changed sources/orders",
			`  schema.amount.unit:  -> "EUR" (compatible)`,
			"changed features/spend",
			`  schema.amount.unit:  -> "EUR" (compatible)`,
			"follows models/leaver",
			`  input.amount.unit:  -> "EUR" (compatible)`,
			"follows deployments/api",
			`  request.amount.unit:  -> "EUR" (compatible)`,
			"roll out deployments/api",
			"write slos/api",
		}},
		"the label": {with(edit("models/leaver/train", func(u *ir.Unit) {
			u.Outputs = []ir.Output{{Port: "model", Kind: ir.Model, Signature: &ir.Signature{Task: "regression", Input: shop().Unit("models/leaver/train").Outputs[0].Signature.Input, Output: ir.Column{Name: "left", Type: "float64"}}}}
		}), edit("models/leaver/register", func(u *ir.Unit) {
			u.Outputs = []ir.Output{{Port: "model", Kind: ir.Model, Signature: &ir.Signature{Task: "regression", Input: u.Outputs[0].Signature.Input, Output: ir.Column{Name: "left", Type: "float64"}}}}
		}), edit("deployments/api", func(u *ir.Unit) { u.Outputs[0].Response = ir.Schema{{Name: "prediction", Type: "float64"}} })), []string{
			"follows models/leaver",
			`  output.left.type: "bool" -> "float64" (compatible)`,
			"follows deployments/api",
			`  response.prediction.type: "bool" -> "float64" (breaks callers of deployments/api)`,
			`  response.probability: {"max":1,"min":0,"nullable":true,"type":"float64"} ->  (breaks callers of deployments/api)`,
			"retrain models/leaver",
			"roll out deployments/api",
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
			s.Entities = append(s.Entities, declared("features/more", "feature.sql", `{}`))
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
			"write models/goer",
		}},
		"moved and changed": {with(renames("steps/report", "steps/letter"), says("steps/letter", "seed", "3"), edit("steps/letter", func(u *ir.Unit) { u.Seed = 3 }), func(s *ir.System) {
			s.Moved = []ir.Move{{From: "steps/report", To: "steps/note"}, {From: "steps/note", To: "steps/letter"}}
		}), []string{
			"renamed steps/letter from steps/report",
			"  seed:  -> 3", "run steps/letter",
		}},
		"renamed and run with more": {with(renames("steps/report", "steps/letter"), says("steps/letter", "retries", "3"), edit("steps/letter", func(u *ir.Unit) { u.Retries = 3 })), []string{
			"renamed steps/letter from steps/report",
			"  retries:  -> 3",
		}},
		"another source is read": {with(func(s *ir.System) {
			other := *s.Unit("sources/orders")
			other.ID, other.Entity, other.Files = "sources/other", "sources/other", []string{"other.csv"}
			s.Units = append(s.Units, other)
			s.Entities = append(s.Entities, declared("sources/other", "source.csv", `{"path":"other.csv"}`))
			s.Entity("features/spend").Inputs[0].Entity = "sources/other"
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

// For a system that was stored without entities, the units are compared.
func TestCompareWithoutEntities(t *testing.T) {
	bare := func(edits ...func(*ir.System)) *ir.System {
		s := shop(edits...)
		s.Entities = nil
		return s
	}
	for name, tt := range map[string]struct {
		before, after *ir.System
		want          []string
	}{
		"nothing":              {bare(), bare(), nil},
		"now there are some":   {bare(), shop(), nil},
		"they are there again": {shop(), bare(), nil},
		"a parameter": {bare(), shop(edit("models/leaver/train", params(`{"params":{"depth":8}}`))), []string{
			"changed models/leaver",
			"  train params.params.depth: 6 -> 8",
			"retrain models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"a column": {bare(), shop(column("note", func(c *ir.Column) { c.Type = "" })), []string{
			"changed sources/orders",
			`  output out column note is gone: "string" -> `,
			"run sources/orders",
			"run? features/spend",
			"run? steps/report",
			"retrain? models/leaver",
			"roll out? deployments/api",
			"write? slos/api",
		}},
		"how it is run": {bare(), bare(edit("models/leaver/train", func(u *ir.Unit) { u.Needs.MilliCPU, u.Retries = 1500, 2 })), []string{
			"changed models/leaver",
			"  train.needs.cpu:  -> 1.5",
			"  train.retries: 0 -> 2",
		}},
		"a pool": {bare(), shop(func(s *ir.System) { s.Pools[0].Memory = 8 << 30 }), []string{
			"changed resources/small",
			"  memory: 4294967296 -> 8589934592",
		}},
		"a source renamed": {bare(), bare(renames("sources/orders", "sources/bought")), []string{
			"renamed sources/bought from sources/orders",
		}},
		"an entity less": {bare(), bare(drops("steps/report")), []string{
			"removed steps/report (breaks readers of steps/report)",
			"remove steps/report",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := planner.Compare(t.Context(), planner.Side{System: tt.before}, planner.Side{System: tt.after}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, compared(c)); d != "" {
				t.Error(d)
			}
		})
	}
}

// A change points to where it is written, as exactly as that is known.
func TestCompareSaysWhere(t *testing.T) {
	placed := func(edits ...func(*ir.System)) planner.Side {
		return planner.Side{System: shop(append(edits, func(s *ir.System) {
			e := s.Entity("models/leaver")
			e.Pos, e.Places = ir.Pos{File: "shop.cue", Line: 30, Col: 2}, ir.PlacesOf(map[string]string{"test": "shop.cue:32:3", "params.depth": "shop.cue:31:3"})
		})...)}
	}
	c, err := planner.Compare(t.Context(), placed(), placed(says("models/leaver", "params", ""), says("models/leaver", "test.fraction", "0.3"), says("models/leaver", "retries", "1")), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{"": c.Entities[0].At}
	for _, f := range c.Entities[0].Fields {
		got[f.Field] = f.At
	}
	want := map[string]string{"": "shop.cue:30:2", "params.depth": "shop.cue:31:3", "retries": "shop.cue:30:2", "test.fraction": "shop.cue:32:3"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// The time that a change costs is reported as far as it is known.
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

// Exactly the differences are reported.
func TestCompareCoversEveryUnit(t *testing.T) {
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
		changed := map[string]planner.EntityChange{}
		for _, e := range c.Entities {
			changed[e.Entity], changed[e.Was] = e, e
		}
		for _, u := range before.Units {
			now := after.Unit(u.ID)
			_, is := changed[u.Entity]
			if same := now != nil && now.Digest == u.Digest && slices.Equal(sources(now), sources(&u)); same == is {
				t.Errorf("%s: the same is %t, changed is %t: %v", u.ID, same, is, compared(c))
			}
		}
		for _, u := range after.Units {
			if _, is := changed[u.Entity]; before.Unit(u.ID) == nil && !is {
				t.Errorf("%s is new and not changed: %v", u.ID, compared(c))
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
