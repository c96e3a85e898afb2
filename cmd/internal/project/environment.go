package project

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/pyenv"
	"github.com/tenon-ml/tenon/planner/state"
)

// An Environment is the locked Python environment in which a unit runs, or in which a
// model was trained.
type Environment struct {
	Unit     string              `json:"unit"`             // that runs in it
	Digest   string              `json:"digest,omitempty"` // of the artifact that was asked about
	Python   string              `json:"python"`           // version of the interpreter, "3.11"
	Lock     string              `json:"lock"`             // digest of the lock
	Packages []pyenv.Requirement `json:"packages"`         // for this machine
	// Interpreter is the path of its interpreter, if this machine has the environment.
	Interpreter string `json:"interpreter,omitempty"`

	Requirements []byte `json:"-"` // the lock: what pip installs
}

// Environment returns the environment of a unit or of what a name stands for, see
// [Workspace.Export], after a revision; 0 is what is deployed.
func (w *Workspace) Environment(ctx context.Context, name string, revision int) (*Environment, error) {
	found, err := w.exportable(ctx, revision)
	if err != nil {
		return nil, err
	}
	e, err := found.choose(name)
	for unit := range found.runs {
		if err != nil && (name == unit || name == strings.ReplaceAll(unit, "/", ".")) {
			e, err = &Exported{Unit: unit}, nil // a service, or a job with several outputs
		}
	}
	if err != nil {
		return nil, err
	}
	return w.environment(ctx, found, e)
}

// environment returns the environment in which an artifact was made.
func (w *Workspace) environment(ctx context.Context, x *exportables, e *Exported) (*Environment, error) {
	u, err := x.unit(ctx, e.Unit)
	if err == nil && u.Kind == ir.Record && e.Kind == string(ir.Model) {
		u, err = w.trainer(ctx, x, u, e.Digest)
	}
	if err != nil {
		return nil, err
	}
	if u.Code.Lock == "" {
		return nil, noEnvironment(u)
	}
	lock, err := w.artifacts.Bytes(ctx, u.Code.Lock)
	if err != nil {
		return nil, fmt.Errorf("the Python environment of %s is no longer recorded: %w", u.ID, err)
	}
	return &Environment{
		Unit: u.ID, Digest: e.Digest, Python: u.Code.Python, Lock: u.Code.Lock, Packages: pyenv.Requirements(lock), Interpreter: w.environments().Installed(lock), Requirements: lock,
	}, nil
}

// noEnvironment says why a unit has no locked Python environment.
func noEnvironment(u *ir.Unit) error {
	switch {
	case u.Code.Image != "":
		return fmt.Errorf("%s has no Python environment outside of the image %s, in which it runs", u.ID, u.Code.Image)
	case u.Code.Runtime == ir.Builtin:
		return fmt.Errorf("%s has no Python environment: it is a part of tenon", u.ID)
	}
	return fmt.Errorf("%s has no Python environment: it runs a command and lists no packages", u.ID)
}

// trainer returns the unit that made a model which a record passes on, as it was then.
// While a gate keeps a newer model out, the trainer of today may run in another
// environment. If several runs have made the same bytes, it is that of the last one.
func (w *Workspace) trainer(ctx context.Context, x *exportables, record *ir.Unit, digest string) (*ir.Unit, error) {
	for _, in := range record.Inputs {
		if in.Kind != ir.Model || in.Incumbent {
			continue
		}
		runs, err := w.store.Runs(ctx, x.now(in.Unit), 0)
		if err != nil {
			return nil, err
		}
		for _, run := range runs {
			if run.Outputs[in.From].Digest == digest {
				return w.unitOf(ctx, x, in.Unit, run)
			}
		}
	}
	return nil, fmt.Errorf("the run that trained the model of %s is no longer recorded", record.Entity)
}

// unitOf returns the unit of a run, as it was then.
func (w *Workspace) unitOf(ctx context.Context, x *exportables, id string, run state.Run) (*ir.Unit, error) {
	u, err := x.unit(ctx, id)
	if err == nil && u.Digest == run.Definition {
		return u, nil
	}
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return nil, err
	}
	sys, err := w.System(ctx, run.Revision)
	if err != nil {
		return nil, fmt.Errorf("the environment of %s: %w", id, err)
	}
	for i := range sys.Units {
		if u := &sys.Units[i]; u.Digest == run.Definition {
			return u, nil
		}
	}
	return nil, fmt.Errorf("the environment of %s is not recorded in revision @%d", id, run.Revision)
}
