package project

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// reportVersion is the version of the JSON document.
const reportVersion = 1

// A Report is what is known about a unit, or about the units of an entity: what they ran
// on, what they made, and how good it is.
type Report struct {
	Version  int           `json:"report"`
	System   string        `json:"system"`
	Name     string        `json:"name"`               // of the unit or entity
	Revision int           `json:"revision,omitempty"` // what was deployed after it; 0 is what is deployed
	Started  time.Time     `json:"started,omitzero"`   // of the revision
	Commit   string        `json:"commit,omitempty"`
	Units    []*UnitReport `json:"units"`
	Lineage  *Lineage      `json:"lineage"` // of the last unit
}

// At names the revision, or what is deployed.
func (r *Report) At() string {
	if r.Revision == 0 {
		return "deployed"
	}
	return fmt.Sprintf("@%d", r.Revision)
}

// Evaluated returns the first unit with an evaluation, or nil.
func (r *Report) Evaluated() *UnitReport {
	for _, u := range r.Units {
		if u.Evaluation != nil {
			return u
		}
	}
	return nil
}

// A UnitReport is the part of a report about one unit.
type UnitReport struct {
	Unit       string             `json:"unit"`
	Kind       ir.Kind            `json:"kind"`
	Component  string             `json:"component"`
	Declared   string             `json:"declared,omitempty"`
	Definition string             `json:"definition"`       // digest
	Status     *UnitStatus        `json:"status,omitempty"` // of a service that is deployed
	Unstable   *state.Unstable    `json:"unstable,omitempty"`
	Run        *RunFacts          `json:"run,omitempty"`
	Params     []Param            `json:"params,omitempty"`
	Inputs     []InputFacts       `json:"inputs,omitempty"`
	Outputs    []OutputFacts      `json:"outputs,omitempty"`
	Metrics    map[string]float64 `json:"metrics,omitempty"`
	Evaluation *Evaluation        `json:"evaluation,omitempty"`
	Monitor    *MonitorHistory    `json:"monitor,omitempty"` // of a monitor that is deployed
}

// RunFacts are when and where a unit ran.
type RunFacts struct {
	ID       int64         `json:"id"`
	Revision int           `json:"revision"`
	Started  time.Time     `json:"started"`
	Took     time.Duration `json:"took_ns"`
	Usage    state.Usage   `json:"usage,omitzero"`
	Devices  []string      `json:"devices,omitempty"`
}

// A Param is a parameter, named by the field that the user wrote.
type Param struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// InputFacts are what a run read on a port, or from a file.
type InputFacts struct {
	Name   string `json:"name"`             // a port, or a path
	From   string `json:"from,omitempty"`   // the unit that made it
	Digest string `json:"digest,omitempty"` // unless the run was removed
}

// OutputFacts are what a run made on a port.
type OutputFacts struct {
	Port    string        `json:"port"`
	Kind    ir.PortKind   `json:"kind"`
	Digest  string        `json:"digest,omitempty"`
	Size    int64         `json:"size,omitempty"`
	Rows    int64         `json:"rows,omitempty"`
	Keys    []string      `json:"keys,omitempty"`
	Columns []ColumnFacts `json:"columns,omitempty"` // of a table
}

// ColumnFacts are a column as declared, and its nulls.
type ColumnFacts struct {
	ir.Column
	Nulls int64 `json:"nulls"`
}

// Report returns the report on a unit or an entity, as deployed, or as it was deployed after a
// revision such as "@3".
func (w *Workspace) Report(ctx context.Context, name, at string) (*Report, error) {
	snap, err := w.snapshotOf(ctx, at)
	if err != nil {
		return nil, err
	}
	return w.report(ctx, snap, name)
}

// snapshotOf returns what was deployed after a revision such as "@3", or what is deployed if it
// is "".
func (w *Workspace) snapshotOf(ctx context.Context, at string) (*snapshot, error) {
	if at == "" {
		return w.deployed(ctx)
	}
	r, err := w.revisionNamed(ctx, at)
	if err != nil {
		return nil, err
	}
	return w.deployedAt(ctx, r)
}

func (w *Workspace) report(ctx context.Context, snap *snapshot, name string) (*Report, error) {
	full, units, err := snap.named(name)
	if err != nil {
		return nil, err
	}
	r := &Report{Version: reportVersion, System: snap.system, Name: full}
	if v := snap.revision; v != nil {
		r.Revision, r.Started, r.Commit = v.Number, v.Started, v.Commit
	}
	for _, id := range units {
		u, err := w.unitReport(ctx, snap, id)
		if err != nil {
			return nil, err
		}
		r.Units = append(r.Units, u)
	}
	known := func(id string) (*ir.Unit, error) { return snap.units[id], nil }
	if r.Lineage, err = madeFrom(known, snap.runs, units[len(units)-1], map[string]*Lineage{}); err != nil {
		return nil, err
	}
	if snap.revision == nil {
		err = w.addStatus(ctx, snap, r)
	}
	return r, err
}

