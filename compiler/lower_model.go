package compiler

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// lowerModel makes a model's units: split, train, evaluate, gate, register.
// What it asks for in resources is for training and evaluation.
func (c *compilation) lowerModel(e *entity) []ir.Unit {
	in, model := e.input("table"), e.outs["model"]
	if in == nil || model == nil {
		return nil
	}
	id := e.id()
	seed := e.int("seed")
	evaluation, _ := e.fields.get("evaluation").(object)
	gates, _ := evaluation.get("gates").(object)
	part := func(name string) ir.Output {
		o := table(in.out, name)
		return o
	}

	test, _ := e.fields.get("test").(object)
	kind, _ := test.get("kind").(string)
	split := small(c.unit(e, id+"/split", "split."+kind))
	split.Code = c.builtin(split.Component)
	split.Params = params(test.only("fraction", "stratify", "column", "after"))
	split.Seed = seed
	split.Inputs = []ir.Input{bound(*in, "table")}
	split.Outputs = []ir.Output{part("train"), part("test")}
	from := func(u ir.Unit, port string, kind ir.PortKind) ir.Input {
		i := ir.Input{Port: port, Unit: u.ID, From: port, Kind: kind}
		if kind == ir.Table {
			i.Schema, i.Keys, i.Timestamp = in.out.schema, in.out.keys, in.out.timestamp
		}
		return i
	}

	train := c.unit(e, id+"/train", e.component)
	train.Code = c.python(e, e.component, "")
	c.userFiles(e, &train.Code)
	train.Params = params(e.fields.only("estimator", "params", "pipeline", "preprocess", "rounds", "early_stopping", "script", "function", "load", "args"))
	train.Seed = seed
	train.Inputs = []ir.Input{from(split, "train", ir.Table)}
	train.Outputs = []ir.Output{{Port: "model", Kind: ir.Model, Signature: model.signature}}

	task, _ := evaluation.get("task").(string)
	environment := environmentOf(e.component)
	evaluate := c.unit(e, id+"/evaluate", "evaluate."+task)
	evaluate.Code = c.python(e, evaluate.Component, environment)
	evaluate.Params = params(evaluation.only("task", "baseline", "plots"))
	evaluate.Seed = seed
	evaluate.Needs.Nodes = 0 // many train, one judges
	evaluate.Inputs = []ir.Input{
		from(train, "model", ir.Model), from(split, "train", ir.Table), from(split, "test", ir.Table),
	}
	if slices.ContainsFunc(gates, func(f field) bool { o, _ := f.value.(object); return o.has("serving_drop") }) {
		evaluate.Inputs = append(evaluate.Inputs, ir.Input{
			Port: "incumbent", Unit: id + "/register", From: "model", Kind: ir.Model, Incumbent: true,
		})
	}
	evaluate.Outputs = []ir.Output{{Port: "report", Kind: ir.Report}}

	register := small(c.unit(e, id+"/register", "registry.model"))
	register.Kind = ir.Record
	register.Code = ir.Code{Runtime: ir.Builtin, Version: 1}
	register.Inputs = []ir.Input{from(train, "model", ir.Model), from(evaluate, "report", ir.Report)}
	register.Outputs = []ir.Output{{Port: "model", Kind: ir.Model, Signature: model.signature}}
	units := []ir.Unit{split, train, evaluate}
	if len(gates) > 0 {
		gate := small(c.unit(e, id+"/gate", "evaluate.gate"))
		gate.Code = c.builtin(gate.Component)
		gate.Params = params(object{}.with("gates", gates))
		gate.Inputs = []ir.Input{from(evaluate, "report", ir.Report)}
		gate.Outputs = []ir.Output{{Port: "verdict", Kind: ir.File}}
		register.Inputs = append(register.Inputs, from(gate, "verdict", ir.File))
		units = append(units, gate)
	}
	return append(units, register)
}

// buckets of the latency histogram, in seconds, besides the thresholds that
// objectives ask about.
var buckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

func (c *compilation) lowerDeployment(e *entity) ir.Unit {
	u := c.unit(e, e.id(), e.component)
	model := e.input("model")
	trainer := model.out.entity
	// A service runs on the environment that its model was trained in.
	u.Code = c.python(trainer, e.component, environmentOf(trainer.component))
	u.Inputs = []ir.Input{bound(*model, "model")}
	switch e.component {
	case "serve.http":
		u.Kind = ir.Service
		u.Inputs = append(u.Inputs, ir.Input{Port: "report", Unit: trainer.id() + "/evaluate", From: "report", Kind: ir.Report})
		u.Params = params(e.fields.only("max_instances").
			with("system", c.systemName()).
			with("deployment", e.name).
			with("model", trainer.name).
			with("latency_buckets", c.latencyBuckets(e)))
		u.Outputs = []ir.Output{{Port: "endpoint", Kind: ir.EndpointOf}}
		u.Endpoint = &ir.Endpoint{
			Host: e.string("host"), Port: int(e.int("port")), Ready: "/readyz", Replicas: int(e.int("replicas")),
		}
		if o, ok := e.fields.get("replicas").(object); ok {
			u.Endpoint.Replicas = int(whole(o.get("min")))
			u.Endpoint.Scale = &ir.Scale{Max: int(whole(o.get("max"))), CPU: int(whole(o.get("cpu")))}
		}
	case "serve.batch":
		u.Params = params(nil)
		u.Inputs = append(u.Inputs, bound(*e.input("table"), "table"))
		u.Outputs = []ir.Output{table(e.outs["out"], "out")}
		u.Outputs[0].Schema = keysFirst(u.Outputs[0])
	}
	return u
}

// keysFirst orders the columns of predictions as people read them: which row,
// when, and then what is predicted.
func keysFirst(o ir.Output) ir.Schema {
	rank := func(c ir.Column) int {
		if i := slices.Index(o.Keys, c.Name); i >= 0 {
			return i
		}
		if c.Name == o.Timestamp {
			return len(o.Keys)
		}
		return len(o.Keys) + 1
	}
	return slices.SortedStableFunc(slices.Values(o.Schema), func(a, b ir.Column) int { return rank(a) - rank(b) })
}

// latencyBuckets are the histogram's bounds: a threshold that an objective
// asks about has to be one of them, or it cannot be measured.
func (c *compilation) latencyBuckets(e *entity) []any {
	bounds := slices.Clone(buckets)
	for _, id := range c.order {
		slo := c.entities[id]
		if on := slo.input("on"); slo.section == "slos" && on != nil && on.from == e.id() {
			latency, _ := slo.fields.get("latency").(object)
			for _, f := range latency {
				s, _ := f.value.(string)
				bounds = append(bounds, duration(s).Seconds())
			}
		}
	}
	slices.Sort(bounds)
	var out []any
	for _, b := range slices.Compact(bounds) {
		out = append(out, json.Number(strings.TrimSuffix(formatFloat(b), ".0")))
	}
	return out
}
