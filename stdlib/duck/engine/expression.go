package engine

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Limits of an expression over one row. A caller of a service chooses its values.
const (
	expressionMemory = 256 << 20 // bytes
	expressionTime   = 5 * time.Second
)

// Expressions computes expressions over single rows. It reads no file. Its methods are safe
// for concurrent use; calls follow one another.
type Expressions struct {
	mu sync.Mutex
	s  *session
}

// NewExpressions starts a database for expressions.
func NewExpressions() (*Expressions, error) {
	ctx := context.Background()
	s, err := open(ctx, Limits{Memory: expressionMemory})
	if err != nil {
		return nil, err
	}
	if err := s.restrict(ctx); err != nil {
		s.close()
		return nil, err
	}
	return &Expressions{s: s}, nil
}

// Prepare returns a function that runs a query with arguments, and returns its one value.
func (e *Expressions) Prepare(query string) (func(args []any) (any, error), error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	stmt, err := e.s.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("prepare an expression: %w", sqlError(context.Background(), err, 0, -1))
	}
	return func(args []any) (any, error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), expressionTime)
		defer cancel()
		var found any
		err := stmt.QueryRowContext(ctx, args...).Scan(&found)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("DuckDB needs more than %s for it", expressionTime)
		case err != nil:
			return nil, sqlError(ctx, err, 0, -1)
		}
		return found, nil
	}, nil
}

// Close ends the database. The functions of Prepare fail from then on.
func (e *Expressions) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.s.close()
}
