package components

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tenon-ml/tenon/stdlib/duck"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// sourceFiles reads all files of the step, in the order of their paths.
func sourceFiles(format string) func(context.Context, *step.Step) error {
	return func(ctx context.Context, s *step.Step) error {
		src := duck.Source{Format: format}
		var err error
		if format == "csv" {
			err = params(s, &src.CSV)
		} else {
			err = params(s, &struct{}{})
		}
		if err != nil {
			return err
		}
		for _, pattern := range slices.Sorted(maps.Keys(s.Files)) {
			if len(s.Files[pattern]) == 0 {
				return fmt.Errorf("no file matches %q", pattern)
			}
			src.Files = append(src.Files, s.Files[pattern]...)
		}
		slices.Sort(src.Files)
		src.Files = slices.Compact(src.Files) // a file that two patterns match is read once
		if len(src.Files) == 0 {
			return errors.New("the source names no file")
		}
		return ingest(ctx, s, src)
	}
}

func ingest(ctx context.Context, s *step.Step, src duck.Source) error {
	out, err := output(s, "out")
	if err != nil {
		return err
	}
	files := "1 file"
	if n := len(src.Files); n != 1 {
		files = fmt.Sprintf("%d files", n)
	}
	report(s, 0, 1, "reading "+files)
	rows, err := engine.Ingest(ctx, src, out.Schema, out.Path, limits(s))
	if err != nil {
		return err
	}
	report(s, 1, 1, fmt.Sprintf("%d rows from %s", rows, files))
	return nil
}
