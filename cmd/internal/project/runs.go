package project

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// A TrackedRun is a recorded run of a job, with what it was given and what came out.
type TrackedRun struct {
	ID       int64         `json:"run"`
	Unit     string        `json:"unit"`
	Entity   string        `json:"entity"`
	Env      string        `json:"env,omitempty"`
	Revision int           `json:"revision"` // of the environment
	Outcome  state.Outcome `json:"outcome"`
	Attempt  int           `json:"attempt"`
	Started  time.Time     `json:"started"`
	Took     time.Duration `json:"took_ns,omitempty"` // 0 until it ends
	// Version is that of the registered model, if the run trained one.
	Version int `json:"version,omitempty"`
	// Params are those of its definition, see [flat]. They are nil if the revision was removed, or recorded by another
	// version of Tenon.
	Params map[string]any `json:"params"`
	// Metrics are those of the run. A training has those of the evaluations of its model as well, which go before its own.
	Metrics map[string]float64 `json:"metrics"`
	Inputs  map[string]string  `json:"inputs"` // digests, by port or "file:"+path
	Error   string             `json:"error,omitempty"`

	nested json.RawMessage // the parameters as they are declared, and as a study found them
}

// RunsOptions say which runs to list.
type RunsOptions struct {
	Name  string  // unit or entity; "" is all trainings, or all jobs of a system without models
	Where string  // a condition in CUE on the fields of a run, see [selectRuns]
	Sort  string  // a metric, or a parameter as params.NAME; "-" before it sorts the largest first; "" is newest first
	Limit int     // 0 is all
	IDs   []int64 // only these runs, in this order
}

// Runs lists recorded runs of jobs of all environments. What tenon gc has removed is not among them.
func (w *Workspace) Runs(ctx context.Context, o RunsOptions) ([]TrackedRun, error) {
	all, err := w.tracked(ctx)
	if err != nil {
		return nil, err
	}
	if len(o.IDs) > 0 {
		all, err = runsWithIDs(all, o.IDs)
	} else {
		all, err = w.runsNamed(ctx, all, o.Name)
	}
	if err != nil {
		return nil, err
	}
	if o.Where != "" {
		if all, err = selectRuns(all, o.Where); err != nil {
			return nil, err
		}
	}
	if o.Sort != "" {
		if err := sortRuns(all, o.Sort); err != nil {
			return nil, err
		}
	}
	if o.Limit > 0 && len(all) > o.Limit {
		all = all[:o.Limit]
	}
	return slices.Clip(all), nil
}

// tracked returns all recorded runs of jobs, newest first.
func (w *Workspace) tracked(ctx context.Context) ([]TrackedRun, error) {
	recorded, err := w.store.Runs(ctx, "", 0)
	if err != nil {
		return nil, err
	}
	versions, err := w.registeredVersions(ctx)
	if err != nil {
		return nil, err
	}
	d := definitions{w: w, systems: map[revisionOf]*ir.System{}}
	evaluated := map[string]map[string]float64{} // the metrics of the newest evaluations, by the digest of the model
	models := map[int]string{}                   // by place in out
	out := make([]TrackedRun, 0, len(recorded))
	for _, r := range recorded {
		u, err := d.unit(ctx, r)
		if err != nil {
			return nil, err
		}
		if r.Attempt == 0 || u != nil && u.Kind != ir.Job { // the end of a service
			continue
		}
		entity, _ := ir.SplitID(r.Unit)
		t := TrackedRun{
			ID: r.ID, Unit: r.Unit, Entity: entity, Env: r.Env, Revision: r.Revision, Outcome: r.Outcome, Attempt: r.Attempt,
			Started: r.Started, Metrics: map[string]float64{}, Inputs: map[string]string{}, Error: r.Error,
		}
		maps.Copy(t.Metrics, r.Metrics)
		maps.Copy(t.Inputs, r.Inputs)
		if !r.Finished.IsZero() {
			t.Took = r.Took()
		}
		if u != nil {
			t.nested = w.paramsOf(u, r.Inputs)
			if t.Params, err = flat(t.nested); err != nil {
				return nil, fmt.Errorf("parameters of %s in revision @%d: %w", r.Unit, r.Revision, err)
			}
			for _, in := range u.Inputs {
				if digest := r.Inputs[in.Port]; in.Kind == ir.Model && !in.Incumbent && digest != "" && r.Outcome == state.Done {
					if evaluated[digest] == nil {
						evaluated[digest] = map[string]float64{}
					}
					for name, x := range r.Metrics {
						if _, ok := evaluated[digest][name]; !ok { // the newest come first
							evaluated[digest][name] = x
						}
					}
				}
			}
		}
		for _, a := range r.Outputs {
			if a.Kind == string(ir.Model) {
				models[len(out)] = a.Digest
				t.Version = versions[[2]string{entity, a.Digest}]
			}
		}
		out = append(out, t)
	}
	for i, digest := range models {
		maps.Copy(out[i].Metrics, evaluated[digest])
	}
	return out, nil
}

