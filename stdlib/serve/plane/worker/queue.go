package worker

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// A job is a request that waits for predictions.
type job struct {
	values  []rowsql.Value // rows that follow one another
	rows    int
	outputs []float64
	results []rowsql.Value // of rows that are computed
	errs    []error        // of each of them
	alone   bool           // it may share no batch, because one that it was in ended a process
	deaths  int            // of processes that had only this job
	taken   atomic.Bool
	left    atomic.Bool // nobody waits for it any more
	done    chan error
}

func newJob(values []rowsql.Value, rows int, outputs []float64) *job {
	return &job{values: values, rows: rows, outputs: outputs, done: make(chan error, 1)}
}

// take makes a job that of the caller, unless somebody else has it.
func (j *job) take() bool { return !j.taken.Swap(true) }

func (j *job) finish(err error) { j.done <- err }

func (p *Pool) push(j *job) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.queue = append(p.queue, j)
	p.changed.Broadcast()
	return nil
}

// take returns what a process is to do next, or nil if the process has ended or nobody needs it
// any more.
func (p *Pool) take(w *process) []*job {
	p.mu.Lock()
	defer p.mu.Unlock()
	var first *job
	for {
		select {
		case <-w.gone:
			return nil
		default:
		}
		if first = p.next(0); first != nil {
			break
		}
		if p.closing || p.err != nil {
			return nil
		}
		// Those that are still starting cannot predict yet, so they do not count.
		if p.kept > p.target && int(p.alive.Load()) > p.target {
			p.kept--
			p.alive.Add(-1)
			w.retired = true
			return nil
		}
		p.changed.Wait()
	}
	batch := []*job{first}
	if p.BatchRows == 0 || first.alone {
		return batch
	}
	left, late := p.BatchRows-first.rows, p.BatchDelay == 0
	if !late {
		timer := time.AfterFunc(p.BatchDelay, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			late = true
			p.changed.Broadcast()
		})
		defer timer.Stop()
	}
	for left > 0 {
		if j := p.next(left); j != nil {
			batch, left = append(batch, j), left-j.rows
			continue
		}
		if late || p.closing || len(p.queue) > 0 { // the first of the queue does not fit
			break
		}
		p.changed.Wait()
	}
	return batch
}

// next takes the first job of the queue. If room is not 0, the job must have no more rows, and
// be one that shares a batch.
func (p *Pool) next(room int) *job {
	for len(p.queue) > 0 {
		j := p.queue[0]
		if !j.taken.Load() && room > 0 && (j.rows > room || j.alone) {
			return nil
		}
		p.queue[0], p.queue = nil, p.queue[1:]
		if j.take() {
			return j
		}
	}
	return nil
}

// errLeft says that nobody waits for a job any more.
var errLeft = errors.New("the client has left")

// mostDeaths is how many processes may end with a job before it fails.
const mostDeaths = 2

// again puts jobs of a process that is lost at the head of the queue. A job fails if it has
// ended two processes by itself, or has exceeded the time. One that nobody waits for ends.
func (p *Pool) again(batch []*job, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var kept []*job
	for _, j := range batch {
		if !errors.Is(why, errUnsent) {
			if j.alone || len(batch) == 1 {
				j.deaths++
			}
			j.alone = true
		}
		switch {
		case p.err != nil:
			j.finish(p.err)
		case j.deaths > 0 && errors.Is(why, ErrTimeout):
			j.finish(ErrTimeout)
		case j.deaths >= mostDeaths:
			j.finish(fmt.Errorf("two workers have ended when they were asked for the same rows: %w", why))
		default:
			j.taken.Store(false)
			if !j.left.Load() {
				kept = append(kept, j)
			} else if j.take() {
				j.finish(errLeft)
			}
		}
	}
	p.queue = append(kept, p.queue...)
	p.changed.Broadcast()
}
