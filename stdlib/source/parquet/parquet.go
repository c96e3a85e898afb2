// Package parquet reads Parquet files.
package parquet

import (
	"context"

	"github.com/tenon-ml/tenon/stdlib/builtin"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Run reads the files of the step.
func Run(ctx context.Context, s *step.Step) error {
	if err := builtin.Params(s, &struct{}{}); err != nil {
		return err
	}
	files, err := builtin.SourceFiles(s)
	if err != nil {
		return err
	}
	return builtin.Ingest(ctx, s, duck.Source{Files: files, Format: "parquet"})
}