// registeredVersions returns the versions of models, by model and digest.
func (w *Workspace) registeredVersions(ctx context.Context) (map[[2]string]int, error) {
	models, err := w.Models(ctx)
	if err != nil {
		return nil, err
	}
	out := map[[2]string]int{}
	for _, m := range models {
		out[[2]string{m.Model, m.Digest}] = m.Version
	}
	return out, nil
}

// definitions finds the units of runs as they were then, and reads each revision once.
type definitions struct {
	w       *Workspace
	systems map[revisionOf]*ir.System // nil if it can no longer be read
}

type revisionOf struct {
	env    string
	number int
}

// unit returns nil if the revision was removed, or is in an older format.
func (d *definitions) unit(ctx context.Context, r state.Run) (*ir.Unit, error) {
	of := revisionOf{r.Env, r.Revision}
	sys, ok := d.systems[of]
	if !ok {
		rev, err := d.w.store.In(r.Env).Revision(ctx, r.Revision)
		if err == nil {
			sys, err = d.w.system(ctx, rev)
		}
		gone := errors.Is(err, state.ErrNotFound) || errors.Is(err, artifact.ErrMissing) || errors.Is(err, errOldRevision)
		if err != nil && !gone {
			return nil, err
		}
		d.systems[of] = sys
	}
	if sys == nil {
		return nil, nil
	}
	return sys.Unit(r.Unit), nil
}

// bestPort is the input of a tuned model by which it gets the parameters that its study found.
const bestPort = "best"

// paramsOf returns the parameters of a run: those of its unit, and those that a study found, if its result is on this
// machine.
func (w *Workspace) paramsOf(u *ir.Unit, inputs map[string]string) json.RawMessage {
	tuned := slices.ContainsFunc(u.Inputs, func(in ir.Input) bool { return in.Port == bestPort && in.Kind == ir.File })
	digest := inputs[bestPort]
	if !tuned || digest == "" || !makesModel(u) {
		return u.Params
	}
	b, err := os.ReadFile(w.artifacts.Path(digest))
	if err != nil {
		return u.Params
	}
	var best struct {
		Params map[string]json.RawMessage `json:"params"`
	}
	params := u.Params
	if json.Unmarshal(b, &best) == nil {
		for _, name := range slices.Sorted(maps.Keys(best.Params)) {
			params = withParam(params, strings.Split(name, "."), best.Params[name])
		}
	}
	return params
}

