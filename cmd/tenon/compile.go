package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
)

func compileCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "compile [DIR]", Short: "Check a system and print what it compiles to", Args: atMost(1, "one folder"),
		Long: `Checks the system and prints its units; with --json the whole intermediate
representation, the same bytes for the same system on every machine.

Nothing is run, and the state is not read.`,
		Example: "  tenon compile\n  tenon compile -t env=prod --json > prod.ir.json",
		RunE: func(c *cobra.Command, args []string) error {
			r, err := a.compile(c.Context(), folder(args))
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(r.System)
			}
			w := table(a.stdout)
			if len(r.System.Units) > 0 {
				fmt.Fprintf(w, "UNIT\tKIND\tCOMPONENT\tDIGEST\n")
			}
			for _, u := range slices.SortedFunc(slices.Values(r.System.Units), func(a, b ir.Unit) int { return inOrder(a.ID, b.ID) }) {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.ID, u.Kind, u.Component, short(u.Digest))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if len(r.System.Units) > 0 {
				fmt.Fprintln(a.stdout)
			}
			_, err = fmt.Fprintf(a.stdout, "%s on %s (%s): %s\n", r.System.Name, r.System.Target.Name, r.System.Target.Executor, plural(int64(len(r.System.Units)), "unit"))
			return err
		},
	}
	a.tagFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the intermediate representation as JSON")
	return c
}
