// Package all lists the components of the standard library that are written in
// Go, and runs them.
package all

import (
	"context"
	"fmt"

	"github.com/tenon-ml/tenon/stdlib/builtin"
	"github.com/tenon-ml/tenon/stdlib/evaluate/gate"
	"github.com/tenon-ml/tenon/stdlib/feature/sql"
	"github.com/tenon-ml/tenon/stdlib/source/csv"
	"github.com/tenon-ml/tenon/stdlib/source/http"
	"github.com/tenon-ml/tenon/stdlib/source/json"
	"github.com/tenon-ml/tenon/stdlib/source/parquet"
	"github.com/tenon-ml/tenon/stdlib/split/by_group"
	"github.com/tenon-ml/tenon/stdlib/split/by_time"
	"github.com/tenon-ml/tenon/stdlib/split/random"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Components are the components in Go, by name.
var Components = []builtin.Component{
	{Name: "evaluate.gate", Run: gate.Run},
	{Name: "feature.sql", Run: sql.Run},
	{Name: "source.csv", Run: csv.Run},
	{Name: "source.http", Run: http.Run},
	{Name: "source.json", Run: json.Run},
	{Name: "source.parquet", Run: parquet.Run},
	{Name: "split.by_group", Run: by_group.Run},
	{Name: "split.by_time", Run: by_time.Run},
	{Name: "split.random", Run: random.Run},
}

// Run does the work of a step.
func Run(ctx context.Context, s *step.Step) error {
	for _, c := range Components {
		if c.Name == s.Component {
			return c.Run(ctx, s)
		}
	}
	return fmt.Errorf("unknown built-in component %q", s.Component)
}
