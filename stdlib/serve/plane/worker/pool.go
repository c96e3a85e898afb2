package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/local/lives"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// Options say what processes a [Pool] has.
type Options struct {
	Command   []string      // the interpreter, the script and the folder of the model
	Dir       string        // where they run
	Signature *ir.Signature // of the model
	Processes int
	Warm      []rowsql.Value // a row that each is asked for before it counts as started; may be nil
	Timeout   time.Duration  // of a batch
	// Rows of requests that wait at the same time are predicted together, up to BatchRows. A
	// batch that is not full waits BatchDelay for more. Without BatchRows, each request is a
	// batch of its own.
	BatchRows  int
	BatchDelay time.Duration

	Log       func(string)
	Restarted func(why string) // called when a process is started again
	Asked     func(rows int)   // called for each batch

	results ir.Schema // of processes that compute rows, see StartRows
}

// A Pool is processes that predict. It is safe for concurrent use.
type Pool struct {
	Options
	about    about
	classes  []json.RawMessage
	positive int // index of the class true, or -1
	outputs  int

	mu      sync.Mutex
	changed sync.Cond // of what follows, and of the end of a process
	queue   []*job
	closing bool
	err     error // why there are no processes any more
	failed  chan struct{}
	closed  chan struct{} // Close was called
	running sync.WaitGroup
	alive   atomic.Int64 // processes that can predict
	kept    int          // processes that are started again when they end
	target  int          // processes that there are to be
	spoilt  time.Time    // when one more could not be started
	others  atomic.Pointer[func() bool]
}

// about is what a worker says of its model.
type about struct {
	Classes       []string `json:"classes"`
	Names         []string `json:"names"`
	Probabilities bool     `json:"probabilities"`
}

// ErrTimeout says that the model took too long.
var ErrTimeout = errors.New("the model did not answer in time")

// Start starts the processes and returns once each has loaded the model and has predicted.
func Start(o Options) (*Pool, error) {
	p := &Pool{Options: o, positive: -1, failed: make(chan struct{}), closed: make(chan struct{})}
	p.changed.L = &p.mu
	p.kept, p.target = o.Processes, o.Processes
	if _, err := newEncoder(o.Signature.Input); err != nil {
		return nil, err
	}
	ready := make(chan about, o.Processes)
	for range o.Processes {
		p.running.Go(func() {
			if err := p.keep(ready); err != nil {
				p.fail(err)
			}
		})
	}
	for range o.Processes {
		select {
		case p.about = <-ready:
		case <-p.failed:
			p.Close()
			return nil, p.err
		}
	}
	for _, c := range p.about.Classes {
		p.classes = append(p.classes, json.RawMessage(c))
	}
	p.outputs = 1
	if p.about.Probabilities {
		p.outputs += len(p.about.Classes)
	}
	if o.Signature.Output.Type == "bool" {
		p.positive = slices.Index(p.about.Classes, "true")
	}
	return p, nil
}

// Failed is closed when processes cannot be started any more. Err says why.
func (p *Pool) Failed() <-chan struct{} { return p.failed }

// Err returns why there are no processes any more.
func (p *Pool) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Alive reports whether a process can predict. If none can, requests wait until one can again.
func (p *Pool) Alive() bool { return p.alive.Load() > 0 }

// Elsewhere says that others may answer what waits while no process can predict, whenever the
// function returns true. Predictions then fail with [ErrAway].
func (p *Pool) Elsewhere(others func() bool) { p.others.Store(&others) }

// ErrAway says that no process can predict, or compute rows, now.
var ErrAway = errors.New("no process in Python can answer now")

// isAway reports whether others have to answer.
func (p *Pool) isAway() bool {
	others := p.others.Load()
	return others != nil && !p.Alive() && (*others)()
}

// giveAway ends what waits, if others can answer it.
func (p *Pool) giveAway() {
	if !p.isAway() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range p.queue {
		if j.take() {
			j.finish(ErrAway)
		}
	}
	p.queue = nil
}

// Close ends all processes. Nobody may wait for a prediction any more.
func (p *Pool) Close() {
	p.mu.Lock()
	if !p.closing {
		p.closing = true
		close(p.closed)
	}
	p.changed.Broadcast()
	p.mu.Unlock()
	p.running.Wait()
}

// fail gives up: whoever waits gets an error.
func (p *Pool) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return
	}
	p.err = err
	close(p.failed)
	for _, j := range p.queue {
		if j.take() {
			j.finish(err)
		}
	}
	p.queue = nil
}

// keep keeps one process until the pool is closed. It returns an error if that is hopeless.
//
// A process that has answered was a good one: whatever ended it, another is started at once,
// and the time that it takes to load the model is pause enough. One that ends before its first
// answer is likely to end again. So is one that never got ready, which in the end fails the
// service, as a short life does that of any other service.
func (p *Pool) keep(ready chan<- about) error {
	useless, unready, first := 0, 0, true
	for {
		w, says, err := p.begin()
		did := false
		if err == nil {
			if unready = 0; first {
				first = false
				ready <- says
			}
			p.alive.Add(1)
			did = p.work(w)
			if !w.retired && p.alive.Add(-1) == 0 {
				p.giveAway()
			}
		}
		if w == nil {
			return err
		}
		w.end() // by itself, if it can: its status says why
		if w.retired || p.isOver() {
			return nil
		}
		if err != nil {
			if unready++; unready >= lives.MostShort || first && unready == 1 && w.status <= 128 {
				return fmt.Errorf("a worker %s", w.how())
			}
		}
		pause := time.Duration(0)
		if useless++; did {
			useless = 0
		} else {
			pause = min(lives.Pause<<min(useless-1, 8), lives.LongestPause)
		}
		p.Log(fmt.Sprintf("a worker %s; starting another in %g s", w.how(), pause.Seconds()))
		p.Restarted(w.how())
		select {
		case <-time.After(pause):
		case <-p.closed:
			return nil
		}
	}
}

