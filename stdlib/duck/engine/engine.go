package engine

import (
	"context"
	"runtime"
	"sync"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// An Engine answers with DuckDB in this process. It starts databases when they are
// needed and keeps those that read no files. The zero value is ready to use.
type Engine struct {
	mu       sync.Mutex
	checkers []*queue
}

var _ duck.Engine = (*Engine)(nil)

// A queue is a checker, which makes one call after another.
type queue struct {
	start  func() (*Checker, error) // once
	length int                      // calls that run or wait
}

// longQueue is the length from which another database is worth starting.
const longQueue = 50

// with calls f with a checker.
func (e *Engine) with(f func(*Checker) error) error {
	q := e.join()
	defer e.leave(q)
	c, err := q.start()
	if err != nil {
		return err
	}
	return f(c)
}

// join takes the first queue that is not long, or else the shortest one.
func (e *Engine) join() *queue {
	e.mu.Lock()
	defer e.mu.Unlock()
	var best *queue
	for _, q := range e.checkers {
		if best == nil || best.length >= longQueue && q.length < best.length {
			best = q
		}
	}
	if best == nil || best.length >= longQueue && len(e.checkers) < runtime.GOMAXPROCS(0) {
		best = &queue{start: sync.OnceValues(NewChecker)}
		e.checkers = append(e.checkers, best)
	}
	best.length++
	return best
}

func (e *Engine) leave(q *queue) {
	e.mu.Lock()
	defer e.mu.Unlock()
	q.length--
}

// Close ends the databases. No call may run.
func (e *Engine) Close() error {
	for _, q := range e.checkers {
		if c, err := q.start(); err == nil {
			if err := c.Close(); err != nil {
				return err
			}
		}
	}
	e.checkers = nil
	return nil
}

// Describe implements [duck.Engine].
func (e *Engine) Describe(ctx context.Context, tables map[string]ir.Schema, query string) (d duck.Description, err error) {
	err = e.with(func(c *Checker) error {
		if d.Columns, err = c.Describe(ctx, tables, query); err != nil {
			return err
		}
		return c.Analyse(ctx, tables, query, &d)
	})
	return d, err
}

// Bind implements [duck.Engine].
func (e *Engine) Bind(ctx context.Context, tables map[string]ir.Schema, query string) (plan []byte, err error) {
	err = e.with(func(c *Checker) error {
		plan, err = c.Bind(ctx, tables, query)
		return err
	})
	return plan, err
}

// Evaluate implements [duck.Engine].
func (e *Engine) Evaluate(ctx context.Context, query string, inputs map[string]duck.Literal, out duck.Table) (result duck.Evaluated, err error) {
	err = e.with(func(c *Checker) error {
		result, err = c.Evaluate(ctx, query, inputs, out)
		return err
	})
	return result, err
}

// Typed implements [duck.Engine].
func (e *Engine) Typed(ctx context.Context, rows duck.Rows, schema ir.Schema) (typed duck.Rows, err error) {
	err = e.with(func(c *Checker) error {
		typed, err = c.Typed(ctx, rows, schema)
		return err
	})
	return typed, err
}

// Write implements [duck.Engine].
func (e *Engine) Write(ctx context.Context, inputs map[string]duck.Literal, paths map[string]string) (map[string][]duck.Violation, error) {
	return write(ctx, inputs, paths)
}

// Read implements [duck.Engine].
func (e *Engine) Read(ctx context.Context, path string, schema ir.Schema) (duck.Rows, error) {
	return read(ctx, path, schema)
}

// Verify implements [duck.Engine].
func (e *Engine) Verify(ctx context.Context, path string, schema ir.Schema, keys []string, refs []duck.Reference) ([]duck.Violation, int64, error) {
	return Verify(ctx, path, schema, keys, refs)
}

// Preview implements [duck.Engine].
func (e *Engine) Preview(ctx context.Context, path string, n int) (duck.Preview, error) {
	return Preview(ctx, path, n)
}

// Nulls implements [duck.Engine].
func (e *Engine) Nulls(ctx context.Context, path string) (map[string]int64, error) {
	return Nulls(ctx, path)
}

// CSV implements [duck.Engine].
func (e *Engine) CSV(ctx context.Context, path, to string) error { return CSV(ctx, path, to) }

// Heads implements [duck.Engine].
func (e *Engine) Heads(ctx context.Context, heads []duck.Head) ([]duck.HeadResult, error) {
	return Heads(ctx, heads)
}

// Infer implements [duck.Engine].
func (e *Engine) Infer(ctx context.Context, query string, sources map[string]duck.Source) ([]duck.Inferred, error) {
	return Infer(ctx, query, sources, Limits{})
}
