package records

import (
	"context"
	"path/filepath"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Registry keeps the versions of models. The lease of a state is one.
type Registry interface {
	// Register adds a version, or finds it if its artifact was registered before, and
	// returns its number.
	Register(ctx context.Context, v state.ModelVersion) (int, error)
}

// New returns what writes each kind of record, by the kind of its output: a model is
// registered, a file is one of rules, a monitor or a loop is only recorded. Rules are files below
// the state folder dir. To only look at records, the store of artifacts and the registry may be
// nil.
func New(dir string, artifacts *artifact.Store, r Registry) executors.Records {
	return executors.Records{
		ir.Model: registry{r},
		ir.File:  rules{filepath.Join(dir, "rules"), artifacts},

		ir.MonitorOf: stated{artifacts},
		ir.LoopOf:    stated{artifacts},
	}
}
