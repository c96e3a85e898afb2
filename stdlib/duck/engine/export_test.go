package engine

import (
	"context"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/duck"
)

// Rule says what the table of conversions has.
func Rule(found string, c ir.Column) string {
	return [...]string{"refused", "exact", "checked"}[conversionOf(found, c).rule]
}

// WriteParquet writes the rows of a query with whatever types they have.
func WriteParquet(ctx context.Context, query, path string) error {
	s, err := open(ctx, Limits{})
	if err != nil {
		return err
	}
	defer s.close()
	_, err = s.writeParquet(ctx, query, path)
	return err
}

// A Reader reads many sources in one database.
type Reader struct{ s *session }

func NewReader(ctx context.Context) (*Reader, error) {
	s, err := open(ctx, Limits{})
	return &Reader{s}, err
}

func (r *Reader) Close() { r.s.close() }

// Ingest is the function of that name.
func (r *Reader) Ingest(ctx context.Context, src duck.Source, schema ir.Schema, out string) error {
	_, err := r.s.ingest(ctx, src, schema, out)
	return err
}
