package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func modelsCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "models [DIR]", Short: "List the registered models and their versions", Args: atMost(1, "one folder"),
		Long: `Lists every version of every model that passed its gates, newest first, with the
metrics it was registered with. "*" marks the deployed version.`,
		Example: "  tenon models\n  tenon models --json",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			return a.withApplied(ctx, folder(args), func(w *project.Workspace) error {
				models, err := w.Models(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(models)
				}
				if len(models) == 0 {
					_, err := fmt.Fprintln(a.stdout, "No model is registered yet.")
					return err
				}
				t := table(a.stdout)
				fmt.Fprintln(t, "MODEL\tVERSION\tDIGEST\tREGISTERED\tMETRICS")
				for _, m := range models {
					mark := ""
					if m.Current {
						mark = " *"
					}
					fmt.Fprintf(t, "%s\t%d%s\t%s\t%s\t%s\n", m.Model, m.Version, mark, artifact.Short(m.Digest), m.Created.Local().Format(time.DateTime), allMetrics(m.Metrics, 4))
				}
				return t.Flush()
			})
		},
	}
	a.stateFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// allMetrics formats at most n metrics, the most important first.
func allMetrics(m map[string]float64, n int) string {
	var names []string
	for _, h := range headline {
		if _, ok := m[h]; ok {
			names = append(names, h)
		}
	}
	var rest []string
	for name := range m {
		if !slices.Contains(names, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	out := ""
	for i, name := range append(names, rest...) {
		if i == n {
			return out + ", ..."
		}
		if i > 0 {
			out += ", "
		}
		out += name + " " + number(m[name])
	}
	return out
}
