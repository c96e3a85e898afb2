package cloud

import (
	"context"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
)

// Options are those that executors of all clouds have.
type Options struct {
	// System and Env name the system and its environment, from which the names of resources
	// follow. State is the lineage of the state that records the tasks.
	System, Env, State string
	// Runs is the folder that holds the folders of all runs, named after their tasks. If it
	// is empty, the folder of a run is the one that the handle names.
	Runs string
	// Programs are those of Tenon that units run, and Pod is the path of tenon-pod.
	Programs executors.Programs
	Pod      string
	// Build makes or finds the image of a recipe. Publish pushes an image to a repository
	// and returns its name there, by digest.
	Build   func(context.Context, image.Recipe) (v1.Image, error)
	Publish func(ctx context.Context, img v1.Image, repository string) (string, error)
	// Pause is how long to wait between two looks at a job. It doubles up to Longest. Zero
	// is 500 ms and 10 s.
	Pause, Longest time.Duration
	// Warn reports an error despite which the executor continues. Nil reports none.
	Warn func(error)
}
