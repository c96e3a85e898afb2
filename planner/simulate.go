package planner

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// Simulate returns the plan that would turn before into after if before were fully
// deployed and no data had changed since. Without before, nothing is deployed. It reads
// no files and inspects nothing. times holds how long units took before, newest first,
// and may be nil. The plan cannot be applied.
func Simulate(ctx context.Context, before, after *ir.System, times map[string][]time.Duration) (*Plan, error) {
	a := &assumed{units: map[string]*ir.Unit{}, current: map[string]state.Current{}, runs: map[string]state.Run{}, first: map[string]string{}, times: times}
	if before != nil {
		if err := a.apply(before); err != nil {
			return nil, fmt.Errorf("simulate: %w", err)
		}
	}
	return Make(ctx, withoutFiles(after), Inputs{State: a, Artifacts: a, Digests: a})
}

// withoutFiles returns the system with no data files to find. The digest of a unit still
// covers what it reads.
func withoutFiles(sys *ir.System) *ir.System {
	s := *sys
	s.Units = slices.Clone(sys.Units)
	for i := range s.Units {
		s.Units[i].Files = nil
	}
	return &s
}

// An assumed state is one in which every unit has one result. Results are distinguished
// by run key.
type assumed struct {
	units   map[string]*ir.Unit
	current map[string]state.Current
	runs    map[string]state.Run // by unit
	first   map[string]string    // by key: the first of the units that share it
	times   map[string][]time.Duration
}

func (a *assumed) apply(sys *ir.System) error {
	sys = withoutFiles(sys)
	order, err := sort(sys.Units)
	if err != nil {
		return err
	}
	src := Sources{
		Output:    func(unit, port string) string { return a.runs[unit].Outputs[port].Digest },
		Incumbent: func(string, string) (string, error) { return "", nil },
		Base:      sys.Target.Base(),
	}
	now := time.Now() // so that nothing is too old
	for _, i := range order {
		u := &sys.Units[i]
		inputs, _, err := src.Inputs(u, nil)
		if err != nil {
			return err
		}
		key := RunKey(u, inputs)
		run := state.Run{Key: key, Unit: u.ID, Definition: u.Digest, Outcome: state.Done, Finished: now, Inputs: inputs, Outputs: map[string]artifact.Artifact{}}
		for _, o := range u.Outputs {
			digest := ir.Sum([]byte(key + " " + o.Port))
			if o.Kind == ir.EndpointOf {
				digest = EndpointDigest(key)
			}
			run.Outputs[o.Port] = artifact.Artifact{Digest: digest, Kind: string(o.Kind)}
		}
		a.units[u.ID], a.runs[u.ID] = u, run
		if first, ok := a.first[key]; !ok || u.ID < first {
			a.first[key] = u.ID
		}
		a.current[u.ID] = state.Current{Unit: u.ID, Kind: u.Kind, Definition: u.Digest, Key: key}
	}
	return nil
}

func (a *assumed) Meta(context.Context) (state.Meta, error) { return state.Meta{}, nil }

func (a *assumed) Current(context.Context) (map[string]state.Current, error) { return a.current, nil }

func (a *assumed) CurrentRuns(context.Context) (map[string]state.Run, error) { return a.runs, nil }

func (a *assumed) Estimates(context.Context) (map[string][]time.Duration, error) { return a.times, nil }

func (a *assumed) PrepareTimes(context.Context) (map[string]time.Duration, error) { return nil, nil }

func (a *assumed) DoneInputs(context.Context, []string) ([]map[string]string, error) { return nil, nil }

func (a *assumed) Unstable(context.Context) (map[string]state.Unstable, error) { return nil, nil }

func (a *assumed) Used(context.Context, map[string]string) (map[string]state.Used, error) {
	return nil, nil
}

func (a *assumed) Unit(_ context.Context, id string) (*ir.Unit, error) {
	if u, ok := a.units[id]; ok {
		return u, nil
	}
	return nil, state.ErrNotFound
}

func (a *assumed) Run(context.Context, int64) (*state.Run, error) { return nil, state.ErrNotFound }

func (a *assumed) RunFor(_ context.Context, unit, key string) (*state.Run, error) {
	if r, ok := a.runs[unit]; ok && r.Key == key {
		return &r, nil
	}
	if first, ok := a.first[key]; ok {
		r := a.runs[first]
		return &r, nil
	}
	return nil, state.ErrNotFound
}

func (a *assumed) Artifact(_ context.Context, digest string) (artifact.Artifact, error) {
	return artifact.Artifact{}, state.ErrNotFound
}

func (a *assumed) Incumbent(context.Context, string, string) (*state.ModelVersion, error) {
	return nil, nil
}

func (a *assumed) Has(string) bool                  { return true }
func (a *assumed) Present([]string) map[string]bool { return nil }

func (a *assumed) Digest(context.Context, string, []string) (map[string]string, error) {
	return map[string]string{}, nil
}
