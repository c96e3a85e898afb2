package planner_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

const (
	oldLockText = "numpy==1.26.4 \\\n    --hash=sha256:1\nscipy==1.0\n"
	newLockText = "numpy==2.4.6 \\\n    --hash=sha256:2\npandas==3.1.1\n"
)

var oldLock, newLock = ir.Sum([]byte(oldLockText)), ir.Sum([]byte(newLockText))

// shop returns a system with one of everything, edited by its options.
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
	answers := func(u *ir.Unit) {
		probability := ir.Column{Name: "probability", Type: "float64", Nullable: true, Min: "0", Max: "1"}
		u.Outputs = []ir.Output{{Port: "endpoint", Kind: ir.EndpointOf, Request: spend[:1], Response: ir.Schema{{Name: "prediction", Type: "bool"}, probability}}}
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
			service("deployments/api", params(`{"deployment":"api","max_instances":10,"model":"leaver","system":"shop"}`), model, answers, func(u *ir.Unit) {
				u.Component, u.Endpoint = "serve.http", &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Replicas: 1}
			}),
			record("slos/api", params(`{"content":"groups: 1","objectives":{"availability":0.999}}`), reads("on", "deployments/api.endpoint"), func(u *ir.Unit) { u.Component = "slo.rules" }),
			unit("steps/report", "step.command", `{"title":"Spend"}`, reads("spend", "features/spend.out"), func(u *ir.Unit) {
				u.Code = ir.Code{Runtime: ir.Command, Command: []string{"sh", "report.sh"}, Files: []ir.CodeFile{{Path: "report.sh", Digest: ir.Sum([]byte("old\n"))}}}
				u.Outputs = []ir.Output{{Port: "page", Kind: ir.File}}
			}),
		},
		Entities: []ir.Entity{
			declared("sources/orders", "source.csv", `{"path":"orders.csv"}`, ir.EntityOutput{Port: "out", Unit: "sources/orders", Schema: "schema"}),
			declared("features/spend", "feature.sql", `{"sql":"SELECT amount, amount > 9 AS left\nFROM o"}`,
				ir.EntityOutput{Port: "out", Unit: "features/spend", Schema: "schema"}, ir.EntityInput{Field: "in.o", Entity: "sources/orders", Out: "out", Kind: ir.Table, Columns: []string{"amount"}}),
			declared("models/leaver", "train.sklearn", `{"label":"left","params":{"depth":6},"test":{"component":"split.random","fraction":0.2}}`,
				ir.EntityOutput{Port: "model", Unit: "models/leaver/register"}, ir.EntityInput{Field: "in.table", Entity: "features/spend", Out: "out", Kind: ir.Table, Columns: []string{"left"}}),
			declared("deployments/api", "serve.http", `{"host":"127.0.0.1","max_instances":10,"port":8080,"replicas":1}`,
				ir.EntityOutput{Port: "endpoint", Unit: "deployments/api"}, ir.EntityInput{Field: "in.model", Entity: "models/leaver", Out: "out", Kind: ir.Model},
				ir.Stage{Unit: "deployments/api", Fields: map[string]string{"endpoint.host": "host", "endpoint.port": "port"}}),
			declared("slos/api", "slo.rules", `{"availability":0.999}`, ir.EntityInput{Field: "on", Entity: "deployments/api", Out: "out", Kind: ir.EndpointOf}),
			declared("steps/report", "step.command", `{"command":["sh","report.sh"],"outputs":{"page":{"kind":"file"}},"params":{"title":"Spend"}}`,
				ir.EntityOutput{Port: "page", Unit: "steps/report"}, ir.EntityInput{Field: "in.spend", Entity: "features/spend", Out: "out", Kind: ir.Table}),
			declared("resources/small", "tenon.pool", `{"cpu":2,"memory":"4GiB"}`),
		},
	}
	s.Entity("deployments/api").Limits = []string{"max_instances"}
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

// declared returns an entity with its fields, inputs, outputs and stages.
func declared(id, component, fields string, parts ...any) ir.Entity {
	e := ir.Entity{ID: id, Component: component, Fields: json.RawMessage(fields)}
	for _, p := range parts {
		switch p := p.(type) {
		case ir.EntityInput:
			e.Inputs = append(e.Inputs, p)
		case ir.EntityOutput:
			e.Outputs = append(e.Outputs, p)
		case ir.Stage:
			e.Stages = append(e.Stages, p)
		}
	}
	return e
}

// says sets a field of an entity. Without a value it removes the field.
func says(id, path, value string) func(*ir.System) {
	return func(s *ir.System) {
		e := s.Entity(id)
		fields := map[string]any{}
		if err := json.Unmarshal(e.Fields, &fields); err != nil {
			panic(err)
		}
		names := strings.Split(path, ".")
		at := fields
		for _, n := range names[:len(names)-1] {
			if at[n] == nil {
				at[n] = map[string]any{}
			}
			at = at[n].(map[string]any)
		}
		delete(at, names[len(names)-1])
		if value != "" {
			at[names[len(names)-1]] = json.RawMessage(value)
		}
		e.Fields, _ = json.Marshal(fields)
	}
}

func edit(id string, f func(*ir.Unit)) func(*ir.System) {
	return func(s *ir.System) { f(s.Unit(id)) }
}

// column edits a column wherever it occurs.
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
				o.Schema, o.Request = change(o.Schema), change(o.Request)
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
		for i := range s.Entities {
			e := &s.Entities[i]
			for j := range e.Inputs {
				if e.Inputs[j].Entity == from {
					e.Inputs[j].Entity = to
				}
			}
			if e.ID == from {
				e.ID = to
				for j := range e.Outputs {
					e.Outputs[j].Unit = to + strings.TrimPrefix(e.Outputs[j].Unit, from)
				}
			}
		}
	}
}

func drops(id string) func(*ir.System) {
	return func(s *ir.System) {
		s.Units = slices.DeleteFunc(s.Units, func(u ir.Unit) bool { return u.Entity == id })
		s.Entities = slices.DeleteFunc(s.Entities, func(e ir.Entity) bool { return e.ID == id })
	}
}

// compared formats a comparison, one change or consequence per line.
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
