// Package step is the contract between Tenon and a program that does one
// unit's work, version 1. docs/step.md describes it for people who write steps.
//
// The program finds a JSON document, a [Step], at the path in $TENON_STEP. It
// reads its inputs, which are read-only, writes every output at the path given
// for it, and exits 0. It may write metrics and progress. Paths are absolute.
package step

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// Version is the version of the contract.
const Version = 1

// Env is the variable that holds the path of the document.
const Env = "TENON_STEP"

// Duck is the variable that holds the path of tenon-duck, for a program that starts it.
const Duck = "TENON_DUCK"

// Platform is the variable that names the platform which runs the container of a service, if that asks
// for paths of its own: SageMaker, and Vertex AI, which is Vertex.
const (
	Platform  = "TENON_PLATFORM"
	SageMaker = "sagemaker"
	Vertex    = "vertex"
)

// A Step is what the program finds.
type Step struct {
	Version   int             `json:"version"`
	Unit      string          `json:"unit"`      // "models/late/train"
	Component string          `json:"component"` // "train.sklearn"
	Params    json.RawMessage `json:"params"`    // a JSON object
	Inputs    map[string]Port `json:"inputs"`
	Outputs   map[string]Port `json:"outputs"`
	// Files maps each declared path or glob to the files it stands for.
	Files     map[string][]string `json:"files,omitempty"`
	Seed      int64               `json:"seed"`
	Resources ir.Resources        `json:"resources"`
	Code      string              `json:"code"`    // the folder of the unit's own files
	Scratch   string              `json:"scratch"` // a writable folder, removed afterwards
	// Metrics is where the step may write a JSON object of numbers.
	Metrics string `json:"metrics"`
	// Progress is a file to which the step may append lines such as
	// {"done": 3, "total": 10, "message": "epoch 3"}, and {"step": 3, "values": {"loss": 0.25}}.
	Progress string `json:"progress"`
	// Endpoint is where a service has to listen. One without an endpoint listens nowhere.
	Endpoint *ir.Endpoint `json:"endpoint,omitempty"`
	// Instance names this start of a service. The service returns it in the
	// header X-Tenon-Instance of its readiness answer.
	Instance string `json:"instance,omitempty"`
	// Lives is a file in which a service may say how often it started processes of its own:
	// "STARTS NANOSECONDS WHY", such as "2 1700000000000000000 was killed by SIGKILL".
	Lives string `json:"lives,omitempty"`
	// Kept is a folder for files that later versions of a service get too. Two versions may
	// write to it at a time.
	Kept string `json:"kept,omitempty"`
	// Shipped is a folder that says what became of complete files below Kept, see [Step.ShippedOf].
	// With it, Kept does not outlive this replica: files are moved from there to a store.
	Shipped string `json:"shipped,omitempty"`
	// Checkpoints is where a job saves how far it has come, or nil if it keeps no checkpoints.
	Checkpoints *Checkpoints `json:"checkpoints,omitempty"`
	// Interpreters are those of further environments, by the digests of their locks.
	Interpreters map[string]string `json:"interpreters,omitempty"`
	// Name is the name of this version of a service, and Beside are steps of other versions, by
	// name, which the service answers for as well, as the [Route] in the file Route says. It
	// writes what it observes to the file Observed. Without Route, it answers all requests.
	Name     string           `json:"name,omitempty"`
	Beside   map[string]*Step `json:"beside,omitempty"`
	Route    string           `json:"route,omitempty"`
	Observed string           `json:"observed,omitempty"`
	// Args are the arguments that the program of a step in Beside would be started with, if they
	// are others than those of this program: its environment may be another one.
	Args []string `json:"args,omitempty"`
}

