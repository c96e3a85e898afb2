// Package csv reads CSV files.
package csv

import (
	"context"

	"github.com/tenon-ml/tenon/stdlib/builtin"
	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Run reads the files of the step, with the options of the definition.
func Run(ctx context.Context, s *step.Step) error {
	src := duck.Source{Format: "csv"}
	if err := builtin.Params(s, &src.CSV); err != nil {
		return err
	}
	var err error
	if src.Files, err = builtin.SourceFiles(s); err != nil {
		return err
	}
	return builtin.Ingest(ctx, s, src)
}
