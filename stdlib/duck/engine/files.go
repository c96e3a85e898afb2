package engine

import (
	"context"
	"database/sql"
)

// WithFiles calls f with a database that can read and write the given files and nothing else.
func WithFiles(ctx context.Context, paths []string, f func(*sql.DB) error) error {
	s, err := open(ctx, Limits{})
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.restrict(ctx, paths...); err != nil {
		return err
	}
	return f(s.db)
}