// begin starts a process and waits until it has loaded the model and has predicted.
func (p *Pool) begin() (*process, about, error) {
	var says about
	w, err := start(p.Command, p.Dir, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.changed.Broadcast()
	})
	if err != nil {
		return nil, says, err
	}
	begun := make(chan struct{})
	defer close(begun)
	go func() {
		select {
		case <-p.closed:
			_ = w.Close()
		case <-begun:
		}
	}()
	if w.encoder, err = newEncoder(p.Signature.Input); err != nil {
		return w, says, err
	}
	header, err := w.encoder.header()
	if err != nil {
		return w, says, err
	}
	if _, err := w.Write(header); err != nil {
		return w, says, err
	}
	b, err := readFrame(w, nil, largestAbout)
	if err != nil {
		return w, says, err
	}
	if err := json.Unmarshal(b, &says); err != nil {
		return w, says, fmt.Errorf("read what a worker says of its model: %w", err)
	}
	if p.Warm == nil {
		return w, says, nil
	}
	outputs := 1
	if says.Probabilities {
		outputs += len(says.Classes)
	}
	j := newJob(p.Warm, 1, make([]float64, outputs))
	j.results, j.errs = make([]rowsql.Value, len(p.results)), make([]error, 1)
	if err := p.exchange(w, []*job{j}, outputs); fatal(err) {
		return w, says, err
	}
	return w, says, nil
}

// isOver reports whether no process is needed any more.
func (p *Pool) isOver() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closing || p.err != nil
}

// work gives batches to a process until it ends or the pool is closed. It reports whether the
// process has answered one.
func (p *Pool) work(w *process) (did bool) {
	for {
		batch := p.take(w)
		if batch == nil {
			return did
		}
		n := 0
		for _, j := range batch {
			n += j.rows
		}
		p.Asked(n)
		if ok := p.ask(w, batch); !ok {
			return did
		}
		did = true
	}
}

// ask asks for a batch. If the model refuses it or fails, each request is asked for by itself,
// so that none spoils another. It reports whether the process can go on.
func (p *Pool) ask(w *process, batch []*job) bool {
	err := p.exchange(w, batch, p.outputs)
	switch {
	case fatal(err):
		p.again(batch, err)
		return false
	case err != nil && len(batch) > 1:
		for i, j := range batch {
			if j.left.Load() {
				j.finish(errLeft)
				continue
			}
			if !p.ask(w, batch[i:i+1]) {
				p.again(batch[i+1:], errUnsent)
				return false
			}
		}
		return true
	}
	for _, j := range batch {
		j.finish(err)
	}
	return true
}

// A lostError is a process that is of no use any more.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// errUnsent says that a worker has ended before it was asked.
var errUnsent = errors.New("a worker was not asked")

func fatal(err error) bool { return errors.As(err, new(lostError)) }

// exchange sends rows and reads the numbers.
func (p *Pool) exchange(w *process, batch []*job, outputs int) error {
	frame, err := w.encoder.batch(batch)
	if err != nil {
		return err
	}
	n := 0
	for _, j := range batch {
		n += j.rows
	}
	if err := w.SetDeadline(time.Now().Add(p.Timeout)); err != nil {
		return lostError{errUnsent}
	}
	if _, err := w.Write(frame); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.kill()
			return lostError{ErrTimeout}
		}
		return lostError{errUnsent}
	}
	most := max(largestRefusal, 1+8*n*outputs)
	if p.results != nil {
		most = mostResults
	}
	answer, err := readFrame(w, w.buffer, most)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.kill()
		return lostError{ErrTimeout}
	case err != nil:
		return lostError{err}
	}
	w.buffer = answer
	if p.results != nil {
		return readRows(answer, batch, p.results)
	}
	return numbers(answer, batch, outputs)
}

// Predict makes the predictions for rows. The error is a [*model.RowError], [ErrTimeout], that
// of ctx, or a fault of the model.
func (p *Pool) Predict(ctx context.Context, rows []rowsql.Value, outputs []float64, _ *model.Buffer) error {
	return p.do(ctx, newJob(rows, len(outputs)/p.outputs, outputs))
}

// do lets a process do a job.
func (p *Pool) do(ctx context.Context, j *job) error {
	if p.isAway() {
		return ErrAway
	}
	if err := p.push(j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		j.left.Store(true) // before it is taken, see again
		if j.take() {
			return context.Cause(ctx)
		}
		err := <-j.done // a process fills outputs
		if err == errLeft {
			return context.Cause(ctx)
		}
		return err
	}
}
