package compiler

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
)

// lowerAll makes the units of every sound entity.
func (c *lowerer) lowerAll() []ir.Unit {
	var units []ir.Unit
	for _, id := range c.order {
		if !c.broken[id] {
			units = append(units, c.lower(c.entities[id])...)
		}
	}
	return units
}

// lower makes the units of an entity as its component states.
func (c *lowerer) lower(e *entity) []ir.Unit {
	var units []ir.Unit
	for i := range e.component.stages {
		s := &e.component.stages[i]
		if s.If != "" && !present(e.fields, s.If) {
			continue
		}
		w, err := c.work(e, s)
		if err != nil {
			c.componentFault(e, err)
			return nil
		}
		if s.Expands != nil { // after the stage that it runs
			units = c.expand(e, s, w, units)
			continue
		}
		units = append(units, c.lowerStage(e, s, w))
	}
	return units
}

// work is what a stage runs: the code of its own component, or of a part of the entity.
type work struct {
	component string
	of        *component // nil for a record that no component writes
	run       *stage
	fields    object // the parameters are fields of these
}

func (c *program) work(e *entity, s *stage) (work, error) {
	w := work{component: e.component.name, of: e.component, run: s, fields: e.fields}
	switch {
	case s.As != "":
		return work{component: s.As, run: s}, nil
	case s.Part != "":
		w.fields, _ = e.fields.at(s.Part).(object)
		w.component, _ = w.fields.get("component").(string)
	case s.Use != "":
		w.component = s.Use
		if s.Of != "" {
			w.fields, _ = e.fields.at(s.Of).(object)
		}
	default:
		return w, nil
	}
	var err error
	var none *noComponentError
	if w.of, err = c.component(w.component); errors.As(err, &none) {
		err = &componentError{of: e.component, field: []string{"stages", s.name, "use"}, message: fmt.Sprintf("uses a component %q that does not exist", w.component)}
	}
	if err != nil {
		return w, err
	}
	if w.run = w.of.stage(""); w.run == nil {
		return w, &componentError{of: w.of, message: "has stages, but only a single unit can be part of a model"}
	}
	return w, nil
}

func (c *lowerer) lowerStage(e *entity, s *stage, w work) ir.Unit {
	u := c.unit(e, s, w.component)
	r := w.run
	u.Code = c.code(e, s, w)
	for _, f := range r.Code {
		c.userFiles(e, &u.Code, f)
	}
	if r.Request && e.contract != nil {
		c.addCalled(e.contract, &u.Code)
	}
	sortCode(&u.Code)
	c.checkPython(e, w, &u.Code)
	c.checkMade(e, s, w, c.blobs[u.Code.Lock])
	c.checkONNX(e, w, &u.Code)
	for _, f := range r.Files {
		u.Files = append(u.Files, filepath.ToSlash(stringOf(w.fields.at(f))))
	}
	u.Params = c.params(e, w, u.Code.Lock)
	u.Looks = s.Looks
	if s.Seed != "" {
		u.Seed = whole(e.fields.at(s.Seed))
	}
	if s.Checkpoints != "" && present(e.fields, s.Checkpoints) {
		u.Checkpoints = int(whole(e.fields.at(s.Checkpoints + ".keep")))
	}
	u.Secrets = secretsOf(w.fields, r.Secrets)
	u.Network = cmp.Or(u.Network, ir.Network(r.Network))
	if r.Request && e.contract.reachesStores() || r.reaches(e) {
		u.Network = cmp.Or(u.Network, ir.NetworkOpen)
	}
	u.Inputs = c.stageInputs(e, s)
	u.Outputs = stageOutputs(e, s)
	c.lowerReferences(e, &u)
	u.Keeps = s.keeps(e)
	u.Ships = s.shipments(e, u.Keeps)
	for _, f := range s.MachineFiles {
		if path, ok := e.fields.at(f).(string); ok && strings.HasPrefix(path, "/") {
			u.MachineFiles = append(u.MachineFiles, f)
		}
	}
	u.Release = c.releaseOf(e, s, &u)
	if s.name == "" { // other stages make what it compares with
		u.Monitor = e.monitor
	}
	if u.Loop = e.loop; u.Loop != nil {
		for i := range u.Inputs {
			u.Inputs[i].Advisory = true // what a loop reads is no reason to record it again
		}
	}
	if s.Endpoint != nil {
		u.Endpoint = endpointOf(e.fields, s.Endpoint)
		if k := e.component.Edge; k != nil {
			if k.fetches(e.fields) {
				u.Network = cmp.Or(u.Network, ir.NetworkOpen)
			}
			if limits, _ := e.fields.at(k.Limits).(object); len(limits.only("rate", "concurrency", "callers")) > 0 {
				u.Endpoint.Counts = k.Limits
			}
		}
	}
	return u
}

