package planner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A tb is a test or a property.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

// sys returns a system of these units.
func sys(units ...ir.Unit) *ir.System {
	s := &ir.System{Version: ir.Version, Name: "late", Target: ir.Target{Name: "local", Executor: "process"}}
	for _, u := range units {
		if err := u.Define(); err != nil {
			panic(err)
		}
		s.Units = append(s.Units, u)
	}
	slices.SortFunc(s.Units, func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	return s
}

// job returns a unit that makes a table, with the given options.
func job(id string, opts ...func(*ir.Unit)) ir.Unit {
	u := ir.Unit{ID: id, Kind: ir.Job, Component: "sql", Params: json.RawMessage(`{}`), Outputs: []ir.Output{{Port: "table", Kind: ir.Table}}}
	u.Entity, _ = ir.SplitID(id)
	for _, o := range opts {
		o(&u)
	}
	return u
}

func service(id string, opts ...func(*ir.Unit)) ir.Unit {
	return job(id, append([]func(*ir.Unit){func(u *ir.Unit) {
		u.Kind, u.Component = ir.Service, "serve"
		u.Outputs = []ir.Output{{Port: "endpoint", Kind: ir.EndpointOf}}
	}}, opts...)...)
}

func record(id string, opts ...func(*ir.Unit)) ir.Unit {
	return job(id, append([]func(*ir.Unit){func(u *ir.Unit) {
		u.Kind, u.Component, u.Outputs = ir.Record, "rules", nil
	}}, opts...)...)
}

// puts makes a unit have one output, a table.
func puts(port string) func(*ir.Unit) {
	return func(u *ir.Unit) { u.Outputs = []ir.Output{{Port: port, Kind: ir.Table}} }
}

// reads adds an input; from is "unit.port".
func reads(port, from string) func(*ir.Unit) {
	unit, p, _ := strings.Cut(from, ".")
	kind := ir.Table
	if p == "endpoint" {
		kind = ir.EndpointOf
	}
	return func(u *ir.Unit) { u.Inputs = append(u.Inputs, ir.Input{Port: port, Unit: unit, From: p, Kind: kind}) }
}

func params(text string) func(*ir.Unit) {
	return func(u *ir.Unit) { u.Params = json.RawMessage(text) }
}

func files(patterns ...string) func(*ir.Unit) {
	return func(u *ir.Unit) { u.Files = patterns }
}

// constant makes the outputs of a unit independent of its inputs.
func constant(u *ir.Unit) { u.Component = "constant" }

// A world is a state, artifacts, data and services, and a walk that assumes that
// everything it does succeeds.
type world struct {
	t        tb
	dir      string
	store    *state.Store
	lease    *state.Lease
	others   []*planner.Recorded // of other systems
	lost     map[string]bool     // artifacts
	statuses map[string]state.Status
	mu       sync.Mutex
	busy     map[string]int // how often a service does not answer
	digests  planner.Digests
	images   map[string]string // references by digest
	python   map[string]string // versions of interpreters
	now      time.Time
	took     time.Duration
	ran      []string // units, of the last apply
	// perReplica is set if replicas have what a service asks for, each of them.
	perReplica bool
	made       map[string]int // how often, by key
}

func newWorld(t tb, dir string) *world {
	t.Helper()
	ctx := context.Background()
	s, err := state.Open(ctx, filepath.Join(dir, ".tenon"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Lock(ctx, state.Holder{}, state.LockOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, dir: dir, store: s, lease: l, lost: map[string]bool{}, statuses: map[string]state.Status{}, busy: map[string]int{},
		digests: planner.NewFileDigests(s.Where()), now: noon, took: time.Second, made: map[string]int{}}
}

func world1(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, t.TempDir())
	t.Cleanup(w.close)
	return w
}

func (w *world) close() {
	if err := errors.Join(w.lease.Release(context.Background()), w.store.Close()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) Has(digest string) bool { return !w.lost[digest] }

func (w *world) Present(digests []string) map[string]bool {
	present := map[string]bool{}
	for _, d := range digests {
		present[d] = w.Has(d)
	}
	return present
}

func (w *world) Inspect(_ context.Context, h state.Handle) (state.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy[h.ID] > 0 {
		w.busy[h.ID]--
		return state.Status{Phase: state.Running}, nil
	}
	st, ok := w.statuses[h.ID]
	if !ok {
		return state.Status{Phase: state.Absent}, nil
	}
	return st, nil
}

func (w *world) data(name, content string) {
	w.t.Helper()
	p := filepath.Join(w.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(content), 0o644)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) try(s *ir.System, rerun ...string) (*planner.Plan, error) {
	return planner.Make(context.Background(), s, planner.Inputs{
		Dir: w.dir, State: w.store, Artifacts: w, Digests: w.digests, Inspector: w, Images: w.images, Python: w.python,
		PerReplica: w.perReplica, Similar: true, Others: w.others, Options: planner.Options{Rerun: rerun, Now: w.now},
	})
}

func (w *world) plan(s *ir.System, rerun ...string) *planner.Plan {
	w.t.Helper()
	p, err := w.try(s, rerun...)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// apply executes the plan as an apply would.
func (w *world) apply(p *planner.Plan) {
	w.t.Helper()
	ctx := context.Background()
	check := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	w.ran = nil
	rev, err := w.lease.BeginRevision(ctx, state.Revision{System: p.System.Name})
	check(err)
	outputs := map[string]map[string]artifact.Artifact{}
	src := planner.Sources{
		Output: func(unit, port string) string { return outputs[unit][port].Digest },
		Incumbent: func(model, candidate string) (string, error) {
			v, err := w.store.Incumbent(ctx, model, candidate)
			return planner.IncumbentDigest(v, w.Has), err
		},
		Files: p.Files, Images: p.Images, Base: p.System.Target.Base(), Python: p.Python,
	}
	currentInputs := func(unit string) map[string]string {
		runs, err := w.store.CurrentRuns(ctx)
		check(err)
		if runs[unit].ID == 0 {
			return nil
		}
		r, err := w.store.Run(ctx, runs[unit].ID)
		check(err)
		return r.Inputs
	}
	for _, it := range p.Items {
		if it.Action == planner.Delete {
			check(w.lease.Forget(ctx, it.Unit))
			continue
		}
		u := p.System.Unit(it.Unit)
		found, err := planner.Files(p.Dir, u.Files)
		check(err)
		var fs []string
		for _, f := range found {
			fs = append(fs, f...)
		}
		inputs, unknown, err := src.Inputs(u, fs)
		check(err)
		if len(unknown) > 0 {
			w.t.Fatalf("%s comes before what it reads on %v", u.ID, unknown)
		}
		key := planner.RunKey(u, inputs)
		if shared := planner.SharedKey(u, inputs, currentInputs(u.ID)); shared != "" && shared == it.Key {
			key = shared
		}
		if it.Key != "" && it.Key != key {
			w.t.Fatalf("%s: the plan says key %s, the walk %s", u.ID, it.Key, key)
		}
		r, err := w.store.RunFor(ctx, u.ID, key)
		if it.Run > 0 { // another unit of the key may have run meanwhile
			r, err = w.store.Run(ctx, it.Run)
		}
		reusable := err == nil && !slices.ContainsFunc(u.Outputs, func(o ir.Output) bool { return w.lost[r.Outputs[o.Port].Digest] })
		if !it.Action.Changes() && !reusable {
			w.t.Fatalf("%s: %s, but there is no run of its key", u.ID, it.Action)
		}
		c := state.Current{Unit: u.ID, Kind: u.Kind, Definition: u.Digest, Key: key, Revision: rev, Since: w.now}
		if u.Kind != ir.Job {
			c.Handle = &state.Handle{Executor: "process", ID: u.ID + "@" + key}
			w.statuses[c.Handle.ID] = state.Status{Phase: state.Ready}
		}
		if !it.Action.Changes() || it.Unless && reusable {
			if r.Key != key || r.Definition != u.Digest {
				w.t.Fatalf("%s: run of key %s reused for key %s", u.ID, r.Key, key)
			}
			c.Run = r.ID
			check(w.lease.MakeCurrent(ctx, u, c))
			outputs[u.ID] = r.Outputs
			continue
		}
		w.ran = append(w.ran, u.ID)
		outputs[u.ID] = map[string]artifact.Artifact{}
		w.made[key]++
		for _, o := range u.Outputs {
			a := artifact.Artifact{Digest: ir.Sum([]byte(key + o.Port)), Kind: string(o.Kind), Rows: 10}
			switch {
			case o.Kind == ir.EndpointOf:
				a.Digest = planner.EndpointDigest(key)
			case u.Component == "constant":
				a.Digest = ir.Sum([]byte(u.ID))
			case u.Component == "random":
				a.Digest = ir.Sum(fmt.Append(nil, key, w.made[key]))
			}
			outputs[u.ID][o.Port] = a
			delete(w.lost, a.Digest)
		}
		run := state.Run{Key: key, Unit: u.ID, Definition: u.Digest, Revision: rev, Attempt: 1, Inputs: inputs, Started: w.now.Add(-w.took)}
		run.ID, err = w.lease.Begin(ctx, run)
		check(err)
		run.Outcome, run.Outputs, run.Finished = state.Done, outputs[u.ID], w.now
		check(w.lease.Finish(ctx, run, u, &c))
	}
	check(w.lease.EndRevision(ctx, rev, state.Done, ""))
}

// lines formats a plan, one unit per line, without unchanged units. Digests are written
// as #.
func lines(p *planner.Plan) []string {
	var out []string
	for _, it := range p.Items {
		if !it.Action.Changes() && len(it.Reasons) == 0 {
			continue
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s", it.Action, it.Unit)
		if it.Unless {
			b.WriteString(" unless same")
		}
		for i, r := range it.Reasons {
			b.WriteString([]string{": ", "; "}[min(i, 1)] + r.What)
			if r.Before != "" || r.After != "" {
				fmt.Fprintf(&b, " (%s -> %s)", r.Before, r.After)
			}
		}
		out = append(out, digestText.ReplaceAllString(b.String(), "#"))
	}
	return out
}

var digestText = regexp.MustCompile(`\b[0-9a-f]{12}\b`)
