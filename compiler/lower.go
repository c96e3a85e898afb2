package compiler

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/builtin"
)

// lowerAll makes the units of every entity that is sound.
func (c *compilation) lowerAll() []ir.Unit {
	var units []ir.Unit
	for _, id := range c.order {
		e := c.entities[id]
		if c.broken[id] {
			continue
		}
		switch e.section {
		case "sources":
			units = append(units, c.lowerSource(e))
		case "features":
			units = append(units, c.lowerFeature(e))
		case "models":
			units = append(units, c.lowerModel(e)...)
		case "deployments":
			units = append(units, c.lowerDeployment(e))
		case "slos":
			units = append(units, c.lowerObjectives(e))
		case "steps":
			units = append(units, c.lowerStep(e))
		}
	}
	return units
}

// unit is what the units of an entity share: how it is run.
func (c *compilation) unit(e *entity, id, component string) ir.Unit {
	at := c.sys.Label("", e.path()...)
	u := ir.Unit{
		ID: id, Entity: e.id(), Kind: ir.Job, Component: component,
		Retries: int(e.int("retries")),
		Timeout: duration(e.string("timeout")),
		Network: networkOf(e), Kubernetes: placementOf(e),
		Pos: ir.Pos{File: at.File, Line: at.Line, Col: at.Col},
	}
	setNeeds(&u, e)
	return u
}

func networkOf(e *entity) ir.Network {
	switch e.fields.get("network") {
	case true:
		return ir.NetworkOpen
	case false:
		return ir.NetworkNone
	}
	return ir.NetworkUnsaid
}

// placementOf is what an entity says of its place in a cluster, nil if nothing.
func placementOf(e *entity) *ir.Placement {
	o, _ := e.fields.get("kubernetes").(object)
	if len(o) == 0 {
		return nil
	}
	var p ir.Placement
	if err := json.Unmarshal(o.json(), &p); err != nil {
		panic(fmt.Sprintf("compiler: a placement is not what CUE says it is: %v", err))
	}
	return &p
}

// small takes from a unit what its entity says of how it is run: that is for
// the units that do the work, not for the light ones beside them.
func small(u ir.Unit) ir.Unit {
	u.Needs, u.Team, u.Retries, u.Timeout, u.Kubernetes = ir.Resources{}, "", 0, 0, nil
	return u
}

func (c *compilation) builtin(component string) ir.Code {
	version := builtin.Version(component)
	if version == 0 {
		c.internal(fmt.Errorf("there is no component %q", component))
	}
	return ir.Code{Runtime: ir.Builtin, Version: version}
}

// inputs binds all ports of an entity.
func inputs(e *entity) []ir.Input {
	var in []ir.Input
	for _, p := range e.ports {
		in = append(in, bound(p, p.name))
	}
	return in
}

// bound binds one port to the unit that produces it.
func bound(p port, as string) ir.Input {
	unit := p.from
	if p.out.kind == ir.Model {
		unit += "/register"
	}
	return ir.Input{
		Port: as, Unit: unit, From: p.port, Kind: p.out.kind,
		Schema: p.out.schema, Keys: p.out.keys, Timestamp: p.out.timestamp,
	}
}

func table(o *out, port string) ir.Output {
	return ir.Output{Port: port, Kind: ir.Table, Schema: o.schema, Keys: o.keys, Timestamp: o.timestamp}
}

var csvOptions = []string{"delimiter", "header", "quote", "nulls", "decimal", "encoding", "timestamp_format", "date_format"}

func (c *compilation) lowerSource(e *entity) ir.Unit {
	u := c.unit(e, e.id(), e.component)
	u.Outputs = []ir.Output{table(e.outs["out"], "out")}
	u.MaxAge = duration(e.string("max_age"))
	switch e.component {
	case "source.csv":
		u.Code, u.Params = c.builtin(e.component), params(e.fields.only(csvOptions...))
		u.Files = []string{filepath.ToSlash(e.string("path"))}
	case "source.parquet", "source.json":
		u.Code, u.Params = c.builtin(e.component), params(nil)
		u.Files = []string{filepath.ToSlash(e.string("path"))}
	case "source.http":
		u.Code, u.Params = c.builtin(e.component), params(e.fields.only("url", "sha256", "format", "csv"))
		u.Network = remote(u.Network)
	case "source.postgres":
		u.Code, u.Params = c.python(e, e.component, ""), params(e.fields.only("query"))
		u.Secrets = []ir.Secret{secret("DSN", e.fields.get("dsn"))}
		u.Network = remote(u.Network)
	case "source.python":
		u.Code, u.Params = c.python(e, e.component, ""), params(e.fields.only("script", "function", "args"))
		c.userFiles(e, &u.Code)
	}
	return u
}

// remote is the network of a component that fetches from elsewhere.
func remote(n ir.Network) ir.Network { return cmp.Or(n, ir.NetworkOpen) }

func secret(name string, ref any) ir.Secret {
	o, _ := ref.(object)
	s, _ := o.get("secret").(object)
	out := ir.Secret{Name: name}
	out.Env, _ = s.get("env").(string)
	out.File, _ = s.get("file").(string)
	if k, ok := s.get("kubernetes").(object); ok {
		out.Kubernetes = &ir.SecretKey{}
		out.Kubernetes.Name, _ = k.get("name").(string)
		out.Kubernetes.Key, _ = k.get("key").(string)
	}
	if as, _ := s.get("as").(string); as == string(ir.AsFile) {
		out.As = ir.AsFile
	}
	return out
}

func (c *compilation) lowerFeature(e *entity) ir.Unit {
	u := c.unit(e, e.id(), e.component)
	u.Inputs, u.Outputs = inputs(e), []ir.Output{table(e.outs["out"], "out")}
	switch e.component {
	case "feature.sql":
		u.Code, u.Params = c.builtin(e.component), params(e.fields.only("sql"))
	case "feature.python":
		u.Code, u.Params = c.python(e, e.component, ""), params(e.fields.only("script", "function", "args"))
		c.userFiles(e, &u.Code)
	}
	return u
}

func (c *compilation) lowerStep(e *entity) ir.Unit {
	u := c.unit(e, e.id(), e.component)
	u.Inputs = inputs(e)
	u.Seed = e.int("seed")
	outputs, _ := e.fields.get("outputs").(object)
	for _, f := range outputs {
		if o := e.outs[f.name]; o != nil && o.kind == ir.Table {
			u.Outputs = append(u.Outputs, table(o, f.name))
		} else {
			u.Outputs = append(u.Outputs, ir.Output{Port: f.name, Kind: ir.File})
		}
	}
	secrets, _ := e.fields.get("secrets").(object)
	for _, f := range secrets {
		u.Secrets = append(u.Secrets, secret(f.name, f.value))
	}
	switch e.component {
	case "step.command":
		p, _ := e.fields.get("params").(object)
		u.Params = params(p)
		u.Code = ir.Code{Runtime: ir.Command, Image: e.string("image"), Command: e.strings("command")}
		if len(e.strings("packages")) > 0 {
			u.Code.Lock, u.Code.Python = c.lock(e, "base"), stdlib.PythonVersion
		}
	case "step.python":
		u.Params = params(e.fields.only("script", "function", "args"))
		u.Code = c.python(e, e.component, "")
	}
	c.userFiles(e, &u.Code)
	return u
}