// withParam returns parameters with a value at a path.
func withParam(params json.RawMessage, path []string, value json.RawMessage) json.RawMessage {
	if len(path) == 0 {
		return value
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(params, &all) != nil || all == nil { // nothing is declared there
		all = map[string]json.RawMessage{}
	}
	all[path[0]] = withParam(all[path[0]], path[1:], value)
	b, _ := json.Marshal(all) // it was read from JSON
	return b
}

// flat returns nested parameters under names with dots. A list is one value. Those that a component passes on to a library,
// in its own parameter params, have the library's names.
func flat(params json.RawMessage) (map[string]any, error) {
	out := map[string]any{}
	if len(params) == 0 {
		return out, nil
	}
	var nested map[string]any
	if err := json.Unmarshal(params, &nested); err != nil {
		return nil, err
	}
	var add func(prefix string, of map[string]any)
	add = func(prefix string, of map[string]any) {
		for name, v := range of {
			if inner, ok := v.(map[string]any); ok && len(inner) > 0 {
				add(prefix+name+".", inner)
				continue
			}
			out[prefix+name] = v
		}
	}
	add("", nested)
	for name, v := range out {
		if short, ok := strings.CutPrefix(name, "params."); ok && out[short] == nil {
			delete(out, name)
			out[short] = v
		}
	}
	return out, nil
}

// runsWithIDs returns the runs with some numbers.
func runsWithIDs(all []TrackedRun, ids []int64) ([]TrackedRun, error) {
	var out []TrackedRun
	for _, id := range ids {
		i := slices.IndexFunc(all, func(r TrackedRun) bool { return r.ID == id })
		if i < 0 {
			return nil, &RequestError{fmt.Errorf("no job has the run %d, or tenon gc has removed it; see tenon runs", id)}
		}
		out = append(out, all[i])
	}
	return out, nil
}

// runsNamed returns the runs of a unit; the trainings of an entity, or its jobs if it trains nothing; or, for "", the same of
// the whole system.
func (w *Workspace) runsNamed(ctx context.Context, all []TrackedRun, name string) ([]TrackedRun, error) {
	kept := slices.Clone(all)
	if name != "" {
		full := unitName(name)
		if !strings.Contains(full, "/") {
			full = "models/" + full
		}
		kept = slices.DeleteFunc(kept, func(r TrackedRun) bool { return r.Unit != full && r.Entity != full })
		if len(kept) == 0 {
			var names []string
			for _, r := range all {
				names = append(names, r.Unit, r.Entity)
			}
			if hint := diag.DidYouMean(full, names); hint != "" {
				return nil, &RequestError{fmt.Errorf("no run of %s is recorded: %s", full, hint)}
			}
			return nil, &RequestError{fmt.Errorf("no run of %s is recorded", full)}
		}
		if slices.ContainsFunc(kept, func(r TrackedRun) bool { return r.Unit == full }) {
			return kept, nil
		}
	}
	trains, err := w.trainers(ctx)
	if err != nil {
		return nil, err
	}
	if only := slices.DeleteFunc(slices.Clone(kept), func(r TrackedRun) bool { return !trains[r.Unit] }); len(only) > 0 {
		return only, nil
	}
	return kept, nil
}

// trainers returns the units that have made a model in any recorded run.
func (w *Workspace) trainers(ctx context.Context) (map[string]bool, error) {
	runs, err := w.store.Ledger(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, r := range runs {
		for _, a := range r.Outputs {
			if a.Kind == string(ir.Model) {
				out[r.Unit] = true
			}
		}
	}
	return out, nil
}

// sortRuns sorts by a metric, a parameter or how long runs took. Runs without the value come last, and the newest of
// equal ones first.
func sortRuns(all []TrackedRun, by string) error {
	name, descending := strings.CutPrefix(by, "-")
	param, isParam := strings.CutPrefix(name, "params.")
	value := func(r TrackedRun) any {
		switch {
		case isParam:
			return r.Params[param]
		case name == "seconds" && r.Took > 0:
			return r.Took.Seconds()
		}
		if x, ok := r.Metrics[name]; ok {
			return x
		}
		return nil
	}
	if len(all) > 0 && !slices.ContainsFunc(all, func(r TrackedRun) bool { return value(r) != nil }) {
		return &RequestError{fmt.Errorf("--sort: no run has %s%s", name, hinted(name, fieldsOf(all)))}
	}
	slices.SortStableFunc(all, func(a, b TrackedRun) int {
		x, y := value(a), value(b)
		if x == nil || y == nil {
			return cmp.Compare(boolean(x == nil), boolean(y == nil))
		}
		c := compareValues(x, y)
		if descending {
			return -c
		}
		return c
	})
	return nil
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// compareValues compares numbers as such, and anything else, which comes after them, by its text.
func compareValues(x, y any) int {
	a, isA := x.(float64)
	b, isB := y.(float64)
	switch {
	case isA && isB:
		return cmp.Compare(a, b)
	case isA != isB:
		return cmp.Compare(boolean(isB), boolean(isA))
	}
	return cmp.Compare(fmt.Sprint(x), fmt.Sprint(y))
}

// fieldsOf returns the names that a condition or an order may use.
func fieldsOf(all []TrackedRun) []string {
	found := map[string]bool{"seconds": true}
	for _, r := range all {
		for name := range r.Metrics {
			found[name] = true
		}
		for name := range r.Params {
			found["params."+name] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func hinted(name string, among []string) string {
	if hint := diag.DidYouMean(name, among); hint != "" {
		return ": " + hint
	}
	return "; there are " + strings.Join(among, ", ")
}