// A Port is one input or output.
type Port struct {
	Kind      ir.PortKind   `json:"kind"`
	Path      string        `json:"path"`
	Format    string        `json:"format,omitempty"` // "parquet" for a table
	Schema    ir.Schema     `json:"schema,omitempty"`
	Keys      []string      `json:"keys,omitempty"`
	Timestamp string        `json:"timestamp,omitempty"`
	Signature *ir.Signature `json:"signature,omitempty"`
	// Request and Response are the columns of one row that an endpoint is asked about,
	// and of its answer, with what is written about them for people.
	Request  ir.Schema `json:"request,omitempty"`
	Response ir.Schema `json:"response,omitempty"`
	// Digest, Version and Created say what the registry knows about an input:
	// its digest, the registered version of a model, and when it was made (RFC 3339).
	Digest  string `json:"digest,omitempty"`
	Version int    `json:"version,omitempty"`
	Created string `json:"created,omitempty"`
	// Lost says that there is an incumbent whose artifact is lost: it has no path.
	Lost bool `json:"lost,omitempty"`
}

// RowOrder lists the columns that the rows of a feature are sorted by.
func RowOrder(keys []string, timestamp string) []string {
	order := slices.Clone(keys)
	if timestamp != "" && !slices.Contains(order, timestamp) {
		order = append(order, timestamp)
	}
	return order
}

// Progress is one line of the progress file.
type Progress struct {
	Done    float64 `json:"done"`
	Total   float64 `json:"total,omitempty"`
	Message string  `json:"message,omitempty"`
	// Waits says why the step does not run yet. Its executor writes it.
	Waits string `json:"waits,omitempty"`
	// Values are metrics at Step, by name; steps ascend. A line with values says nothing else.
	Values map[string]Value `json:"values,omitempty"`
	Step   int64            `json:"step,omitempty"`
	Time   int64            `json:"time,omitempty"` // of the values: milliseconds since 1970, 0 if unknown
}

// Shipped is what was done with the files in a folder that a service keeps, since this replica was
// started.
type Shipped struct {
	Files   int64     `json:"files"` // that are stored
	Bytes   int64     `json:"bytes"`
	Failed  int64     `json:"failed"`          // tries
	Removed int64     `json:"removed"`         // files from the store, because all were too large
	Last    time.Time `json:"last,omitzero"`   // when one was stored
	Fault   string    `json:"fault,omitempty"` // of the last try
}

// ShippedOf returns the path of the [Shipped] of a folder in Kept whose files are moved.
func (s *Step) ShippedOf(folder string) string { return filepath.Join(s.Shipped, folder+".json") }

// ReadShipped reads a [Shipped]. There is none before the first file.
func ReadShipped(path string) (done Shipped) {
	if b, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(b, &done)
	}
	return done
}

// Read reads the document that $TENON_STEP names.
func Read() (*Step, error) {
	path := os.Getenv(Env)
	if path == "" {
		return nil, errors.New("$" + Env + " is not set: only tenon apply can start a step")
	}
	return ReadFile(path)
}

// ReadFile reads a document.
func ReadFile(path string) (*Step, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the step: %w", err)
	}
	var s Step
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read the step %s: %w", path, err)
	}
	if s.Version != Version {
		return nil, fmt.Errorf("step %s has version %d of the contract; this program supports version %d", path, s.Version, Version)
	}
	return &s, nil
}

// A Look is what a program writes to an output of kind file when it is asked, with the
// parameter "look", to compare only the columns of its data with the schema of the output.
type Look struct {
	Columns []string    `json:"columns"` // that the data has
	Faults  []LookFault `json:"faults,omitempty"`
}

// A LookFault is a column that is not what the schema declares.
type LookFault struct {
	Column  string `json:"column,omitempty"`
	Missing bool   `json:"missing,omitempty"` // the data does not have it
	Extra   bool   `json:"extra,omitempty"`   // the schema does not have it
	Text    string `json:"text,omitempty"`    // what else is wrong
	Hint    string `json:"hint,omitempty"`
}

// WriteMetrics writes the metrics of the step.
func (s *Step) WriteMetrics(m map[string]float64) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return os.WriteFile(s.Metrics, b, 0o644)
}
