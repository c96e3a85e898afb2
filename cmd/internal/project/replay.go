package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// ReplayOptions say which logged requests to replay.
type ReplayOptions struct {
	Since    time.Time
	Limit    int // of rows, the newest; 0 is all
	Revision int // that answered them; 0 is what is deployed
}

// Replay computes logged requests of a deployment again as in training: the features with their
// queries in DuckDB, and the predictions with the model in Python. tell gets what it finds, in
// the end [requests.Replayed].
func (w *Workspace) Replay(ctx context.Context, name string, o ReplayOptions, tell func(requests.Event) error) (unit string, err error) {
	s, err := w.deployed(ctx)
	if o.Revision > 0 {
		var r *state.Revision
		if r, err = w.revision(ctx, o.Revision); err == nil {
			s, err = w.deployedAt(ctx, r)
		}
	}
	if err != nil {
		return "", err
	}
	u, err := s.logging(name)
	if err != nil {
		return "", err
	}
	run, ok := s.runs[u.ID]
	if !ok {
		return u.ID, fmt.Errorf("the run of %s is no longer recorded", u.ID)
	}
	log, err := w.requestLog(ctx, u, o.Since)
	if err = w.partly(err); err != nil {
		return u.ID, err
	}
	ask := requests.Replay{Log: log, Kept: w.kept(u), Since: o.Since, Limit: int64(o.Limit), Inputs: map[string]string{}}
	r := &replayed{Workspace: w, snapshot: s}
	for _, in := range u.Inputs {
		if !in.Advisory && (in.Kind == ir.Model || in.Kind == ir.Table) {
			ask.Inputs[in.Port] = run.Inputs[in.Port]
		}
		if in.Port == "model" {
			if ask.Model, err = r.input(ctx, in, run.Inputs[in.Port]); err != nil {
				return u.ID, err
			}
		}
	}
	var params struct {
		Request json.RawMessage `json:"request"`
	}
	if err := json.Unmarshal(u.Params, &params); err != nil {
		return u.ID, fmt.Errorf("read the parameters of %s: %w", u.ID, err)
	}
	if ask.Scratch, err = os.MkdirTemp("", "tenon-replay-"); err != nil {
		return u.ID, err
	}
	defer func() { err = errors.Join(err, files.RemoveAll(ask.Scratch)) }()
	if ask.Request = params.Request; params.Request != nil {
		if err := r.queries(ctx, u, o.Revision, &ask); err != nil {
			return u.ID, err
		}
	}
	if ask.Python, err = r.python(ctx, u, ask.Model.Digest, o.Revision); err != nil {
		return u.ID, err
	}
	if ask.Duck, err = w.set.SQL.Program(ctx); err != nil {
		return u.ID, err
	}
	ask.Library = filepath.Join(ask.Scratch, "code")
	if err := layLibrary(ask.Library); err != nil {
		return u.ID, err
	}
	return u.ID, w.askServe(ctx, "replay", u, ask, func(line []byte) error {
		var e requests.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return err
		}
		return tell(e)
	})
}

// replayed finds what made the features of a deployment in a snapshot.
type replayed struct {
	*Workspace
	*snapshot
}

// input returns an input of a unit with a digest.
func (r *replayed) input(ctx context.Context, in ir.Input, digest string) (step.Port, error) {
	if digest == "" {
		return step.Port{}, fmt.Errorf("the input %s of %s is not recorded", in.Port, in.Unit)
	}
	if err := r.check(ctx, &Exported{Digest: digest}); err != nil {
		return step.Port{}, fmt.Errorf("read %s of %s: %w", in.From, in.Unit, err)
	}
	p := step.Port{Kind: in.Kind, Path: r.artifacts.Path(digest), Schema: in.Schema.Bare(), Keys: in.Keys, Timestamp: in.Timestamp, Digest: digest}
	if in.Kind == ir.Table {
		p.Format = "parquet"
	}
	return p, nil
}

