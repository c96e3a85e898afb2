package main

import (
	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/stdlib/all"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// stepCommand runs one of tenon's own components. Executors start it; users
// do not, so it is hidden.
func stepCommand(*app) *cobra.Command {
	return &cobra.Command{
		Use: "step", Short: "Do the work of one unit, as $TENON_STEP says", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := step.Read()
			if err != nil {
				return err
			}
			return all.Run(c.Context(), s)
		},
	}
}
