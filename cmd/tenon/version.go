package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/internal/version"
	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func versionCommand(a *app) *cobra.Command {
	var asJSON, targets bool
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: atMost(0, "no arguments"),
		Long:    "Prints the version of tenon and of its standard library; with --json also those of its formats.\n\nWith --targets, it prints what each executor was tested against, and which of its paths were never run.",
		Example: "  tenon version\n  tenon version --json\n  tenon version --targets",
		RunE: func(*cobra.Command, []string) error {
			switch {
			case targets && asJSON:
				return a.printJSON(all.Trials)
			case targets:
				return printTrials(a.stdout)
			case asJSON:
				return a.printJSON(map[string]any{
					"version": version.Version, "library": stdlib.Version, "ir": ir.Version, "step": step.Version,
					"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
				})
			}
			_, err := fmt.Fprintf(a.stdout, "tenon %s (%s %s, %s/%s)\n", version.Version, stdlib.Module, stdlib.Version, runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	c.Flags().BoolVar(&targets, "targets", false, "print what each executor was tested against")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printTrials(w io.Writer) error {
	for i, t := range all.Trials {
		if i > 0 {
			_, _ = fmt.Fprintln(w)
		}
		if _, err := fmt.Fprintf(w, "%s (%s)\n  tested against: %s\n  never run:      %s\n", t.Target, t.Executor, t.Tested, cmp.Or(t.Never, "-")); err != nil {
			return err
		}
	}
	return nil
}
