package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/tenon/internal/graph"
)

func graphCommand(a *app) *cobra.Command {
	var format, out string
	var units, columns bool
	c := &cobra.Command{
		Use: "graph [DIR]", Short: "Draw the system as a graph", Args: atMost(1, "one folder"),
		Long: `Draws the entities or the units of a system and the data flow between them, as SVG
or in the DOT language of Graphviz.

With --columns, it draws the columns of each entity, and an edge from each column to
those that are made of it. An edge to the heading of a table means that its rows, or
all of its columns, depend on the other end.`,
		Example: `  tenon graph --format svg --out system.svg
  tenon graph --units | dot -Tpng > system.png
  tenon graph --columns --format svg --out columns.svg`,
		RunE: func(c *cobra.Command, args []string) error {
			if units && columns {
				return &usageError{errors.New("--units and --columns cannot be used together")}
			}
			g, err := a.graph(c.Context(), folder(args), units, columns)
			if err != nil {
				return err
			}
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
	c.Flags().BoolVar(&columns, "columns", false, "draw the columns and what they are made of")
	return c
}

func (a *app) graph(ctx context.Context, dir string, units, columns bool) (*graph.Graph, error) {
	p, err := a.project(dir)
	if err != nil {
		return nil, err
	}
	r, err := p.Compile(ctx)
	if err != nil {
		return nil, err
	}
	if !columns {
		return graph.Of(r.System, units), nil
	}
	l, err := p.LineageOf(ctx, r.System)
	if err != nil {
		return nil, err
	}
	return graph.OfColumns(r.System.Name, l), nil
}
