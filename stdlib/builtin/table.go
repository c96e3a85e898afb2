package builtin

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

// SourceFiles lists the data files of a step, in the order of their paths. A
// file that two patterns match is listed once.
func SourceFiles(s *step.Step) ([]string, error) {
	var files []string
	for _, pattern := range slices.Sorted(maps.Keys(s.Files)) {
		if len(s.Files[pattern]) == 0 {
			return nil, fmt.Errorf("no file matches %q", pattern)
		}
		files = append(files, s.Files[pattern]...)
	}
	slices.Sort(files)
	files = slices.Compact(files)
	if len(files) == 0 {
		return nil, errors.New("the source has no files")
	}
	return files, nil
}

// Ingest reads files as the table of the port "out".
func Ingest(ctx context.Context, s *step.Step, src duck.Source) error {
	out, err := Output(s, "out")
	if err != nil {
		return err
	}
	files := "1 file"
	if n := len(src.Files); n != 1 {
		files = fmt.Sprintf("%d files", n)
	}
	Report(s, 0, 1, "reading "+files)
	rows, err := engine.Ingest(ctx, src, out.Schema, out.Path, Limits(s))
	if err != nil {
		return err
	}
	Report(s, 1, 1, fmt.Sprintf("%d rows from %s", rows, files))
	return nil
}

// Split divides the port "table" into the ports "train" and "test".
func Split(ctx context.Context, s *step.Step, d engine.Division) error {
	table, err := Input(s, "table")
	if err != nil {
		return err
	}
	train, err := Output(s, "train")
	if err != nil {
		return err
	}
	test, err := Output(s, "test")
	if err != nil {
		return err
	}
	d.Seed = s.Seed
	d.Keys = table.Keys
	return engine.Split(ctx, table.Path, d, train.Path, test.Path, Limits(s))
}
