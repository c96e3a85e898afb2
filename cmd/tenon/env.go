package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func envCommand(a *app) *cobra.Command {
	var asJSON, requirements bool
	var dir string
	var revision int
	c := &cobra.Command{
		Use: "env UNIT[.PORT]", Short: "Show the Python environment of a unit or a model", Args: oneUnit, ValidArgsFunction: a.completeUnits(&dir),
		Long: `Shows the locked Python environment in which a unit runs: the version of Python and
of each package. For a model it is the environment in which it was trained, and in
which it is served. It makes nothing.

With --requirements, it prints the lock, which pip and uv install.`,
		Example: `  tenon env models/late
  tenon env models/late --revision 3
  tenon env models/late --requirements | uv pip install -r -`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if err := checkRevision(c, revision); err != nil {
				return err
			}
			if asJSON && requirements {
				return &usageError{fmt.Errorf("--json and --requirements exclude each other")}
			}
			return a.withApplied(ctx, dir, func(w *project.Workspace) error {
				e, err := w.Environment(ctx, args[0], revision)
				switch {
				case err != nil:
					return err
				case asJSON:
					return a.printJSON(e)
				case requirements:
					_, err = a.stdout.Write(e.Requirements)
					return err
				}
				a.printEnvironment(e)
				return nil
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	revisionFlag(c, &revision)
	c.Flags().BoolVar(&requirements, "requirements", false, "print the lock, for pip install -r")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printEnvironment(e *project.Environment) {
	fmt.Fprintf(a.stdout, "%s  Python %s, %s  %s\n", a.paint(bold, e.Unit), e.Python,
		plural(int64(len(e.Packages)), "package"), a.paint(faint, artifact.Short(e.Lock)))
	if e.Interpreter != "" {
		fmt.Fprintf(a.stdout, "  installed as %s\n", e.Interpreter)
	}
	for _, p := range e.Packages {
		line := p.Name
		if p.Version != "" {
			line += "==" + p.Version
		}
		if p.Marker != "" {
			line += " ; " + p.Marker
		}
		fmt.Fprintf(a.stdout, "  %s\n", line)
	}
}
