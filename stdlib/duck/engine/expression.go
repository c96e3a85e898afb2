package engine

import (
	"context"
	"fmt"
	"sync"
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
	s, err := open(ctx, Limits{Threads: 1})
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
		var found any
		if err := stmt.QueryRow(args...).Scan(&found); err != nil {
			return nil, sqlError(context.Background(), err, 0, -1)
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