// queries finds the units that made the features, from the parity check of the deployment on.
func (r *replayed) queries(ctx context.Context, u *ir.Unit, revision int, ask *requests.Replay) error {
	var spec struct {
		Plans []struct {
			Request struct {
				Name string `json:"name"`
			} `json:"request"`
		} `json:"plans"`
	}
	if err := json.Unmarshal(ask.Request, &spec); err != nil {
		return fmt.Errorf("read the parameters of %s: %w", u.ID, err)
	}
	check := r.units[u.Entity+"/parity"]
	if check == nil {
		return fmt.Errorf("the parity check of %s is not recorded", u.ID)
	}
	i := slices.IndexFunc(check.Inputs, func(in ir.Input) bool { return in.Port == "features" })
	if i < 0 {
		return fmt.Errorf("%s has no features", check.ID)
	}
	makes := r.units[check.Inputs[i].Unit]
	for _, plan := range slices.Backward(spec.Plans) {
		if makes == nil {
			return fmt.Errorf("a unit that made the features of %s is not recorded", u.ID)
		}
		run, ok := r.runs[makes.ID]
		if !ok {
			return fmt.Errorf("the run of %s is no longer recorded", makes.ID)
		}
		q := requests.Query{Row: plan.Request.Name, Step: step.Step{
			Version: step.Version, Unit: makes.ID, Component: makes.Component, Params: makes.Params, Seed: makes.Seed, Resources: makes.Needs,
			Inputs: map[string]step.Port{}, Outputs: map[string]step.Port{},
		}}
		switch makes.Code.Runtime {
		case ir.Builtin:
		case ir.Python:
			if err := r.function(ctx, makes, revision, ask.Scratch, &q); err != nil {
				return err
			}
		default:
			return &RequestError{fmt.Errorf("%s cannot be replayed: %s does not run in tenon-duck or Python", u.ID, makes.ID)}
		}
		for _, out := range makes.Outputs {
			q.Step.Outputs[out.Port] = step.Port{Kind: out.Kind, Format: "parquet", Schema: out.Schema.Bare(), Keys: out.Keys, Timestamp: out.Timestamp}
		}
		next := ""
		for _, in := range makes.Inputs {
			if in.Checked {
				continue
			}
			port, err := r.input(ctx, in, run.Inputs[in.Port])
			if err != nil {
				return err
			}
			q.Step.Inputs[in.Port] = port
			if in.Port == q.Row {
				next, ask.Source = in.Unit, port
			}
		}
		if next == "" {
			return fmt.Errorf("%s has no input %q", makes.ID, q.Row)
		}
		ask.Queries = slices.Insert(ask.Queries, 0, q)
		makes = r.units[next]
	}
	return nil
}

// function lays out the code of a unit in Python, and finds its interpreter.
func (r *replayed) function(ctx context.Context, u *ir.Unit, revision int, scratch string, q *requests.Query) error {
	q.Step.Code = filepath.Join(scratch, "code-"+strings.ReplaceAll(u.ID, "/", "-"))
	for _, f := range u.Code.Files {
		b, err := r.artifacts.Bytes(ctx, f.Digest)
		if err != nil {
			return fmt.Errorf("the code of %s is no longer recorded: %w", u.ID, err)
		}
		to := filepath.Join(q.Step.Code, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return err
		}
	}
	found, err := r.exportable(ctx, revision)
	if err != nil {
		return err
	}
	env, err := r.environment(ctx, found, &Exported{Unit: u.ID})
	if err != nil {
		return err
	}
	q.Python, err = r.interpreter(ctx, env)
	return err
}

// python returns the interpreter of the environment of a model.
func (r *replayed) python(ctx context.Context, u *ir.Unit, digest string, revision int) (string, error) {
	found, err := r.exportable(ctx, revision)
	if err != nil {
		return "", err
	}
	for _, in := range u.Inputs {
		if in.Port == "model" {
			env, err := r.environment(ctx, found, &Exported{Unit: in.Unit, Port: in.From, Kind: string(ir.Model), Digest: digest})
			if err != nil {
				return "", err
			}
			return r.interpreter(ctx, env)
		}
	}
	return "", fmt.Errorf("%s has no model", u.ID)
}
