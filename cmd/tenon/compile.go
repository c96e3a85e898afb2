package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func compileCommand(a *app) *cobra.Command {
	var asJSON bool
	var format string
	c := &cobra.Command{
		Use: "compile [DIR]", Short: "Check a system and print its units", Args: atMost(1, "one folder"),
		Long: `Checks the system and prints its units. With --json or --format=ir, it prints the
intermediate representation, which is the same on every machine.

With --format=manifests, it prints the objects for a target in a cluster, as YAML.
They are for reading: the annotation tenon.dev/settled-by-apply lists names,
images and digests that only an apply determines.

It runs nothing, contacts no cluster, and does not read the state.`,
		Example: "  tenon compile\n  tenon compile -t env=prod --json > prod.ir.json\n  tenon compile -t target=cluster --format=manifests",
		RunE: func(c *cobra.Command, args []string) error {
			if asJSON && format != formats[0] {
				return &usageError{errors.New("--json and --format cannot be used together")}
			}
			if asJSON {
				format = "ir"
			}
			if !slices.Contains(formats, format) {
				return &usageError{fmt.Errorf("--format must be one of %s, not %q", strings.Join(formats, ", "), format)}
			}
			r, err := a.compile(c.Context(), folder(args))
			if err != nil {
				return err
			}
			order := project.Order(r.System.Units)
			units := slices.SortedFunc(slices.Values(r.System.Units), func(a, b ir.Unit) int { return order(a.ID, b.ID) })
			switch format {
			case "ir":
				return a.printJSON(r.System)
			case "manifests":
				return a.printManifests(r.System, units)
			}
			w := table(a.stdout)
			if len(r.System.Units) > 0 {
				fmt.Fprintf(w, "UNIT\tKIND\tCOMPONENT\tDIGEST\n")
			}
			for _, u := range units {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.ID, u.Kind, u.Component, artifact.Short(u.Digest))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if len(r.System.Units) > 0 {
				fmt.Fprintln(a.stdout)
			}
			var warnings strings.Builder
			for _, e := range r.System.Entities {
				a.writeWarnings(&warnings, e.Warnings)
			}
			fmt.Fprint(a.stderr, warnings.String())
			_, err = fmt.Fprintf(a.stdout, "%s on %s (%s): %s\n", a.named(r.System.Name, r.System.Env), r.System.Target.Name, r.System.Target.Executor, plural(int64(len(r.System.Units)), "unit"))
			return err
		},
	}
	a.tagFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the intermediate representation as JSON")
	c.Flags().StringVar(&format, "format", formats[0], "`FORMAT`: "+strings.Join(formats, ", "))
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// formats lists the output formats for a compiled system.
var formats = []string{"table", "ir", "manifests"}

func (a *app) printManifests(sys *ir.System, units []ir.Unit) error {
	all, err := project.Manifests(sys, units)
	if err != nil {
		return err
	}
	return a.printYAML(all)
}

// printYAML prints objects as YAML documents.
func (a *app) printYAML(objects []executors.Manifest) error {
	for _, m := range objects {
		if _, err := fmt.Fprintf(a.stdout, "---\n%s", m.YAML); err != nil {
			return err
		}
	}
	return nil
}
