package plane

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/parity"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/request"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// pythonParams say how processes in Python are asked.
type pythonParams struct {
	Timeout    string `json:"timeout"`
	BatchRows  int    `json:"batch_rows"`
	BatchDelay string `json:"batch_delay"`
}

// defaultTimeout is how long a model in Python may take for a request.
const defaultTimeout = 60 * time.Second

// mostMerged is how many requests are admitted for one batch, at most.
const mostMerged = 64

// workers are processes that predict with a model in Python, and what metrics say about them.
type workers struct {
	*worker.Pool
	restarts counter
	batches  *histogram // rows of each
	starts   *starts
}

// batchBuckets are rows.
var batchBuckets = []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024}

// verified is the private copy of the model that processes in Python load.
func verified(s *step.Step) (string, error) {
	in, to := s.Inputs["model"], filepath.Join(s.Scratch, "model")
	return to, worker.Copy(in.Path, in.Digest, to)
}

// startWorkers starts processes for the model of a step, and returns once all have predicted.
func startWorkers(s *step.Step, given pythonParams, python []string, processes int, starts *starts) (*workers, error) {
	if len(python) < 2 {
		return nil, errors.New("wanted the interpreter and the script of a worker in Python")
	}
	folder, err := verified(s)
	if err != nil {
		return nil, err
	}
	var signature ir.Signature
	if err := readJSON(filepath.Join(folder, "signature.json"), &signature); err != nil {
		return nil, err
	}
	w := &workers{starts: starts, batches: newHistogram(batchBuckets)}
	w.restarts.since = now()
	w.Pool, err = worker.Start(worker.Options{
		Command: append(python[:2:2], folder), Dir: s.Code, Signature: &signature, Processes: processes, Warm: warmRow(signature.Input),
		Timeout: cmp.Or(duration.Parse(given.Timeout), defaultTimeout), BatchRows: given.BatchRows, BatchDelay: duration.Parse(given.BatchDelay),
		Log: logLine, Restarted: w.restarted, Asked: func(rows int) { w.batches.observe(float64(rows)) },
	})
	return w, err
}

// warmRow is a valid row, which is made up; nil if there is none.
func warmRow(columns ir.Schema) []rowsql.Value {
	d, err := request.New(columns, 1)
	if err != nil {
		return nil
	}
	body, err := json.Marshal(map[string]any{"instances": []any{example(columns)}})
	if err != nil {
		return nil
	}
	var rows request.Rows
	if errs := d.Decode(body, &rows); len(errs) > 0 {
		return nil
	}
	return rows.Row(0)
}

// restarted counts a process that was started again, for metrics and for tenon status.
func (w *workers) restarted(why string) {
	w.restarts.n.Add(1)
	w.starts.again(why)
}

// atOnce is how many requests are admitted at the same time: those of a batch for each process.
func (p pythonParams) atOnce(processes int) int {
	return processes * max(1, min(p.BatchRows, mostMerged))
}

// metrics adds what there is about processes.
func (w *workers) metrics(m *metricText) {
	m.counter("tenon_worker_restarts", "Processes in Python started again",
		[]sample{{"_total", nil, float64(w.restarts.n.Load())}}, []sample{{"_created", nil, w.restarts.since}})
	m.histogram("tenon_worker_batch_rows", "Rows that a process in Python was asked for at once", w.batches.samples(nil), []sample{{"_created", nil, w.batches.since}})
}

// watch returns a context that ends when processes cannot be started any more.
func (w *workers) watch(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-w.Failed():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// fault is why processes cannot be started any more.
func (w *workers) fault() error {
	if w == nil {
		return nil
	}
	return w.Err()
}

// compareWithTraining runs the comparison of a release. m is nil for a model in Python, which
// predicts in workers as in the service.
func compareWithTraining(ctx context.Context, s *step.Step, given params, m *model.Model, python []string) error {
	p := parity.Python{Exact: m != nil, Interpreter: interpreter(python)}
	const patience = "1h" // for hundreds of rows at once, which nobody waits for
	processes := max(1, int(s.Resources.MilliCPU/1000))
	if given.Request != nil {
		functions, err := startFunctions(s, given.Request.Calls, pythonParams{Timeout: patience}, python, processes, newStarts(""))
		if err != nil {
			return err
		}
		defer functions.Close()
		var unwatch context.CancelFunc
		ctx, unwatch = functions.watch(ctx)
		defer unwatch()
		p.Functions = functions.For()
	}
	if m != nil {
		var err error
		if p.Folder, err = verified(s); err != nil {
			return err
		}
		return parity.Run(ctx, s, m, p)
	}
	w, err := startWorkers(s, pythonParams{Timeout: patience}, python, processes, newStarts(""))
	if err != nil {
		return err
	}
	defer w.Close()
	p.Folder = w.Command[2]
	ctx, stop := w.watch(ctx)
	defer stop()
	return errors.Join(parity.Run(ctx, s, w, p), w.fault())
}
