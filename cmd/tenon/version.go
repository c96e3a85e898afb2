package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/version"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func versionCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: atMost(0, "no arguments"),
		Long:    "Prints the version of tenon and of its standard library; with --json also those of its formats.",
		Example: "  tenon version\n  tenon version --json",
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return a.printJSON(map[string]any{
					"version": version.Version, "library": stdlib.Version, "ir": ir.Version, "step": step.Version,
					"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
				})
			}
			_, err := fmt.Fprintf(a.stdout, "tenon %s (%s %s, %s/%s)\n", version.Version, stdlib.Module, stdlib.Version, runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
