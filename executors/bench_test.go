package executors_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/records"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// A bench is a folder with a state, and an executor to apply systems with.
type bench struct {
	*testing.T
	dir    string
	store  *state.Store
	arts   *artifact.Store
	fake   *fake
	lease  *state.Lease
	python map[string]string // what plans know of interpreters
	mu     sync.Mutex
	events []executors.Event
	watch  func(executors.Event)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, dir: filepath.Join(t.TempDir(), ".tenon"), fake: newFake()}
	var err error
	b.store, err = state.Open(t.Context(), b.dir)
	b.ok(err)
	b.arts, err = artifact.Open(filepath.Join(b.dir, "artifacts"))
	b.ok(err)
	b.lock()
	t.Cleanup(func() {
		_ = b.store.Close()
		// Read-only folders would prevent the removal of the test's folder.
		_ = filepath.WalkDir(b.dir, func(p string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				_ = os.Chmod(p, 0o755)
			}
			return nil
		})
	})
	return b
}

func (b *bench) lock() {
	b.Helper()
	var err error
	b.lease, err = b.store.Lock(context.Background(), state.Holder{}, state.LockOptions{})
	b.ok(err)
}

func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bench) options() executors.Options {
	return executors.Options{
		Store: b.store, Lease: b.lease, Artifacts: b.arts, Executor: b.fake, Dir: b.dir, Records: records.New(b.dir, b.arts, b.lease),
		Machine: ir.Resources{MilliCPU: 4000, Memory: 1 << 30}, Backoff: time.Millisecond,
		Verify: func(_ context.Context, path string, schema ir.Schema, _ []string, refs []executors.Referred) ([]executors.Violation, int64, error) {
			content, err := os.ReadFile(path)
			if err != nil || !strings.HasPrefix(string(content), "bad") {
				return nil, 7, err
			}
			return []executors.Violation{{Column: "age", Rule: "min", Count: 2, Examples: []string{"-3 (row 17)"},
				Message: `column "age": 2 rows below min 0, such as -3 (row 17)`}}, 7, nil
		},
		Events: func(e executors.Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
			if b.watch != nil {
				b.watch(e)
			}
		},
	}
}

// plan returns the plan for units, after it computed their digests.
func (b *bench) plan(units []ir.Unit, rerun ...string) *planner.Plan {
	b.Helper()
	sys := &ir.System{Version: ir.Version, Name: "demo", Target: ir.Target{Name: "local", Executor: "fake"}}
	for _, u := range units {
		b.ok(u.Define())
		sys.Units = append(sys.Units, u)
	}
	slices.SortFunc(sys.Units, func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	p, err := planner.Make(b.Context(), sys, planner.Inputs{
		Dir: filepath.Dir(b.dir), State: b.store, Artifacts: b.arts, Digests: planner.NewFileDigests(b.dir), Inspector: b.fake, Python: b.python,
		Options: planner.Options{Rerun: rerun},
	})
	b.ok(err)
	return p
}

func (b *bench) apply(units ...ir.Unit) (*executors.Result, error) {
	b.Helper()
	return executors.Apply(b.Context(), b.plan(units), b.options())
}

// mustApply applies units and requires success.
func (b *bench) mustApply(units ...ir.Unit) *executors.Result {
	b.Helper()
	res, err := b.apply(units...)
	if err != nil {
		b.Fatalf("apply: %v", err)
	}
	if left, err := b.store.Pending(b.Context()); err != nil || len(left) > 0 {
		b.Errorf("the journal holds %v, %v after an apply that succeeded", left, err)
	}
	return res
}

// eventsOf lists the types of the events of a unit.
func (b *bench) eventsOf(unit string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var types []string
	for _, e := range b.events {
		if e.Unit == unit && e.Type != executors.EventProgress {
			types = append(types, string(e.Type))
		}
	}
	return strings.Join(types, " ")
}

func (b *bench) current(unit string) state.Current {
	b.Helper()
	c, err := b.store.Current(b.Context())
	b.ok(err)
	return c[unit]
}

// table declares a job that makes a table from the first outputs of other units.
func table(id, params string, from ...string) ir.Unit {
	return unit(id, params, ir.Output{Port: "out", Kind: ir.Table, Schema: ir.Schema{{Name: "age", Type: "int64"}}}, from...)
}

func unit(id, params string, out ir.Output, from ...string) ir.Unit {
	entity, _ := ir.SplitID(id)
	u := ir.Unit{ID: id, Entity: entity, Kind: ir.Job, Component: "test", Params: json.RawMessage(params), Outputs: []ir.Output{out}}
	for i, f := range from {
		u.Inputs = append(u.Inputs, ir.Input{Port: fmt.Sprintf("in%d", i), Unit: f, From: "out", Kind: ir.Table})
	}
	return u
}

func service(id, params string, from ...string) ir.Unit {
	u := unit(id, params, ir.Output{Port: "endpoint", Kind: ir.EndpointOf}, from...)
	u.Kind, u.Endpoint = ir.Service, &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/readyz", Replicas: 1}
	return u
}

var signature = &ir.Signature{
	Task:   "classification",
	Input:  ir.Schema{{Name: "age", Type: "int64"}},
	Output: ir.Column{Name: "late", Type: "bool"},
}

func model(id, params string, from ...string) ir.Unit {
	return unit(id, params, ir.Output{Port: "model", Kind: ir.Model, Signature: signature}, from...)
}

// failure returns the error of a unit, which must exist.
func failure(t *testing.T, err error, unit string) *executors.UnitError {
	t.Helper()
	var visit func(error) *executors.UnitError
	visit = func(err error) *executors.UnitError {
		var u *executors.UnitError
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range many.Unwrap() {
				if u := visit(e); u != nil {
					return u
				}
			}
		} else if errors.As(err, &u) && u.Unit == unit {
			return u
		}
		return nil
	}
	u := visit(err)
	if u == nil {
		t.Fatalf("%s did not fail: %v", unit, err)
	}
	return u
}