// shownMeasurements is how many measurements of a monitor a report has at most.
const shownMeasurements = 500

// addStatus adds what is known about units only as long as they are deployed.
func (w *Workspace) addStatus(ctx context.Context, snap *snapshot, r *Report) error {
	unstable, err := w.store.Unstable(ctx)
	if err != nil {
		return err
	}
	var statuses []UnitStatus
	if slices.ContainsFunc(r.Units, func(u *UnitReport) bool { return u.Kind == ir.Service }) { // others need no inspection
		if statuses, err = w.unitStatuses(ctx); err != nil {
			return err
		}
	}
	for _, u := range r.Units {
		if m := snap.units[u.Unit].Monitor; m != nil {
			if u.Monitor, err = w.history(ctx, u.Unit, m, time.Time{}, shownMeasurements); err != nil {
				return err
			}
		}
		if mark, ok := unstable[u.Unit]; ok && mark.Definition == u.Definition {
			u.Unstable = &mark
		}
		for _, s := range statuses {
			if s.Unit == u.Unit && u.Kind == ir.Service {
				u.Status = &s
			}
		}
	}
	return nil
}

func (w *Workspace) unitReport(ctx context.Context, snap *snapshot, id string) (*UnitReport, error) {
	u := snap.units[id]
	r := &UnitReport{
		Unit: id, Kind: u.Kind, Component: u.Component, Declared: u.Pos.String(), Definition: u.Digest,
		Params: paramsOf(u, snap.entity(u.Entity)),
	}
	run, ran := snap.runs[id]
	if ran {
		r.Run = &RunFacts{ID: run.ID, Revision: run.Revision, Started: run.Started, Took: run.Took(), Usage: run.Usage, Devices: run.Devices}
		r.Metrics = run.Metrics
	}
	for _, in := range u.Inputs {
		from := in.Unit
		if in.Incumbent {
			from = "the model in service"
		}
		r.Inputs = append(r.Inputs, InputFacts{Name: in.Port, From: from, Digest: run.Inputs[in.Port]})
	}
	for _, in := range slices.Sorted(maps.Keys(run.Inputs)) {
		if path, ok := strings.CutPrefix(in, "file:"); ok {
			r.Inputs = append(r.Inputs, InputFacts{Name: path, Digest: run.Inputs[in]})
		}
	}
	for _, out := range u.Outputs {
		o := OutputFacts{Port: out.Port, Kind: out.Kind, Keys: out.Keys}
		for _, c := range out.Schema {
			o.Columns = append(o.Columns, ColumnFacts{Column: c})
		}
		if art, ok := run.Outputs[out.Port]; ok {
			o.Digest, o.Size, o.Rows = art.Digest, art.Size, art.Rows
			if err := w.lookInto(ctx, r, &o, art); err != nil {
				return nil, fmt.Errorf("read %s of %s: %w", out.Port, id, err)
			}
		}
		r.Outputs = append(r.Outputs, o)
	}
	return r, nil
}

// lookInto adds what is in an artifact: an evaluation, or the nulls of a table.
func (w *Workspace) lookInto(ctx context.Context, r *UnitReport, o *OutputFacts, art artifact.Artifact) (err error) {
	switch o.Kind {
	case ir.Report:
		r.Evaluation, err = w.evaluation(ctx, art.Digest)
	case ir.Table:
		if err := w.artifacts.Fetch(ctx, art.Digest); err != nil {
			return err
		}
		nulls, err := w.set.SQL.Nulls(ctx, w.artifacts.Path(art.Digest))
		if err != nil {
			return err
		}
		for i := range o.Columns {
			o.Columns[i].Nulls = nulls[o.Columns[i].Name]
		}
	}
	return err
}

// Params returns the unit's parameters.
func (u *Unit) Params() []Param { return paramsOf(u.Unit, u.Entity) }

// paramsOf returns the parameters of a unit, named by the fields of its entity, if known,
// and sorted by name.
func paramsOf(u *ir.Unit, e *ir.Entity) []Param {
	var params map[string]json.RawMessage
	if err := json.Unmarshal(u.Params, &params); err != nil {
		return nil
	}
	var out []Param
	for name, value := range params {
		if e != nil {
			if field := e.Field(u.ID, "params."+name); field != "" {
				name = field
			}
		}
		out = append(out, Param{name, value})
	}
	slices.SortFunc(out, func(a, b Param) int { return strings.Compare(a.Name, b.Name) })
	return out
}
