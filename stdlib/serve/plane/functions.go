package plane

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local/lives"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/features"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// rowScript is the program of processes that compute rows. It is beside that of workers.
const rowScript = "tenon_row_worker.py"

// mostTogether is how many rows of requests that wait at the same time a function is asked for
// at once. It computes each row by itself, so this changes no result.
const mostTogether = 1024

// functions are those in Python that compute features, each in processes of its own.
type functions struct{ all []*function }

// A function is one of them, and what metrics say about it.
type function struct {
	*worker.Rows
	name     string
	restarts counter
	batches  *histogram // rows of each
	took     *histogram // seconds
}

// functionBuckets are in seconds.
var functionBuckets = []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// startFunctions starts the processes of the functions that features need, and returns once each
// has computed a row.
func startFunctions(s *step.Step, calls []features.Call, given pythonParams, python []string, processes int, starts *starts) (*functions, error) {
	x := &functions{}
	if len(calls) == 0 {
		return x, nil
	}
	if len(python) < 2 {
		return nil, errors.New("wanted the interpreter and the script of a worker in Python")
	}
	x.all = make([]*function, len(calls))
	var g errgroup.Group
	for i, call := range calls {
		g.Go(func() (err error) {
			x.all[i], err = startFunction(s, call, given, python, processes, starts)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		x.Close()
		return nil, err
	}
	return x, nil
}

func startFunction(s *step.Step, call features.Call, given pythonParams, python []string, processes int, starts *starts) (*function, error) {
	interpreter := python[0]
	if call.Environment != "" {
		if interpreter = s.Interpreters[call.Environment]; interpreter == "" {
			return nil, fmt.Errorf("%s needs a Python environment that the step does not have", call.Feature)
		}
	}
	how, err := json.Marshal(call)
	if err != nil {
		return nil, err
	}
	f := &function{name: call.Feature, batches: newHistogram(batchBuckets), took: newHistogram(functionBuckets)}
	f.restarts.since = now()
	f.Rows, err = worker.StartRows(worker.Options{
		Command: []string{interpreter, filepath.Join(filepath.Dir(python[1]), rowScript), string(how)}, Dir: s.Code,
		Signature: &ir.Signature{Input: call.Columns}, Processes: processes, Warm: warmRow(call.Columns),
		Timeout: cmp.Or(duration.Parse(given.Timeout), defaultTimeout), BatchRows: cmp.Or(given.BatchRows, mostTogether), BatchDelay: duration.Parse(given.BatchDelay),
		Log: func(line string) { logLine(call.Feature + ": " + line) },
		Restarted: func(why string) {
			f.restarts.n.Add(1)
			starts.again(why)
		},
		Asked: func(rows int) { f.batches.observe(float64(rows)) },
	}, call.Feature, call.Makes)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Compute computes rows, and measures how long that takes.
func (f *function) Compute(ctx context.Context, values []rowsql.Value, n int) ([]rowsql.Value, []error, error) {
	began := time.Now()
	results, errs, err := f.Rows.Compute(ctx, values, n)
	f.took.observe(time.Since(began).Seconds())
	return results, errs, err
}

// For returns what features ask.
func (x *functions) For() (all []features.Function) {
	if x == nil {
		return nil
	}
	for _, f := range x.all {
		all = append(all, f)
	}
	return all
}

// Close ends all processes.
func (x *functions) Close() {
	for _, f := range x.all {
		if f != nil {
			f.Rows.Close()
		}
	}
}

// alive reports whether each function has a process that can compute rows.
func (x *functions) alive() bool {
	return x == nil || !slices.ContainsFunc(x.all, func(f *function) bool { return !f.Alive() })
}

// watch returns a context that ends when processes cannot be started any more.
func (x *functions) watch(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	for _, f := range x.all {
		go func() {
			select {
			case <-f.Failed():
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	return ctx, cancel
}

// fault is why processes cannot be started any more.
func (x *functions) fault() (err error) {
	if x == nil {
		return nil
	}
	for _, f := range x.all {
		if e := f.Err(); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", f.name, e))
		}
	}
	return err
}

// metrics adds what there is about the functions.
func (x *functions) metrics(m *metricText) {
	if x == nil || len(x.all) == 0 {
		return
	}
	var took, tookSince, batches, batchesSince, restarts, restartsSince []sample
	for _, f := range x.all {
		labels := [][2]string{{"feature", f.name}}
		took, tookSince = append(took, f.took.samples(labels)...), append(tookSince, sample{"_created", labels, f.took.since})
		batches, batchesSince = append(batches, f.batches.samples(labels)...), append(batchesSince, sample{"_created", labels, f.batches.since})
		restarts, restartsSince = append(restarts, sample{"_total", labels, float64(f.restarts.n.Load())}), append(restartsSince, sample{"_created", labels, f.restarts.since})
	}
	m.histogram("tenon_feature_duration_seconds", "Time to compute a feature in Python for a request, with the time that it waits", took, tookSince)
	m.histogram("tenon_feature_batch_rows", "Rows that a feature in Python was computed for at once", batches, batchesSince)
	m.counter("tenon_feature_restarts", "Processes of a feature in Python started again", restarts, restartsSince)
}

// starts counts how often processes in Python were started again, for tenon status.
type starts struct {
	path  string // "" counts nothing
	mu    sync.Mutex
	count lives.Lives
}

func newStarts(path string) *starts { return &starts{path: path, count: lives.First(time.Now())} }

func (s *starts) again(why string) {
	if s.path == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count.Starts, s.count.Since, s.count.Why = s.count.Starts+1, time.Now(), why
	if err := s.count.Write(s.path); err != nil {
		logLine("note: " + err.Error())
	}
}
