package local

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// Present returns an error that names the first input, or data file, that is not
// where the task says.
func Present(t executors.Task) error {
	for _, port := range slices.Sorted(maps.Keys(t.Inputs)) {
		if p := t.Inputs[port]; p.Kind != ir.EndpointOf {
			if _, err := os.Stat(p.Path); err != nil {
				return fmt.Errorf("input %s: %w", port, err)
			}
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(t.Files)) {
		for _, path := range t.Files[pattern] {
			if _, err := os.Stat(path); err != nil {
				return fmt.Errorf("data %s: %w", pattern, err)
			}
		}
	}
	return nil
}
