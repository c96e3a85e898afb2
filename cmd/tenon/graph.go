package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/tenon/internal/graph"
)

func graphCommand(a *app) *cobra.Command {
	var format, out string
	var units bool
	c := &cobra.Command{
		Use: "graph [DIR]", Short: "Draw the system as a graph", Args: atMost(1, "one folder"),
		Long: `Draws the entities or the units of a system and the data flow between them, as SVG
or in the DOT language of Graphviz.`,
		Example: "  tenon graph --format svg --out system.svg\n  tenon graph --units | dot -Tpng > system.png",
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.compile(c.Context(), folder(args))
			if err != nil {
				return err
			}
			g := graph.Of(r.System, units)
			var text string
			switch format {
			case "dot":
				text = g.DOT()
			case "svg":
				text = g.SVG()
			default:
				return &usageError{fmt.Errorf("--format must be dot or svg, not %q", format)}
			}
			if out == "" {
				_, err := fmt.Fprint(a.stdout, text)
				return err
			}
			if err := os.WriteFile(out, []byte(text), 0o644); err != nil {
				return fmt.Errorf("write the graph: %w", err)
			}
			return nil
		},
	}
	a.tagFlag(c)
	c.Flags().StringVar(&format, "format", "dot", "`FORMAT`: dot or svg")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"dot", "svg"}, cobra.ShellCompDirectiveNoFileComp))
	c.Flags().StringVarP(&out, "out", "o", "", "write to `FILE`")
	c.Flags().BoolVar(&units, "units", false, "draw every unit, not only the entities")
	return c
}