// unit returns what the units of an entity share: how they run.
func (c *lowerer) unit(e *entity, s *stage, component string) ir.Unit {
	at := c.sys.Label("", e.path()...)
	u := ir.Unit{
		ID: e.id(), Entity: e.id(), Kind: ir.Kind(s.Kind), Component: component,
		Network: networkOf(e),
		Pos:     ir.Pos{File: at.File, Line: at.Line, Col: at.Col},
	}
	if s.name != "" {
		u.ID += "/" + s.name
	}
	if s.name == "" || len(e.component.stages) == 1 {
		u.MaxAge = duration.Parse(e.string("max_age"))
	}
	setNeeds(&u, e)
	if s.Light {
		u.Needs, u.Team = ir.Resources{}, ""
		return u
	}
	u.Retries, u.Timeout, u.Kubernetes = int(e.int("retries")), duration.Parse(e.string("timeout")), placementOf(e)
	if s.Alone {
		u.Needs.Nodes = 0
	}
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

// placementOf returns an entity's placement in a cluster, or nil.
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

// params returns the parameters of a unit, a JSON object. lock is that of its environment.
func (c *lowerer) params(e *entity, w work, lock string) json.RawMessage {
	if w.run.Document != "" {
		o, _ := w.fields.at(w.run.Document).(object)
		return o.json()
	}
	var o object
	for _, p := range w.run.Params {
		if v, ok := w.fields.find(p); ok {
			o = o.with(lastOf(p), v)
		}
	}
	for name, of := range w.run.Names {
		if found := c.nameOf(e, of); found != "" {
			o = o.with(name, found)
		}
	}
	if w.run.Computed {
		more, err := c.compute(e, w)
		if err != nil {
			c.internal(fmt.Errorf("parameters of %s: %w", e, err))
		}
		o = append(o, more...)
	}
	if w.run.Request && e.contract != nil {
		request, err := e.contract.param(w.run.lookupsPort(), w.run.takesRow(), storeSecrets(w.fields, w.run.Secrets), c.callDocs(e.contract, lock))
		if err != nil {
			c.internal(fmt.Errorf("parameters of %s: %w", e, err))
		}
		o = o.with("request", request)
	}
	if c.replays(e, w) && e.contract != nil {
		queries, err := c.queriesParam(e, w.run.queriesPort())
		if err != nil {
			c.internal(fmt.Errorf("parameters of %s: %w", e, err))
		}
		o = o.with("queries", queries)
	}
	// A release shows rows that two versions answer differently.
	shows := len(w.run.Keeps) == 0 || w.run.keeps(e) != "" || w.run.Release != "" && e.fields.at(w.run.Release) != nil
	if w.run.Private && len(e.private) > 0 && shows {
		private := make([]any, len(e.private))
		for i, name := range e.private {
			private[i] = name
		}
		o = o.with("private", private)
	}
	if len(o) == 0 && w.run.Runtime == "" {
		return nil
	}
	return o.json()
}

// nameOf returns the value of a parameter that holds a name, or "" if there is none.
func (c *lowerer) nameOf(e *entity, of string) string {
	switch of {
	case "system":
		return c.name
	case "env":
		return c.sys.Environment
	case "entity":
		return e.name
	case "split":
		return c.groupedBy(e)
	}
	port := lastOf(of)
	if p := e.input(port); p != nil {
		return p.out.entity.name
	}
	c.componentFault(e, &componentError{of: e.component, message: fmt.Sprintf("refers to the name of the input %q, which %s does not have", port, e)})
	return ""
}

// groupedBy returns the column whose groups the split of a model keeps together, or "".
func (c *lowerer) groupedBy(e *entity) string {
	split, _ := e.fields.at("test").(object)
	component, err := c.component(stringOf(split.get("component")))
	if err != nil || component.Divides == nil || component.Divides.By != "groups" {
		return "" // a component that does not exist is refused elsewhere
	}
	return stringOf(split.get(component.Divides.Column))
}

func secretsOf(o object, fields secretFields) []ir.Secret {
	var out []ir.Secret
	if fields.field != "" {
		all, _ := o.at(fields.field).(object)
		for _, f := range all {
			out = append(out, secret(f.name, f.value))
		}
	}
	for name, field := range fields.byName {
		if ref, ok := o.at(field).(object); !strings.Contains(field, "*") && ok {
			out = append(out, secret(name, ref))
		}
	}
	for _, s := range numberedSecrets(o, fields) {
		out = append(out, secret(s.variable, s.ref))
	}
	return out
}

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

func endpointOf(o object, f *endpointFields) *ir.Endpoint {
	end := &ir.Endpoint{Host: stringOf(o.at(f.Host)), Port: int(whole(o.at(f.Port))), Ready: f.Ready, Replicas: int(whole(o.at(f.Replicas)))}
	end.TLS = f.TLS != "" && present(o, f.TLS)
	if f.Management != "" && present(o, f.Management) {
		end.Management = &ir.Listen{Host: stringOf(o.at(f.Management + ".host")), Port: int(whole(o.at(f.Management + ".port")))}
	}
	if scale, ok := o.at(f.Replicas).(object); ok {
		end.Replicas, end.Scale = int(whole(scale.get("min"))), scaleOf(scale)
	}
	return end
}

// What the replicas of a service follow that says nothing else.
const (
	defaultInFlight = 8
	defaultIdle     = 5 * time.Minute
)

func scaleOf(o object) *ir.Scale {
	s := &ir.Scale{Max: int(whole(o.get("max"))), CPU: int(whole(o.get("cpu"))), InFlight: int(whole(o.get("in_flight")))}
	if s.InFlight == 0 && whole(o.get("min")) == 0 {
		s.InFlight = defaultInFlight
	}
	if s.Idle = duration.Parse(stringOf(o.get("idle"))); s.Idle == 0 && s.InFlight > 0 {
		s.Idle = defaultIdle
	}
	return s
}

// stageInputs binds the inputs of a stage.
func (c *lowerer) stageInputs(e *entity, s *stage) []ir.Input {
	var in []ir.Input
	if s.inputs == nil {
		for _, p := range e.ports {
			in = append(in, bound(p, p.name))
		}
		return in
	}
	for _, i := range s.inputs {
		if i.If != "" && !present(e.fields, i.If) {
			continue
		}
		stage, port := cutPath(i.From)
		switch {
		case stage == "in":
			if p := e.input(port); p != nil {
				input := bound(*p, i.port)
				input.Advisory = i.Advisory
				in = append(in, input)
			}
		case stage == "request":
			switch {
			case e.contract == nil:
			case port == "queries":
				in = append(in, c.queryInputs(e, i.port)...)
			default:
				in = append(in, e.contract.inputs(port, i)...)
			}
		case i.Model != "":
			if p := e.input(i.Model); p != nil && p.kind == ir.Table {
				in = append(in, bound(*p, i.port))
			} else if p != nil {
				in = append(in, ir.Input{Port: i.port, Unit: p.from + "/" + stage, From: port, Kind: ir.PortKind(i.Kind), Advisory: i.Advisory})
			}
		default:
			from := e.id() + "/" + stage
			input := ir.Input{Port: i.port, Unit: from, From: port, Incumbent: i.Incumbent, Advisory: i.Advisory}
			if st := e.component.stage(stage); st != nil {
				if o := outputOf(e, st, port); o != nil {
					input.Kind, input.Schema, input.Keys, input.Timestamp = o.Kind, o.Schema, o.Keys, o.Timestamp
				}
			}
			in = append(in, input)
		}
	}
	return in
}

// bound binds one port to the unit that produces it.
func bound(p port, as string) ir.Input {
	return ir.Input{
		Port: as, Unit: p.out.entity.component.unit(p.from, p.port), From: p.port, Kind: p.out.kind,
		Schema: p.out.schema, Keys: p.out.keys, Timestamp: p.out.timestamp,
	}
}

func stageOutputs(e *entity, s *stage) []ir.Output {
	var outs []ir.Output
	if s.outputs != nil {
		for _, o := range s.outputs {
			outs = append(outs, *outputOf(e, s, o.port))
		}
		return outs
	}
	for _, o := range e.outs {
		outs = append(outs, outputFor(o, o.port))
	}
	slices.SortStableFunc(outs, func(a, b ir.Output) int { return cmp.Compare(e.outOrder(a.Port), e.outOrder(b.Port)) })
	return outs
}

// outputOf returns an output of a stage, or nil.
func outputOf(e *entity, s *stage, port string) *ir.Output {
	for _, o := range s.outputs {
		if o.port != port {
			continue
		}
		out := ir.Output{Port: port, Kind: ir.PortKind(o.Kind)}
		if o.Like != "" {
			if in := e.input(lastOf(o.Like)); in != nil {
				out = outputFor(in.out, port)
			}
		} else if from := e.outs[o.Out]; from != nil {
			out = outputFor(from, port)
		}
		if o.KeysFirst {
			out.Schema = keysFirst(out)
		}
		return &out
	}
	return nil
}

func outputFor(o *out, port string) ir.Output {
	switch o.kind {
	case ir.Table:
		return ir.Output{Port: port, Kind: ir.Table, Schema: o.schema, Keys: o.keys, Timestamp: o.timestamp}
	case ir.Model:
		return ir.Output{Port: port, Kind: ir.Model, Signature: o.signature}
	}
	return ir.Output{Port: port, Kind: o.kind, Request: o.request, Response: o.response}
}

// keysFirst orders the columns of predictions for readers: first the keys of the row,
// then the time, then the prediction.
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
